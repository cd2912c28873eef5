"""Decompression of .bz2 by several threads: its blocks are independent, though not marked in any index.

A block begins with a 48-bit magic number at any bit. So the file is searched for it, and each block, shifted to a byte
and given a header and a trailer of its own, is a small .bz2 that Python's bz2 reads without holding the interpreter.
Format: https://github.com/dsnet/compress/blob/master/doc/bzip2-format.pdf
"""

from __future__ import annotations

import bz2
import io
import mmap
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

BLOCK, END = 0x314159265359, 0x177245385090
MAGIC_BITS, CRC_BITS = 48, 32
HEADER = b"BZh9"  # 9 = the largest blocks, which allows smaller ones, too
WINDOW = 4 << 20

# Between two blocks may lie the end of a stream (10 bytes and padding), the header of the next (4) and empty streams.
BETWEEN = 64
TRUNCATED = "Compressed file ended before the end-of-stream marker was reached"


class _Piece(NamedTuple):
    """One decompressed block; `stream_crc` is what the file says of the stream that ends with it, None if none does."""

    data: bytes
    crc: int
    stream_crc: int | None


def open_bzip2(path: Path, workers: int) -> io.BufferedReader:
    """Returns a stream of the decompressed file.

    Reading raises OSError for damage and EOFError for a file that is cut off.
    """
    return io.BufferedReader(_Stream(_decompressed(path, workers)), 1 << 20)


class _Stream(io.RawIOBase):
    def __init__(self, parts: Generator[bytes, None, None]):
        self._parts = parts
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        target = memoryview(buffer).cast("B")
        while not self._rest:
            part = next(self._parts, None)
            if part is None:
                return 0
            self._rest = memoryview(part)
        size = min(len(target), len(self._rest))
        target[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size

    def close(self) -> None:
        if not self.closed:
            self._parts.close()
        super().close()


def _decompressed(path: Path, workers: int) -> Generator[bytes, None, None]:
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ThreadPoolExecutor(workers, thread_name_prefix="bzip2") as pool,
    ):
        yield from _in_order(data, pool, workers)


def _in_order(data: mmap.mmap, pool: ThreadPoolExecutor, workers: int) -> Iterator[bytes]:
    pending: deque[tuple[int, int, Future[_Piece]]] = deque()
    stops = _starts(data)
    start = next(stops, None)
    if start is None:
        if _find_end(data, 0, len(data) * 8) is None:
            raise EOFError(TRUNCATED)
        return
    more, stream_crc, ended = True, 0, False
    while more or pending:
        while more and len(pending) < 2 * workers:
            stop = next(stops, None)
            more = stop is not None
            end = len(data) * 8 if stop is None else stop
            pending.append((start, end, pool.submit(_piece, data, start, end)))
            start = end
        begin, end, future = pending.popleft()
        try:
            piece = future.result()
        except (OSError, EOFError):
            # Once in some 10^13 bytes chance writes the magic number inside a block.
            if not pending:
                raise
            piece = _piece(data, begin, pending.popleft()[1])
        yield piece.data
        stream_crc = ((stream_crc << 1 | stream_crc >> 31) & 0xFFFFFFFF) ^ piece.crc
        ended = piece.stream_crc is not None
        if ended:
            if piece.stream_crc != stream_crc:
                raise OSError("Invalid data stream: the checksum of the whole does not match")
            stream_crc = 0
    if not ended:
        raise EOFError(TRUNCATED)


def _starts(data: mmap.mmap) -> Iterator[int]:
    """Yields the bit at which each block begins."""
    window, overlap = 0, MAGIC_BITS // 8
    while window < len(data):
        view = data[window : window + WINDOW + overlap]
        found = sorted(_occurrences(view, BLOCK))
        yield from (8 * window + bit for bit in found if bit < 8 * WINDOW)
        window += WINDOW


def _occurrences(view: bytes, magic: int) -> Iterator[int]:
    """Yields the bits at which a 48-bit number occurs, not in order."""
    for shift in range(8):
        # The pattern in 7 bytes; the five whole ones are looked for, those at the edges compared.
        pattern = (magic << (8 - shift)).to_bytes(7, "big")
        at = view.find(pattern[1:6])
        while at >= 0:
            first = at - 1
            if first >= 0 and _matches(view, first, magic, shift):
                yield 8 * first + shift
            at = view.find(pattern[1:6], at + 1)


def _matches(view: bytes, first: int, magic: int, shift: int) -> bool:
    seven = int.from_bytes(view[first : first + 7].ljust(7, b"\0"), "big")
    return (seven >> (8 - shift)) & ((1 << MAGIC_BITS) - 1) == magic


def _find_end(data: mmap.mmap, begin: int, end: int) -> int | None:
    """Returns the first bit at which a stream ends between two bits, None if none does."""
    first = begin // 8
    view = data[first : -(-end // 8)]
    return min((8 * first + bit for bit in _occurrences(view, END) if 8 * first + bit >= begin), default=None)


def _bits(data: mmap.mmap, begin: int, end: int) -> int:
    value = int.from_bytes(data[begin // 8 : -(-end // 8)], "big") >> (-end % 8)
    return value & ((1 << (end - begin)) - 1)


def _piece(data: mmap.mmap, begin: int, end: int) -> _Piece:
    """Returns the block that begins at a bit and ends before another, at which the next block or the file ends."""
    last = end == len(data) * 8
    end_of_stream = _find_end(data, begin if last else max(begin, end - 8 * BETWEEN), end)
    stream_crc = None
    if end_of_stream is not None:
        after = end_of_stream + MAGIC_BITS
        if after + CRC_BITS > len(data) * 8:
            raise EOFError(TRUNCATED)
        stream_crc = _bits(data, after, after + CRC_BITS)
        end = end_of_stream
    if end - begin < MAGIC_BITS + CRC_BITS:
        raise EOFError(TRUNCATED)
    crc = _bits(data, begin + MAGIC_BITS, begin + MAGIC_BITS + CRC_BITS)
    # A stream of one block has its checksum.
    stream = _bits(data, begin, end) << (MAGIC_BITS + CRC_BITS) | END << CRC_BITS | crc
    size = end - begin + MAGIC_BITS + CRC_BITS
    whole = (stream << (-size % 8)).to_bytes(-(-size // 8), "big")
    try:
        return _Piece(bz2.decompress(HEADER + whole), crc, stream_crc)
    except ValueError as error:  # what bz2 says of data that ends early
        raise EOFError(TRUNCATED) from error
