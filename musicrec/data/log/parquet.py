"""Reading Parquet files as rows of a log: one row per play, or one row per user with lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from musicrec.data.log.conditions import Condition, applicable
from musicrec.data.log.detect import table_columns
from musicrec.data.log.formats import Layout, LogColumns
from musicrec.data.log.values import MAX_PLAIN, BadRow, LogBatch, check_rows, instants, is_text, shown_value
from musicrec.errors import MusicrecError

# Rows read at once. A row with lists is one user, whose plays are cut into batches of this size, too.
_BATCH_ROWS = 1 << 18
_BATCH_LISTS = 64


def parquet_layout(path: Path, schema: pa.Schema, columns: LogColumns) -> Layout:
    """Returns which columns of a Parquet file are read.

    Raises:
        MusicrecError: if a column is missing or has a type that cannot be used.
    """
    user, track, timestamp, count, guess = table_columns(str(path), schema.names, columns)
    names = tuple(schema.names)
    layout = Layout("", False, names, user, track, timestamp, count, guess=guess, label=columns.label)
    layout = replace(layout, artist=columns.artist)
    lists = [name for name in layout.wanted if _is_list(schema.field(name).type)]
    if lists and set(lists) != set(layout.wanted) - {user}:
        others = ", ".join(name for name in layout.wanted if name not in lists and name != user) or "the users"
        raise MusicrecError(
            f"the columns {', '.join(lists)} of {path} hold lists, but {others} not; one row per user has lists in all "
            "columns but that of the user"
        )
    for name in layout.wanted:
        kind = schema.field(name).type
        kind = kind.value_type if name in lists else kind
        _check_type(path, name, kind, is_time=name == timestamp, is_count=name == count)
    return layout


def read_parquet(file: pq.ParquetFile, layout: Layout, conditions: Sequence[Condition] = ()) -> Iterator[LogBatch]:
    """Yields the rows of a Parquet file in order, bad ones set apart.

    Args:
        file: the file.
        layout: which columns are read.
        conditions: which rows count; the others are counted as left out.

    Raises:
        MusicrecError: if a condition needs a column that is missing, or the lists of a row differ in length.
    """
    row = 1
    held = applicable(conditions, layout.names, "the listening log")
    names = list(dict.fromkeys([*layout.wanted, *(condition.column for condition in held)]))
    nested = [name for name in names if _is_list(file.schema_arrow.field(name).type)]
    for part in file.iter_batches(_BATCH_LISTS if nested else _BATCH_ROWS, columns=names):
        flat = _flattened(part, nested, row) if nested else part
        for start in range(0, flat.num_rows, _BATCH_ROWS):
            piece = flat.slice(start, _BATCH_ROWS)
            where, left_out = _kept(piece, held)
            kept = piece if len(where) == piece.num_rows else piece.take(pa.array(where))
            batch = _batch(kept, layout, row + start + where)
            batch.left_out += left_out
            yield batch
        row += flat.num_rows


def _batch(part: pa.RecordBatch, layout: Layout, numbers: np.ndarray) -> LogBatch:
    """Returns the rows of a part of the file; `numbers` are theirs in the file."""
    columns = [part.column(name) for name in layout.wanted]
    assembled = layout.assembled(columns)
    if (batch := _of_integers(assembled, layout)) is not None:
        return batch
    batch, reasons = check_rows(assembled, layout.label is not None, layout.artist is not None)
    batch.bad = [
        BadRow(int(numbers[index]), reason, shown_value([str(column[index]) for column in columns]))
        for index, reason in sorted(reasons.items())
    ]
    return batch


def _of_integers(columns: Sequence[pa.Array], layout: Layout) -> LogBatch | None:
    """Returns the batch of users, tracks and times that are integers, which needs no text per row; None for others."""
    users, tracks, times = columns[:3]
    plain = all(pa.types.is_integer(column.type) and not column.null_count for column in columns[:3])
    if not plain or len(columns) > 3 or not len(users) or layout.timestamp is None:
        return None
    numbers = users.to_numpy()
    timestamps, formats = instants(times)
    if numbers.min() < 0 or numbers.max() > MAX_PLAIN or np.isnat(timestamps).any():
        return None
    distinct = tracks.dictionary_encode()
    texts = pa.DictionaryArray.from_arrays(distinct.indices, distinct.dictionary.cast(pa.string()))
    return LogBatch(numbers.astype(np.int64), texts, timestamps, None, formats=formats)


def _kept(part: pa.RecordBatch, conditions: Sequence[Condition]) -> tuple[np.ndarray, Counter[str]]:
    """Returns the indices of the rows that fulfil all conditions, and the number of the others by what they are."""
    left_out: Counter[str] = Counter()
    kept = np.ones(part.num_rows, dtype=bool)
    for condition in conditions:
        fails = kept & ~condition.holds(part.column(condition.column))
        left_out += Counter({condition.left_out: int(fails.sum())})
        kept &= ~fails
    return np.flatnonzero(kept), left_out


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _flattened(part: pa.RecordBatch, nested: Sequence[str], row: int) -> pa.RecordBatch:
    """Returns one row per element of the lists; the other columns are repeated.

    Args:
        part: rows of the file.
        nested: its columns of lists.
        row: number of the first play, for messages.
    """
    lengths = [pc.fill_null(pc.list_value_length(part.column(name)), 0).to_numpy() for name in nested]
    if any((length != lengths[0]).any() for length in lengths[1:]):
        raise MusicrecError(
            f"the listening log has a row, near play {row:,}, whose lists in {', '.join(nested)} differ in length"
        )
    owners = pa.array(np.repeat(np.arange(part.num_rows), lengths[0]))
    names = part.schema.names
    columns = [part.column(name).flatten() if name in nested else part.column(name).take(owners) for name in names]
    return pa.RecordBatch.from_arrays(columns, names=names)


def _check_type(path: Path, name: str, kind: pa.DataType, *, is_time: bool, is_count: bool) -> None:
    """Refuses a column whose type does not fit its use."""
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    fits = pa.types.is_integer(inner) or is_text(inner)
    allowed = "integers or strings"
    if is_time or is_count:
        fits = fits or pa.types.is_floating(inner)
        allowed = "numbers or strings"
    if is_time:
        fits = fits or pa.types.is_timestamp(inner) or pa.types.is_date(inner)
        allowed = "timestamps, numbers or strings"
        if pa.types.is_float32(inner) or pa.types.is_float16(inner):
            raise MusicrecError(
                f"the column {name!r} of {path} holds {kind}, whose seconds since 1970 are off by minutes; write it as "
                "double or int64"
            )
    if not fits:
        raise MusicrecError(f"the column {name!r} of {path} holds {kind}; it must hold {allowed}")
