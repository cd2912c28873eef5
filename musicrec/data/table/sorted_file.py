"""write_sorted: sorted plays as Parquet, encoded while the next ones are unpacked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from musicrec.columns import TIMESTAMP, TRACK, USER
from musicrec.data.log.arrays import number_array
from musicrec.data.table.keys import PlayKeys
from musicrec.files import PARQUET_KEY

# Rows of a row group.
_GROUP_ROWS = 1 << 20


def write_sorted(
    parts: Iterable[np.ndarray], keys: PlayKeys, users: pa.Array, path: Path, metadata: Callable[[], dict[str, Any]]
) -> None:
    """Writes plays as Parquet, in the order given.

    Args:
        parts: (rows,) int64 numbers of plays.
        keys: how they are packed.
        users: the user ids by rank.
        path: the file; the caller gives a temporary one (`musicrec.files.atomic_path`).
        metadata: returns what is stored as `musicrec.files.write_parquet` does; called when the rows are written.
    """
    by_code = pa.dictionary(pa.int32(), users.type) if pa.types.is_string(users.type) else users.type
    schema = pa.schema([(USER, by_code), (TRACK, pa.int64()), (TIMESTAMP, pa.timestamp("us"))])
    groups = (part[start : start + _GROUP_ROWS] for part in parts for start in range(0, len(part), _GROUP_ROWS))

    def unpacked() -> pa.Table | None:
        group = next(groups, None)
        return None if group is None else _table(group, keys, users, schema)

    # Differences of neighbours need few bits, since plays of a user are in order of time.
    by_difference = [name for name in schema.names if not pa.types.is_dictionary(schema.field(name).type)]
    with (
        pq.ParquetWriter(
            path,
            schema,
            compression="none",
            use_dictionary=[name for name in schema.names if name not in by_difference],
            column_encoding=dict.fromkeys(by_difference, "DELTA_BINARY_PACKED"),
            store_schema=False,  # pandas would read user ids as categories
            write_page_checksum=True,
        ) as writer,
        ThreadPoolExecutor(1, thread_name_prefix="unpack") as pool,
    ):
        coming = pool.submit(unpacked)
        while (table := coming.result()) is not None:
            coming = pool.submit(unpacked)
            writer.write_table(table, row_group_size=_GROUP_ROWS)
        writer.add_key_value_metadata({PARQUET_KEY: json.dumps(metadata(), default=str)})


def _table(group: np.ndarray, keys: PlayKeys, users: pa.Array, schema: pa.Schema) -> pa.Table:
    """Returns plays with their users as ids; text is dictionary-encoded."""
    ranks, times, tracks = keys.unpack(group)
    if pa.types.is_dictionary(schema.field(USER).type):
        begins = np.concatenate([[True], ranks[1:] != ranks[:-1]])
        codes = number_array(np.cumsum(begins, dtype=np.int32) - np.int32(1))
        ids = pa.DictionaryArray.from_arrays(codes, users.take(number_array(ranks[begins])))
    else:
        ids = users.take(number_array(ranks))
    return pa.table([ids, number_array(tracks), number_array(times.view("datetime64[us]"))], schema=schema)
