"""Reading Parquet files as rows of a log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from musicrec.data.log.detect import table_columns
from musicrec.data.log.formats import Layout, LogColumns
from musicrec.data.log.values import BadRow, LogBatch, check_rows, is_text, shown_value
from musicrec.errors import MusicrecError

_BATCH_ROWS = 1 << 18


def parquet_layout(path: Path, schema: pa.Schema, columns: LogColumns) -> Layout:
    """Returns which columns of a Parquet file are read.

    Raises:
        MusicrecError: if a column is missing or has a type that cannot be used.
    """
    user, track, timestamp, count, guess = table_columns(str(path), schema.names, columns)
    layout = Layout("", False, tuple(schema.names), user, track, timestamp, count, guess=guess, label=columns.label)
    for name in layout.wanted:
        _check_type(path, name, schema.field(name).type, is_time=name == timestamp, is_count=name == count)
    return layout


def read_parquet(file: pq.ParquetFile, layout: Layout) -> Iterator[LogBatch]:
    """Yields the rows of a Parquet file in order, bad ones set apart."""
    row = 1
    for part in file.iter_batches(_BATCH_ROWS, columns=layout.wanted):
        columns = [part.column(name) for name in layout.wanted]
        batch, reasons = check_rows(layout.assembled(columns), labelled=layout.label is not None)
        batch.bad = [
            BadRow(row + index, reason, shown_value([str(column[index]) for column in columns]))
            for index, reason in sorted(reasons.items())
        ]
        row += part.num_rows
        yield batch


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
