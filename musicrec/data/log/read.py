"""Reading a listening log of any size as a stream of checked, dictionary-encoded batches.

The log is read once, in blocks of whole lines that several threads parse (`blocks`). Each block, or piece of a block
with bad rows, is parsed by the first of these methods that works:

1. pyarrow converts all values.
2. If a value cannot be converted, the values are checked as arrays, which finds the bad rows.
3. If lines and rows do not match (line breaks within quotation marks), Python's csv module reads the block.
"""

from __future__ import annotations

import gzip
import io
import logging
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from musicrec.data.log import blocks
from musicrec.data.log.bzip2 import open_bzip2
from musicrec.data.log.detect import ALLOWED, check_utf8, layout_of
from musicrec.data.log.files import LogFile, log_files
from musicrec.data.log.formats import Layout, LogColumns
from musicrec.data.log.json_documents import GeneratedStream, document_lines, is_document
from musicrec.data.log.parquet import parquet_layout, read_parquet
from musicrec.data.log.text import (
    MAX_LINE,
    head_lines,
    utf8_text,
)
from musicrec.data.log.values import LogBatch
from musicrec.errors import MusicrecError, first_line
from musicrec.system import usable_cpus

log = logging.getLogger(__name__)

# Lines from which the format is detected.
HEAD_LINES = 50


@dataclass
class ListeningLog:
    """An opened listening log.

    Attributes:
        by_name: whether track ids of the files read so far are composed of artist and title.
        timed: whether rows have times; otherwise they are in order of time.
        batches: its rows in order, bad ones set apart. Iterating raises MusicrecError if a file is damaged.
        several: whether there are several files, so that bad rows name theirs.
    """

    by_name: bool
    timed: bool
    batches: Iterator[LogBatch]
    several: bool = False


def read_log(path: Path | Sequence[Path], columns: LogColumns, workers: int | None = None) -> Iterator[LogBatch]:
    """Yields the rows of a log in order, bad ones set apart; see `open_log`."""
    with open_log(path, columns, workers) as listening_log:
        yield from listening_log.batches


@contextmanager
def open_log(path: Path | Sequence[Path], columns: LogColumns, workers: int | None = None) -> Iterator[ListeningLog]:
    """Yields a listening log whose first lines have been read.

    Args:
        path: .tsv, .csv, .json (plain, .gz, .bz2, .zst), Parquet, an export's .zip, a folder of these, or several. The
            format is detected from the content, not the name.
        columns: which columns to read.
        workers: number of parser threads; by default one per CPU that this process may use.

    Raises:
        MusicrecError: if the file is missing, empty, damaged, in another format, or lacks a column.
    """
    files = log_files([path] if isinstance(path, Path) else path)
    with ExitStack() as stack:
        first = stack.enter_context(_opened(files[0], columns, workers or usable_cpus()))
        listening_log = ListeningLog(first.by_name, first.timed, first.batches, len(files) > 1)
        if len(files) > 1:
            listening_log.batches = _all(files, first, listening_log, columns, workers or usable_cpus())
        yield listening_log


def _all(
    files: Sequence[LogFile], first: ListeningLog, whole: ListeningLog, columns: LogColumns, workers: int
) -> Iterator[LogBatch]:
    """Yields the rows of several files; their bad rows name the file."""
    for index, file in enumerate(files):
        with ExitStack() as stack:
            opened = first if not index else stack.enter_context(_opened(file, columns, workers, said=True))
            whole.by_name |= opened.by_name
            if opened.timed != whole.timed:
                raise MusicrecError(f"{file} has {'' if opened.timed else 'no '}times, unlike {files[0]}")
            for batch in opened.batches:
                batch.bad = [replace(row, file=str(file)) for row in batch.bad]
                yield batch


@contextmanager
def _opened(file: LogFile, columns: LogColumns, workers: int, said: bool = False) -> Iterator[ListeningLog]:
    """Yields one file of a log.

    Args:
        file: the file.
        columns: which columns to read.
        workers: number of parser threads.
        said: whether what was guessed was already said, for another file.
    """
    with ExitStack() as files:
        with _damage_named(file):
            layout, batches = _begun(file, columns, workers, files)
        batches = _naming_damage(file, batches)
        if layout.guess and not said:
            batches = _saying_guess(file, layout, batches)
        yield ListeningLog(layout.by_name, layout.timestamp is not None, batches)


def _begun(file: LogFile, columns: LogColumns, workers: int, files: ExitStack) -> tuple[Layout, Iterator[LogBatch]]:
    """Returns the layout of a file and its rows; what must be closed goes to `files`."""
    binary = _binary(file, files)
    magic = binary.peek(4)[:4]
    if not magic:
        raise MusicrecError(f"the listening log {file} is empty; {ALLOWED}")
    if magic == b"PAR1" and file.member is None:
        table = files.enter_context(pq.ParquetFile(file.path))
        layout = parquet_layout(file.path, table.schema_arrow, columns)
        return layout, read_parquet(table, layout, columns.conditions)
    if needed := [condition.key for condition in columns.conditions if condition.key]:
        raise MusicrecError(f"{file} is text; data.{needed[0]} is for Parquet files with such a column")
    stream = utf8_text(_decompressed(file, binary, magic, workers, files), columns.encoding, str(file))
    if is_document(stream.peek(1 << 16)):
        lines = document_lines(cast(BinaryIO, stream), str(file))
        stream = io.BufferedReader(cast(io.RawIOBase, GeneratedStream(lines)), 1 << 20)
        head = [line] if (line := stream.readline(MAX_LINE + 1)) else []
    else:
        head = head_lines(stream, str(file), HEAD_LINES, min(MAX_LINE, blocks.BLOCK_BYTES))
    if not head:
        raise MusicrecError(f"the listening log {file} is empty; {ALLOWED}")
    check_utf8(str(file), head[0])
    layout = layout_of(str(file), head, columns)
    if file.user and layout.nobody != file.user:
        layout = replace(layout, nobody=file.user)
    before = layout.skipped_lines + (not layout.headerless)
    cut = blocks.cut_blocks(stream, layout, b"".join(head[before:]), str(file), before + 1)
    return layout, blocks.parse_blocks(cut, layout, workers)


def _saying_guess(file: LogFile, layout: Layout, batches: Iterator[LogBatch]) -> Iterator[LogBatch]:
    """Says what the columns were taken for, with the first row as an example."""
    said = False
    for batch in batches:
        if len(batch) and not said:
            said = True
            time = "no time" if layout.timestamp is None else f"{str(batch.timestamps[0])[:19]} UTC"
            user = batch.users[0] if isinstance(batch.users, np.ndarray) else batch.users[0].as_py()
            log.info(
                "%s: read as %s; its first row: user %s, track %r, %s. If that is wrong, set data.format or "
                "data.user_column, data.track_column and data.timestamp_column",
                *(file, layout.guess, str(user)[:60], batch.tracks[0].as_py()[:100], time),
            )
        yield batch


@contextmanager
def _damage_named(file: LogFile) -> Iterator[None]:
    """Turns the errors of readers and decompressors into one that names the file."""
    try:
        yield
    except (RuntimeError, NotImplementedError) as error:  # of zipfile: encrypted, or packed in another way
        if file.member is None:
            raise
        raise MusicrecError(f"the listening log {file} cannot be unpacked ({first_line(error)}); unpack it") from error
    # gzip and bz2 raise EOFError and OSError for truncated files, pyarrow OSError and ArrowInvalid.
    except (EOFError, OSError, zlib.error, zipfile.BadZipFile, pa.ArrowInvalid) as error:
        reason = first_line(error)
        raise MusicrecError(f"the listening log {file} cannot be read (truncated or corrupt?): {reason}") from error


def _naming_damage(file: LogFile, batches: Iterator[LogBatch]) -> Iterator[LogBatch]:
    with _damage_named(file):
        yield from batches


def _binary(file: LogFile, files: ExitStack) -> io.BufferedReader:
    """Returns the stream of a file or of an archive's member."""
    if file.member is None:
        return cast(io.BufferedReader, files.enter_context(file.path.open("rb")))
    archive = files.enter_context(zipfile.ZipFile(file.path))
    member = files.enter_context(archive.open(file.member))
    return io.BufferedReader(cast(io.RawIOBase, member), 1 << 16)


def _decompressed(
    file: LogFile, binary: io.BufferedReader, magic: bytes, workers: int, files: ExitStack
) -> io.BufferedReader:
    """Returns a buffered stream of the text; the file's first bytes (`magic`) show how it is compressed."""
    if magic[:2] == b"\x1f\x8b":
        return io.BufferedReader(cast(io.RawIOBase, files.enter_context(gzip.open(binary, "rb"))), 1 << 16)
    if magic[:3] == b"BZh":
        if file.member is None:
            return files.enter_context(open_bzip2(file.path, workers))
        raise MusicrecError(f"the listening log {file} is compressed twice; unpack the archive")
    if magic == b"\x28\xb5\x2f\xfd":
        return io.BufferedReader(files.enter_context(pa.CompressedInputStream(binary, "zstd")), 1 << 16)
    return binary
