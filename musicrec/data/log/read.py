"""Reads a listening log of any size as a stream of checked, dictionary-encoded batches.

The log is read once, in blocks of whole lines that threads parse side by side. A block takes the first way that works:
pyarrow converts all its values; if one fails, values are checked as arrays to tell which rows are bad; if lines and
rows do not match (quoted line breaks), Python's csv module reads it.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from musicrec.data.log.bzip2 import open_bzip2
from musicrec.data.log.formats import (
    LISTENBRAINZ,
    SEQUENCES,
    Layout,
    LogColumns,
    csv_rows,
    layout_of,
    table_columns,
)
from musicrec.data.log.listenbrainz import parse_json
from musicrec.data.log.sequences import parse_sequences
from musicrec.data.log.values import (
    MAX_SHOWN,
    BadRow,
    LogBatch,
    check_rows,
    instants,
    is_text,
    plain_integers,
    shown_value,
)
from musicrec.errors import MusicrecError
from musicrec.system import usable_cpus

if TYPE_CHECKING:
    import pyarrow as pa

# Big enough that the distinct ids of a block are few beside its rows; larger ones cost memory.
BLOCK_BYTES = 16 << 20
PARQUET_ROWS = 1 << 18
MAX_HEADER_BYTES = 1 << 20
# A quoted value with line breaks is not longer.
MAX_QUOTED_BYTES = 1 << 18

_ALLOWED = (
    "a log is tab- or comma-separated text with a header line, or one of data.format, plain or .gz, .bz2, .zst, or "
    "parquet"
)


@dataclass(frozen=True)
class Log:
    """An opened log.

    Attributes:
        by_name: whether track ids are put together from artist and title.
        batches: its rows in order, bad ones set apart. Iterating raises MusicrecError if the file is damaged.
    """

    by_name: bool
    batches: Iterator[LogBatch]


def read_log(path: Path, columns: LogColumns, workers: int | None = None) -> Iterator[LogBatch]:
    """Yields the rows of a log in order, bad ones set apart; see `open_log`."""
    with open_log(path, columns, workers) as log:
        yield from log.batches


@contextmanager
def open_log(path: Path, columns: LogColumns, workers: int | None = None) -> Iterator[Log]:
    """Yields a log of which the first line has been read.

    Args:
        path: .tsv, .csv (plain, .gz, .bz2, .zst) or parquet; contents tell the format, the name does not matter.
        columns: which columns to read.
        workers: parser threads; the CPUs of this process by default.

    Raises:
        MusicrecError: if the file is missing, empty, damaged, in another format, or lacks a column.
    """
    if not path.exists():
        raise MusicrecError(f"the listening log {path} does not exist: give another one with data.plays=FILE")
    if path.is_dir():
        raise MusicrecError(f"the listening log {path} is a folder: give a file with data.plays=FILE; {_ALLOWED}")
    with ExitStack() as files:
        with _damage_named(path):
            log = _opened(path, columns, workers or usable_cpus(), files)
        yield log


def _opened(path: Path, columns: LogColumns, workers: int, files: ExitStack) -> Log:
    with path.open("rb") as file:
        magic = file.read(4)
    if not magic:
        raise MusicrecError(f"the listening log {path} is empty; {_ALLOWED}")
    if magic == b"PAR1":
        import pyarrow.parquet as pq

        table = files.enter_context(pq.ParquetFile(path))
        layout = _parquet_layout(path, table.schema_arrow, columns)
        return Log(layout.by_name, _named(path, _read_parquet(table, layout)))
    stream = files.enter_context(_decompressed(path, magic, workers))
    first_line = stream.readline(MAX_HEADER_BYTES)
    if not first_line:
        raise MusicrecError(f"the listening log {path} is empty; {_ALLOWED}")
    layout = layout_of(path, first_line, columns, _ALLOWED)
    blocks = _blocks(stream, layout, first_line if layout.headerless else b"")
    return Log(layout.by_name, _named(path, _read_blocks(blocks, layout, workers)))


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    # gzip and bz2 raise EOFError and OSError for truncated files, pyarrow OSError and ArrowInvalid.
    except (EOFError, OSError, zlib.error, pa.ArrowInvalid) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MusicrecError(f"the listening log {path} cannot be read, is it damaged or cut off? ({reason})") from error


def _named(path: Path, batches: Iterator[LogBatch]) -> Iterator[LogBatch]:
    with _damage_named(path):
        yield from batches


def _read_blocks(blocks: Iterator[bytes], layout: Layout, workers: int) -> Iterator[LogBatch]:
    parse = {LISTENBRAINZ: parse_json, SEQUENCES: parse_sequences}.get(layout.format, _parse_block)
    with ThreadPoolExecutor(workers, thread_name_prefix="log") as pool:
        pending: deque[Future[LogBatch]] = deque()
        line = 1 if layout.headerless else 2
        for block in blocks:
            # The line a block starts at is known only when the blocks before are counted, which is cheap.
            pending.append(pool.submit(parse, block, layout, line))
            line += block.count(b"\n")
            if len(pending) > workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


@contextmanager
def _decompressed(path: Path, magic: bytes, workers: int) -> Iterator[BinaryIO]:
    """Yields a buffered stream of the text; the first bytes tell the compression."""
    if magic[:2] == b"\x1f\x8b":
        with gzip.open(path, "rb") as stream:
            yield cast(BinaryIO, stream)
    elif magic[:3] == b"BZh":
        with open_bzip2(path, workers) as stream:
            yield cast(BinaryIO, stream)
    elif magic == b"\x28\xb5\x2f\xfd":
        import pyarrow as pa

        with pa.CompressedInputStream(pa.OSFile(str(path)), "zstd") as stream:
            yield io.BufferedReader(stream)  # pyarrow's own readline is not implemented
    else:
        with path.open("rb") as stream:
            yield stream


def _blocks(stream: BinaryIO, layout: Layout, head: bytes) -> Iterator[bytes]:
    """Yields the rest of a stream as blocks of whole rows, each ending in a line break.

    Args:
        stream: the rest.
        layout: quoted values may hold line breaks, which end no row.
        head: what was read of the first block already.
    """
    tail = head
    while data := stream.read(BLOCK_BYTES):
        data = tail + data
        cut = _last_row_end(data) if layout.quoted else data.rfind(b"\n") + 1
        if cut:
            yield data[:cut]
        tail = data[cut:]
    if tail:
        yield tail if tail.endswith(b"\n") else tail + b"\n"


def _last_row_end(data: bytes) -> int:
    """Returns the position after the last line break that is outside quotation marks (0: there is none).

    Where quotation marks do not pair up, as in a value that holds one, it is the last line break.
    """
    last = cut = data.rfind(b"\n") + 1
    inside = data.count(b'"', 0, cut) % 2 == 1
    while cut and inside and last - cut < MAX_QUOTED_BYTES:
        before = data.rfind(b"\n", 0, cut - 1) + 1
        inside ^= data.count(b'"', before, cut) % 2 == 1
        cut = before
    return cut if cut and not inside else last


def _parse_block(block: bytes, layout: Layout, first_line: int) -> LogBatch:
    """Returns the rows of a block of whole lines."""
    batch = _parse_clean(block, layout)
    return _parse_carefully(block, layout, first_line) if batch is None else batch


def _read_csv(
    block: bytes, layout: Layout, types: list[pa.DataType], on_ragged: Callable[[Any], str]
) -> list[pa.Array]:
    """Returns the columns of a block at `layout.positions`, converted by pyarrow; ArrowInvalid if a value cannot be."""
    import pyarrow as pa
    import pyarrow.csv as pa_csv

    names = [f"c{position}" for position in range(layout.width)]
    wanted = [names[position] for position in layout.positions]
    table = pa_csv.read_csv(
        pa.BufferReader(block),
        # One block in one thread: rows stay in order, and ragged rows know their line.
        read_options=pa_csv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=names),
        parse_options=pa_csv.ParseOptions(
            delimiter=layout.delimiter,
            quote_char='"' if layout.quoted else False,
            ignore_empty_lines=False,  # they count as lines
            invalid_row_handler=on_ragged,
        ),
        convert_options=pa_csv.ConvertOptions(
            column_types=dict(zip(wanted, types, strict=True)), include_columns=wanted, null_values=[]
        ),
    )
    return [column.combine_chunks() for column in table.columns]


def _parse_clean(block: bytes, layout: Layout) -> LogBatch | None:
    """Returns the rows of a block without any fault, or None if it has one."""
    import pyarrow as pa

    ragged = 0

    def note(row: Any) -> str:
        nonlocal ragged
        ragged += 1
        return "skip"

    kind = _sniff(block, layout)
    identity = pa.dictionary(pa.int32(), pa.string())
    kinds: dict[str | None, pa.DataType] = {name: identity for name in layout.fields}
    kinds |= {layout.user: pa.string(), layout.timestamp: kind, layout.count: pa.int64()}
    try:
        columns = _read_csv(block, layout, [kinds[name] for name in layout.wanted], note)
        users, tracks, times, *rest = layout.assembled(columns)
    except pa.ArrowInvalid:
        return None
    if layout.by_name:
        tracks = tracks.dictionary_encode()
    if layout.user is not None:
        integers = plain_integers(users)
        users = users.dictionary_encode() if integers is None else integers
    if (
        ragged
        or len(users) != block.count(b"\n")
        or (isinstance(users, pa.Array)
        and _holds_empty(users))
        or _holds_empty(tracks)
    ):
        return None
    timestamps, formats = instants(times)
    counts = rest[0].to_numpy() if rest else None
    if np.isnat(timestamps).any() or (counts is not None and counts.min() < 1):
        return None
    return LogBatch(users, tracks, timestamps, counts, formats=formats)


def _sniff(block: bytes, layout: Layout) -> pa.DataType:
    """Returns the type that the timestamps of a block seem to have; a wrong guess costs time only."""
    import pyarrow as pa

    cells = block[: block.index(b"\n")].rstrip(b"\r").split(layout.delimiter.encode())
    cell = cells[layout.names.index(layout.timestamp)].strip(b'"') if len(cells) == layout.width else b""
    if cell.isdigit():
        return pa.int64()
    return pa.timestamp("us", tz="UTC") if cell.endswith(b"Z") or b"+" in cell else pa.timestamp("us")


def _holds_empty(ids: pa.DictionaryArray) -> bool:
    import pyarrow.compute as pc

    return bool(pc.any(pc.equal(ids.dictionary, "")).as_py())


def _parse_carefully(block: bytes, layout: Layout, first_line: int) -> LogBatch:
    """Returns the good rows of a block, and for each bad one its line, reason and text."""
    import pyarrow as pa

    lines = block.split(b"\n")[:-1]
    faults: dict[int, str] = {}  # index of the line -> reason

    def note(row: Any) -> str:
        faults[row.number - 1] = _ragged(row.actual_columns, layout)
        return "skip"

    types: list[pa.DataType] = [pa.binary()] * len(layout.positions)
    try:
        columns = _read_csv(block, layout, types, note)
        line_of_row = np.delete(np.arange(len(lines)), sorted(faults))
        understood = len(line_of_row) == len(columns[0])
    except pa.ArrowInvalid:
        understood = False
    if not understood:
        columns, line_of_row, faults = _parse_with_csv(lines, layout)
    batch, reasons = check_rows(layout.assembled(columns))
    faults |= {int(line_of_row[row]): reason for row, reason in reasons.items()}
    batch.bad = [
        BadRow(first_line + index, faults[index], _shown(lines[index]))
        for index in sorted(faults)
        if lines[index].strip()  # a blank line is no row
    ]
    return batch


def _parse_with_csv(lines: list[bytes], layout: Layout) -> tuple[list[pa.Array], np.ndarray, dict[int, str]]:
    """Returns columns (binary), the line index of every row, and faults, by Python's csv module.

    It reads what pyarrow does not: quoted values that contain line breaks.
    """
    import pyarrow as pa

    # surrogateescape carries bytes that are not UTF-8 through the csv module; `checked` reports them.
    text = (line.decode("utf-8", "surrogateescape") + "\n" for line in lines)
    reader = csv_rows(text, layout.delimiter, layout.quoted)
    kept: list[list[bytes]] = []
    line_of_row: list[int] = []
    faults: dict[int, str] = {}
    while True:
        start = reader.line_num
        try:
            row = next(reader)
            reason = "" if len(row) == layout.width else _ragged(len(row), layout)
        except StopIteration:
            break
        except csv.Error as error:
            reason = str(error)
        if reason:
            faults |= dict.fromkeys(range(start, reader.line_num), reason)
            continue
        kept.append([row[position].encode("utf-8", "surrogateescape") for position in layout.positions])
        line_of_row.append(start)
    columns = [pa.array([row[i] for row in kept], pa.binary()) for i in range(len(layout.positions))]
    return columns, np.array(line_of_row, np.int64), faults


def _ragged(found: int, layout: Layout) -> str:
    return f"{found} columns instead of {layout.width}"


def _shown(line: bytes) -> str:
    """Returns a line for the reject file: bytes that are not UTF-8 as \\xff, cut where it becomes unreadable."""
    return line.rstrip(b"\r").decode("utf-8", "backslashreplace")[:MAX_SHOWN]


def _parquet_layout(path: Path, schema: pa.Schema, columns: LogColumns) -> Layout:
    user, track, timestamp, count = table_columns(path, schema.names, columns)
    layout = Layout("", False, tuple(schema.names), user, track, timestamp, count)
    for name in layout.wanted:
        _check_type(path, name, schema.field(name).type, is_time=name == timestamp, is_count=name == count)
    return layout


def _read_parquet(file: Any, layout: Layout) -> Iterator[LogBatch]:
    row = 1
    for part in file.iter_batches(PARQUET_ROWS, columns=layout.wanted):
        columns = [part.column(name) for name in layout.wanted]
        batch, reasons = check_rows(layout.assembled(columns))
        batch.bad = [
            BadRow(row + index, reason, shown_value([str(column[index]) for column in columns]))
            for index, reason in sorted(reasons.items())
        ]
        row += part.num_rows
        yield batch


def _check_type(path: Path, name: str, kind: pa.DataType, *, is_time: bool, is_count: bool) -> None:
    """Refuses a parquet column that cannot be what it is read as."""
    import pyarrow as pa

    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    fits = pa.types.is_integer(inner) or is_text(inner)
    allowed = "integers or strings"
    if is_time or is_count:
        fits = fits or pa.types.is_floating(inner)
        allowed = "numbers or strings"
    if is_time:
        fits = fits or pa.types.is_timestamp(inner) or pa.types.is_date(inner)
        allowed = "timestamps, numbers or strings"
    if not fits:
        raise MusicrecError(f"the column {name!r} of {path} holds {kind}; it must hold {allowed}")
