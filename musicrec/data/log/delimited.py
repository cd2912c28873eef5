"""Parsing blocks of tab- or comma-separated lines: pyarrow where it can, Python's csv module where it cannot."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from musicrec.data.log.arrays import numbers_of
from musicrec.data.log.detect import csv_rows
from musicrec.data.log.formats import Layout
from musicrec.data.log.text import count_lines
from musicrec.data.log.values import BadRow, LogBatch, check_rows, instants, plain_integers, shown_line

_NEVER_CLOSED = "a quotation mark that is not closed"
# Rows with such marks that are read again line by line; more in a block are skipped with what they swallowed, because
# each may cost a long search for the end.
_MAX_RESTARTS = 500
# Bytes of clean text that pyarrow converts at a time; a longer line is read in the careful way.
_IN_CACHE = 1 << 20
_FLOAT = re.compile(rb"\d+\.\d*|\d+(?:\.\d*)?[eE][+-]?\d+")


def parse_delimited(block: bytes, layout: Layout, first_line: int) -> LogBatch:
    """Returns the rows of a block of whole lines, bad ones set apart.

    Args:
        block: the lines, each with its line break.
        layout: the columns.
        first_line: the number of the block's first line.
    """
    batch = parse_clean(block, layout, count_lines(block))
    return _parse_carefully(block, layout, first_line) if batch is None else batch


def _read_csv(
    block: bytes | bytearray, layout: Layout, types: list[pa.DataType], on_ragged: Callable[[Any], str] | None = None
) -> list[pa.Array]:
    """Returns the columns of a block at `layout.positions`, converted by pyarrow.

    Args:
        block: whole lines.
        layout: the columns.
        types: of the columns, in the order of `layout.positions`.
        on_ragged: called with every row that has too few or too many cells, which must be UTF-8, and returns "skip".
            None: such a row is an error.

    Raises:
        pa.ArrowInvalid: if a value cannot be converted.
    """
    if block.startswith(codecs.BOM_UTF8):  # pyarrow would drop it, but it is part of the first id
        block = codecs.BOM_UTF8 + block
    size = len(block) + 1 if on_ragged else min(len(block) + 1, _IN_CACHE)
    names = [f"c{position}" for position in range(layout.width)]
    wanted = [names[position] for position in layout.positions]
    table = pa_csv.read_csv(
        pa.BufferReader(block),
        # In one thread, because rows stay in order. As one block where ragged rows must know their line.
        read_options=pa_csv.ReadOptions(use_threads=False, block_size=size, column_names=names),
        parse_options=pa_csv.ParseOptions(
            delimiter=layout.delimiter,
            quote_char='"' if layout.quoted else False,
            ignore_empty_lines=False,  # they have a line number too
            invalid_row_handler=on_ragged,
        ),
        convert_options=pa_csv.ConvertOptions(
            column_types=dict(zip(wanted, types, strict=True)), include_columns=wanted, null_values=[]
        ),
    )
    return [column.combine_chunks() for column in table.columns]


def parse_clean(block: bytes | bytearray, layout: Layout, lines: int) -> LogBatch | None:
    """Returns the rows of a block in which each of its lines is a good row, otherwise None."""
    if block.isspace():
        return _parse_carefully(b"", layout, 0)  # nothing but blank lines
    kind = _sniff(block, layout)
    identity = pa.dictionary(pa.int32(), pa.string())
    # The parts of composed ids recur; whole ids are looked up once, when they are numbered (`Codes`).
    kinds: dict[str | None, pa.DataType] = {name: identity if layout.by_name else pa.string() for name in layout.fields}
    kinds |= {layout.user: pa.string(), layout.timestamp: kind, layout.count: pa.int64(), layout.label: identity}
    kinds[layout.artist] = identity
    try:
        columns = _read_csv(block, layout, [kinds[name] for name in layout.wanted])
        users, tracks, times, *rest = layout.assembled(columns)
    except pa.ArrowInvalid:
        return None
    if layout.user is not None and (integers := plain_integers(users)) is not None:
        users = integers
    if len(users) != lines or _holds_empty(users) or _holds_empty(tracks):
        return None
    timestamps, formats = instants(times)
    artists = rest.pop() if layout.artist is not None else None
    labels = rest.pop() if layout.label is not None else None
    counts = rest[0].to_numpy() if rest else None
    if np.isnat(timestamps).any() or (counts is not None and counts.min() < 1):
        return None
    return LogBatch(users, tracks, timestamps, counts, formats=formats, labels=labels, artists=artists)


def _sniff(block: bytes | bytearray, layout: Layout) -> pa.DataType:
    """Returns the type of a block's timestamps, guessed from its first row; a wrong guess only costs time."""
    if layout.timestamp is None:
        return pa.int64()
    cells = block[: block.index(b"\n")].rstrip(b"\r").split(layout.delimiter.encode())
    cell = cells[layout.names.index(layout.timestamp)].strip(b'"') if len(cells) == layout.width else b""
    if cell.isdigit():
        return pa.int64()
    if _FLOAT.fullmatch(cell):
        return pa.float64()
    return pa.timestamp("us", tz="UTC") if cell.endswith(b"Z") or b"+" in cell else pa.timestamp("us")


def _holds_empty(ids: pa.Array | np.ndarray) -> bool:
    """Returns whether one of some ids is an empty text."""
    if isinstance(ids, np.ndarray):
        return False
    texts = ids.dictionary if pa.types.is_dictionary(ids.type) else ids
    return not numbers_of(pc.binary_length(texts)).all()


def _parse_carefully(block: bytes, layout: Layout, first_line: int) -> LogBatch:
    """Returns the good rows of a block, and the line, reason and text of each bad one."""
    lines = block.split(b"\n")[:-1]
    faults: dict[int, str] = {}  # reason by index of the line

    def note(row: Any) -> str:
        faults[row.number - 1] = _ragged(row.actual_columns, layout)
        return "skip"

    types: list[pa.DataType] = [pa.binary()] * len(layout.positions)
    try:
        columns = _read_csv(_decodable(block, lines, layout), layout, types, note)
        line_of_row = np.delete(np.arange(len(lines)), sorted(faults))
        understood = len(line_of_row) == len(columns[0])
    except pa.ArrowInvalid:
        understood = False
    if not understood:
        columns, line_of_row, faults = _parse_with_csv(lines, layout)
    batch, reasons = check_rows(layout.assembled(columns), layout.label is not None, layout.artist is not None)
    faults |= {int(line_of_row[row]): reason for row, reason in reasons.items()}
    batch.bad = [
        BadRow(first_line + index, faults[index], shown_line(lines[index]))
        for index in sorted(faults)
        if lines[index].strip()  # a blank line is not a row
    ]
    return batch


def _decodable(block: bytes, lines: list[bytes], layout: Layout) -> bytes:
    """Returns a block in which all lines with too few or too many cells are UTF-8, which pyarrow needs to report them.

    Raises:
        pa.ArrowInvalid: if a line that is not UTF-8 has quotation marks, so that its cells are not known.
    """
    try:
        block.decode("utf-8")
        return block
    except UnicodeDecodeError:
        replaced = [line if _is_utf8(line) else _ragged_as_ascii(line, layout) for line in lines]
        return b"".join(line + b"\n" for line in replaced)


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
        return True
    except UnicodeDecodeError:
        return False


def _ragged_as_ascii(line: bytes, layout: Layout) -> bytes:
    """Returns a line that is not UTF-8, with question marks for what is not ASCII if it is ragged."""
    if layout.quoted and b'"' in line:
        raise pa.ArrowInvalid("quotation marks in a line that is not UTF-8")
    if line.count(layout.delimiter.encode()) == layout.width - 1:
        return line
    return line.decode("ascii", "replace").replace("\ufffd", "?").encode("ascii")


def _parse_with_csv(lines: list[bytes], layout: Layout) -> tuple[list[pa.Array], np.ndarray, dict[int, str]]:
    """Reads lines with Python's csv module, which accepts quoted values that contain line breaks.

    Returns:
        The columns (binary), the index of each row's first line, and the reasons of the faulty lines by index.
    """
    if not layout.quoted:
        return _split(lines, layout)
    kept: list[list[bytes]] = []
    line_of_row: list[int] = []
    faults: dict[int, str] = {}
    begin, restarts = 0, 0
    reader = _reader(lines, begin, layout)
    while True:
        start = begin + reader.line_num
        try:
            row = next(reader)
            reason = "" if len(row) == layout.width else _ragged(len(row), layout)
        except StopIteration:
            break
        except csv.Error as error:
            reason = str(error)
        end = begin + reader.line_num
        if end - start > 1 and not reason and not _closes(lines[start:end], layout):
            reason = _NEVER_CLOSED
        if not reason:
            kept.append([row[position].encode("utf-8", "surrogateescape") for position in layout.positions])
            line_of_row.append(start)
        elif end - start > 1 and restarts < _MAX_RESTARTS:
            # The mark swallowed good rows: only its own line is bad.
            faults[start] = _NEVER_CLOSED
            begin, restarts = start + 1, restarts + 1
            reader = _reader(lines, begin, layout)
        else:
            faults |= dict.fromkeys(range(start, end), reason)
    columns = [pa.array([row[i] for row in kept], pa.binary()) for i in range(len(layout.positions))]
    return columns, np.array(line_of_row, np.int64), faults


def _reader(lines: list[bytes], begin: int, layout: Layout) -> Any:
    """Returns Python's csv reader of the lines from `begin` on."""
    # surrogateescape carries bytes that are not UTF-8 through the csv module; `check_rows` reports them.
    text = (lines[index].decode("utf-8", "surrogateescape") + "\n" for index in range(begin, len(lines)))
    return csv_rows(text, layout.delimiter, layout.quoted)


def _closes(lines: list[bytes], layout: Layout) -> bool:
    """Returns whether the quotation marks of a row of several lines are where they should be."""
    text = (line.decode("utf-8", "surrogateescape") + "\n" for line in lines)
    try:
        return len(list(csv.reader(text, delimiter=layout.delimiter, strict=True))) == 1
    except csv.Error:
        return False


def _split(lines: list[bytes], layout: Layout) -> tuple[list[pa.Array], np.ndarray, dict[int, str]]:
    """Reads lines without quoting, in which a carriage return may be part of a name."""
    kept: list[list[bytes]] = []
    line_of_row: list[int] = []
    faults: dict[int, str] = {}
    for index, line in enumerate(lines):
        cells = line.removesuffix(b"\r").split(layout.delimiter.encode())
        if len(cells) == layout.width:
            kept.append([cells[position] for position in layout.positions])
            line_of_row.append(index)
        else:
            faults[index] = _ragged(len(cells), layout)
    columns = [pa.array([row[i] for row in kept], pa.binary()) for i in range(len(layout.positions))]
    return columns, np.array(line_of_row, np.int64), faults


def _ragged(found: int, layout: Layout) -> str:
    return f"{found} columns instead of {layout.width}"
