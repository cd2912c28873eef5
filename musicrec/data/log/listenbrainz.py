"""Parsing ListenBrainz listens, one JSON object per line.

https://listenbrainz.readthedocs.io/en/latest/users/json.html
"""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pa_json

from musicrec.data.log.formats import NOBODY, Layout
from musicrec.data.log.values import BadRow, LogBatch, check_rows, shown_line


def parse_json(block: bytes, layout: Layout, first_line: int) -> LogBatch:
    """Returns the rows of a block of whole lines, bad ones set apart."""
    columns = _columns(block)
    lines = block.split(b"\n")[:-1]
    if columns is not None and len(columns[0]) == len(lines):
        batch, reasons = check_rows(layout.assembled(columns))
        if not reasons:
            return batch
    rows, faults = [], {}
    for index, line in enumerate(lines):
        if line.strip():
            try:
                rows.append((index, *_listen(line)))
            except ValueError as error:
                faults[index] = str(error)
    columns = [pa.array([row[column] for row in rows], pa.string()) for column in range(1, 5)]
    batch, reasons = check_rows(layout.assembled(columns))
    faults |= {rows[row][0]: reason for row, reason in reasons.items()}
    batch.bad = [BadRow(first_line + index, faults[index], shown_line(lines[index])) for index in sorted(faults)]
    return batch


def _columns(block: bytes) -> list[pa.Array] | None:
    """Returns user, artist, track and time of listens in the site's own form, None if a line differs from it."""
    names = pa.struct([("artist_name", pa.string()), ("track_name", pa.string())])
    schema = pa.schema([("user_name", pa.string()), ("listened_at", pa.int64()), ("track_metadata", names)])
    try:
        table = pa_json.read_json(
            pa.BufferReader(block),
            read_options=pa_json.ReadOptions(use_threads=False, block_size=len(block) + 1),
            parse_options=pa_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        ).combine_chunks()
    except pa.ArrowInvalid:
        return None
    user, time, metadata = (table.column(name).combine_chunks() for name in schema.names)
    if user.null_count or time.null_count or metadata.null_count:
        return None
    return [user, pc.struct_field(metadata, 0), pc.struct_field(metadata, 1), time]


def _listen(line: bytes) -> tuple[str, str, str, str]:
    """Returns user, artist, track and time of a line.

    Raises:
        ValueError: if it is not a listen; the message is the reason for the list of rejected rows.
    """
    try:
        listen = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise ValueError("the line is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"the line is not JSON ({error.msg})") from None
    if not isinstance(listen, dict):
        raise ValueError("the line is not a JSON object")
    metadata = listen.get("track_metadata")
    names = metadata if isinstance(metadata, dict) else listen
    user = _first(listen, "user_name", "user_id") or NOBODY
    return user, _first(names, "artist_name"), _first(names, "track_name"), _first(listen, "listened_at", "timestamp")


def _first(values: dict[str, Any], *keys: str) -> str:
    """Returns the first value that is present, as text; '' if none is."""
    return next((str(values[key]) for key in keys if values.get(key) not in (None, "")), "")
