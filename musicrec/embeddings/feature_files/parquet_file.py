"""Reads vectors from parquet: a column of track ids, and one column of lists or one column per dimension."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from musicrec.embeddings.feature_files.block import Block, blocks_of, rows_per_block
from musicrec.embeddings.feature_files.id_column import id_column
from musicrec.errors import MusicrecError

# Columns read at once of a file with one column per dimension.
_COLUMNS = 256
# What pandas adds to a file: the row numbers of a frame.
_ROW_NUMBERS = "__index_level_0__"


def read_parquet(path: Path, ids: Path | None, column: str | None = None) -> Iterator[Block]:
    """Yields the rows of a file.

    The ids are in a column with one of the usual names (`id`, `trackid`, ...) or in the first one that holds text.

    Args:
        path: the file.
        ids: ignored.
        column: the column of vectors, where there may be several of lists; None: the only one.
    """
    file = pq.ParquetFile(path)
    kinds = {field.name: field.type for field in file.schema_arrow if field.name != _ROW_NUMBERS}
    if column is not None:
        if column not in kinds or not _is_list(kinds[column]):
            raise MusicrecError(f"{path} has no column {column} of lists; it has {', '.join(kinds)}")
        kinds = {name: kind for name, kind in kinds.items() if name == column or not _is_list(kind)}
    texts = [name for name, kind in kinds.items() if pa.types.is_string(kind) or pa.types.is_large_string(kind)]
    key = id_column(list(kinds)) or next(iter(texts), None)
    if key is None:
        raise MusicrecError(f"{path} has no column track_id; it has {', '.join(kinds)}")
    lists = [name for name, kind in kinds.items() if _is_list(kind)]
    others = [name for name in kinds if name != key and name not in lists]
    floats = [name for name in others if pa.types.is_floating(kinds[name])]
    if len(lists) == 1 and not floats:
        yield from _of_lists(file, path, key, lists[0])
        return
    if lists or not floats:
        raise MusicrecError(
            f"{path} must have one column of lists, or one column of floats per dimension, beside {key}"
        )
    strange = [f"{name} ({kinds[name]})" for name in others if name not in floats]
    if strange:
        shown = ", ".join(strange[:5]) + (", ..." if len(strange) > 5 else "")
        raise MusicrecError(f"{path}: columns that are neither track ids nor floats: {shown}; remove them")
    yield from _of_columns(file, path, key, floats)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _of_lists(file: pq.ParquetFile, path: Path, key: str, name: str) -> Iterator[Block]:
    """Yields blocks of a column of lists; a missing list is a row of NaN."""
    lengths = pc.list_value_length(next(file.iter_batches(batch_size=1000, columns=[name])).column(0)).drop_null()
    dim = int(lengths[0].as_py()) if len(lengths) else 0
    for batch in file.iter_batches(batch_size=rows_per_block(dim), columns=[key, name]):
        lists = batch.column(name)
        given = np.asarray(lists.is_valid())
        sizes = pc.unique(pc.list_value_length(lists).drop_null()).to_pylist()
        if any(size != dim for size in sizes):
            raise MusicrecError(f"{path}: the lists in {name} have different lengths, {sorted({dim, *sizes})}")
        values = np.full((len(batch), dim), np.nan, dtype=np.float32)
        flat = lists.drop_null().flatten().cast(pa.float32(), safe=False)
        values[given] = flat.to_numpy(zero_copy_only=False).reshape(-1, dim)
        yield Block([str(track) for track in batch.column(key).to_pylist()], values)


def _of_columns(file: pq.ParquetFile, path: Path, key: str, names: list[str]) -> Iterator[Block]:
    """Yields blocks of a file with one column per dimension; the columns are read in groups."""
    ids = [str(track) for track in file.read(columns=[key])[key].to_pylist()]
    values = np.empty((len(ids), len(names)), dtype=np.float32)
    for start in range(0, len(names), _COLUMNS):
        some = names[start : start + _COLUMNS]
        table = file.read(columns=some)
        for number, name in enumerate(some, start):
            values[:, number] = table[name].cast(pa.float32(), safe=False).to_numpy()
    yield from blocks_of(values, ids, path)
