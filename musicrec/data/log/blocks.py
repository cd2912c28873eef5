"""Blocks: a log cut into parts of whole rows, which several threads parse."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from musicrec.data.in_order import in_order
from musicrec.data.log.delimited import parse_clean, parse_delimited
from musicrec.data.log.formats import LISTENBRAINZ, SEQUENCES, SPOTIFY, Layout
from musicrec.data.log.listens import parse_clean_json, parse_json
from musicrec.data.log.sequences import parse_sequences
from musicrec.data.log.text import MAX_LINE, check_length, count_lines, with_line_feeds, without_end_mark
from musicrec.data.log.values import LogBatch

# Large enough that a block has far fewer distinct ids than rows. Larger blocks cost memory.
BLOCK_BYTES = 16 << 20
# Longest quoted value with line breaks.
MAX_QUOTED_BYTES = 1 << 18
# Blocks with bad rows are parsed in pieces of this size, until there are so many bad rows. The pieces are smaller if
# rows are shorter than those of ids and times, because each line costs an object.
_PIECE_BYTES = 1 << 20
_SMALL_PIECE_BYTES = 1 << 16
_SHORT_ROW = 12
_MOST_BAD_ROWS = 20_000
# How blocks are parsed, by format; others are delimited.
_CLEAN: dict[str, Callable[[bytes | bytearray, Layout, int], LogBatch | None]] = {
    LISTENBRAINZ: parse_clean_json,
    SPOTIFY: parse_clean_json,
    SEQUENCES: lambda text, layout, lines: None,
}
_CAREFUL = {LISTENBRAINZ: parse_json, SPOTIFY: parse_json, SEQUENCES: parse_sequences}


@dataclass(frozen=True)
class Block:
    """Whole rows of a text.

    Attributes:
        text: the rows, each ending in a line feed.
        line: number of the first line.
        lines: how many lines they are.
        free: takes the text when it is no longer needed, so that the next block is read into the same memory.
    """

    text: bytes | bytearray
    line: int
    lines: int
    free: deque[bytearray]


def cut_blocks(stream: io.BufferedReader, layout: Layout, head: bytes, name: str, line: int) -> Iterator[Block]:
    """Yields the rest of a stream as blocks of whole rows.

    Args:
        stream: the rest.
        layout: if values may be quoted, line breaks within quotation marks do not end a row.
        head: the part of the first block that was already read.
        name: of the file, for messages.
        line: number of the first line.
    """
    tail = bytearray(head)
    free: deque[bytearray] = deque()
    while True:
        # Read behind the tail: joining both would copy the block.
        begin = len(tail)
        data = _buffer(begin + BLOCK_BYTES, free)
        data[:begin] = tail
        if not (count := stream.readinto(memoryview(data)[begin:])):
            break
        del data[begin + count :]
        cut = _last_row_end(data) if layout.quoted else data.rfind(b"\n") + 1
        tail = data[cut:]
        if cut:
            del data[cut:]
            yield (block := _block(data, layout, line, free))
            line += block.lines
        if not layout.quoted or len(tail) > MAX_LINE + MAX_QUOTED_BYTES:
            check_length(name, line, len(tail))
    if last := without_end_mark(tail):
        yield _block(last, layout, line, free)


def _buffer(size: int, free: deque[bytearray]) -> bytearray:
    """Returns a buffer, if possible a free one: the system takes longer to give memory than to read a file."""
    while free:
        data = free.popleft()
        with suppress(BufferError):  # something still refers to it
            data.extend(bytes(max(1, size - len(data))))
            del data[size:]
            return data
    return bytearray(size)


def _block(text: bytes | bytearray, layout: Layout, line: int, free: deque[bytearray]) -> Block:
    text = with_line_feeds(text, layout)
    return Block(text, line, count_lines(text), free)


def _last_row_end(data: bytes | bytearray) -> int:
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


def parse_blocks(blocks: Iterable[Block], layout: Layout, workers: int) -> Iterator[LogBatch]:
    """Yields the rows of blocks, which so many threads parse."""

    def parsed(block: Block) -> _Parsed:
        found = _parse(block, layout)
        if isinstance(block.text, bytearray):
            block.free.append(block.text)
        return found

    for found in in_order(parsed, blocks, workers):
        yield from _all_of(found, layout)


@dataclass
class _Parsed:
    """What was parsed of a block.

    Attributes:
        batches: its rows.
        rest: what was not parsed, because there were too many bad rows before it to keep more in memory.
        line: number of the first line of the rest.
    """

    batches: list[LogBatch]
    rest: bytes | bytearray
    line: int


def _parse(block: Block, layout: Layout) -> _Parsed:
    """Parses a block at once if all of its rows are good, otherwise piece by piece."""
    if (clean := _CLEAN.get(layout.format, parse_clean)(block.text, layout, block.lines)) is not None:
        return _Parsed([clean], b"", block.line)
    return _parse_pieces(block.text, layout, block.line)


def _parse_pieces(block: bytes | bytearray, layout: Layout, line: int) -> _Parsed:
    """Parses a block piece by piece, as long as there are not too many bad rows."""
    parse = _CAREFUL.get(layout.format, parse_delimited)
    batches: list[LogBatch] = []
    start = bad = 0
    while start < len(block) and bad < _MOST_BAD_ROWS:
        end = _piece_end(block, start, layout)
        piece = bytes(block[start:end])
        batches.append(parse(piece, layout, line))
        bad += len(batches[-1].bad)
        line += piece.count(b"\n")
        start = end
    return _Parsed(batches, block[start:], line)


def _all_of(parsed: _Parsed, layout: Layout) -> Iterator[LogBatch]:
    """Yields the rows of a block, parsing its rest as they are taken."""
    yield from parsed.batches
    while parsed.rest:
        parsed = _parse_pieces(parsed.rest, layout, parsed.line)
        yield from parsed.batches


def _piece_end(block: bytes | bytearray, start: int, layout: Layout) -> int:
    """Returns the end of a piece of whole rows that begins at `start`."""
    stop = start + _PIECE_BYTES
    if stop >= len(block):
        return len(block)
    if block.count(b"\n", start, stop) * _SHORT_ROW > _PIECE_BYTES:  # each line costs an object
        stop = start + _SMALL_PIECE_BYTES
    cut = _last_row_end(block[start:stop]) if layout.quoted else block.rfind(b"\n", start, stop) + 1 - start
    return start + cut if cut > 0 else block.find(b"\n", stop) + 1 or len(block)
