"""Reading a listening log of any size as a stream of checked, dictionary-encoded batches.

The log is read once, in blocks of whole lines that several threads parse. Each block is parsed by the first of these
methods that works:

1. pyarrow converts all values.
2. If a value cannot be converted, the values are checked as arrays, which finds the bad rows.
3. If lines and rows do not match (line breaks within quotation marks), Python's csv module reads the block.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from musicrec.data.log.bzip2 import open_bzip2
from musicrec.data.log.delimited import parse_delimited
from musicrec.data.log.formats import LISTENBRAINZ, SEQUENCES, Layout, LogColumns, layout_of
from musicrec.data.log.listenbrainz import parse_json
from musicrec.data.log.parquet import parquet_layout, read_parquet
from musicrec.data.log.sequences import parse_sequences
from musicrec.data.log.values import LogBatch
from musicrec.errors import MusicrecError, first_line
from musicrec.system import usable_cpus

# Large enough that a block has far fewer distinct ids than rows. Larger blocks cost memory.
BLOCK_BYTES = 16 << 20
MAX_HEADER_BYTES = 1 << 20
# Longest quoted value with line breaks.
MAX_QUOTED_BYTES = 1 << 18

_ALLOWED = (
    "a log is tab- or comma-separated text with a header line or another data.format (plain, .gz, .bz2 or .zst), or "
    "Parquet"
)


@dataclass(frozen=True)
class ListeningLog:
    """An opened listening log.

    Attributes:
        by_name: whether track ids are composed of artist and title.
        timed: whether rows have times; otherwise they are in order of time.
        batches: its rows in order, bad ones set apart. Iterating raises MusicrecError if the file is damaged.
    """

    by_name: bool
    timed: bool
    batches: Iterator[LogBatch]


def read_log(path: Path, columns: LogColumns, workers: int | None = None) -> Iterator[LogBatch]:
    """Yields the rows of a log in order, bad ones set apart; see `open_log`."""
    with open_log(path, columns, workers) as listening_log:
        yield from listening_log.batches


@contextmanager
def open_log(path: Path, columns: LogColumns, workers: int | None = None) -> Iterator[ListeningLog]:
    """Yields a listening log whose first line has been read.

    Args:
        path: .tsv, .csv (plain, .gz, .bz2, .zst) or Parquet. The format is detected from the content, not the name.
        columns: which columns to read.
        workers: number of parser threads; by default one per CPU that this process may use.

    Raises:
        MusicrecError: if the file is missing, empty, damaged, in another format, or lacks a column.
    """
    if not path.exists():
        raise MusicrecError(f"the listening log {path} does not exist; set data.plays=FILE")
    if path.is_dir():
        raise MusicrecError(f"the listening log {path} is a folder; set data.plays=FILE; {_ALLOWED}")
    with ExitStack() as files:
        with _damage_named(path):
            listening_log = _opened(path, columns, workers or usable_cpus(), files)
        yield listening_log


def _opened(path: Path, columns: LogColumns, workers: int, files: ExitStack) -> ListeningLog:
    with path.open("rb") as file:
        magic = file.read(4)
    if not magic:
        raise MusicrecError(f"the listening log {path} is empty; {_ALLOWED}")
    if magic == b"PAR1":
        table = files.enter_context(pq.ParquetFile(path))
        layout = parquet_layout(path, table.schema_arrow, columns)
        return ListeningLog(
            layout.by_name, layout.timestamp is not None, _naming_damage(path, read_parquet(table, layout))
        )
    stream = files.enter_context(_decompressed(path, magic, workers))
    header = stream.readline(MAX_HEADER_BYTES)
    if not header:
        raise MusicrecError(f"the listening log {path} is empty; {_ALLOWED}")
    layout = layout_of(path, header, columns, _ALLOWED)
    blocks = _blocks(stream, layout, header if layout.headerless else b"")
    return ListeningLog(
        layout.by_name, layout.timestamp is not None, _naming_damage(path, _read_blocks(blocks, layout, workers))
    )


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turns the errors of readers and decompressors into one that names the file."""
    try:
        yield
    # gzip and bz2 raise EOFError and OSError for truncated files, pyarrow OSError and ArrowInvalid.
    except (EOFError, OSError, zlib.error, pa.ArrowInvalid) as error:
        reason = first_line(error)
        raise MusicrecError(f"the listening log {path} cannot be read (truncated or corrupt?): {reason}") from error


def _naming_damage(path: Path, batches: Iterator[LogBatch]) -> Iterator[LogBatch]:
    with _damage_named(path):
        yield from batches


def _read_blocks(blocks: Iterator[bytes], layout: Layout, workers: int) -> Iterator[LogBatch]:
    parse = {LISTENBRAINZ: parse_json, SEQUENCES: parse_sequences}.get(layout.format, parse_delimited)
    with ThreadPoolExecutor(workers, thread_name_prefix="log") as pool:
        pending: deque[Future[LogBatch]] = deque()
        line = 1 if layout.headerless else 2
        for block in blocks:
            # Counting the lines of each block gives the number of the next block's first line, and is cheap.
            pending.append(pool.submit(parse, block, layout, line))
            line += block.count(b"\n")
            if len(pending) > workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


@contextmanager
def _decompressed(path: Path, magic: bytes, workers: int) -> Iterator[BinaryIO]:
    """Yields a buffered stream of the text; its first bytes (`magic`) show how it is compressed."""
    if magic[:2] == b"\x1f\x8b":
        with gzip.open(path, "rb") as stream:
            yield cast(BinaryIO, stream)
    elif magic[:3] == b"BZh":
        with open_bzip2(path, workers) as stream:
            yield cast(BinaryIO, stream)
    elif magic == b"\x28\xb5\x2f\xfd":
        with pa.CompressedInputStream(pa.OSFile(str(path)), "zstd") as stream:
            yield io.BufferedReader(stream)  # pyarrow's stream has no readline
    else:
        with path.open("rb") as stream:
            yield stream


def _blocks(stream: BinaryIO, layout: Layout, head: bytes) -> Iterator[bytes]:
    """Yields the rest of a stream as blocks of whole rows, each ending in a line break.

    Args:
        stream: the rest.
        layout: if values may be quoted, line breaks within quotation marks do not end a row.
        head: the part of the first block that was already read.
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
    """Returns the index after the last line break outside quotation marks, 0 if there is none.

    If quotation marks do not pair up, as in a title that contains one, it is the index after the last line break.
    """
    last = cut = data.rfind(b"\n") + 1
    inside = data.count(b'"', 0, cut) % 2 == 1
    while cut and inside and last - cut < MAX_QUOTED_BYTES:
        before = data.rfind(b"\n", 0, cut - 1) + 1
        inside ^= data.count(b'"', before, cut) % 2 == 1
        cut = before
    return cut if cut and not inside else last
