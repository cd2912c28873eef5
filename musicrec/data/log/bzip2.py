"""Decompression of .bz2 logs: `indexed_bzip2` with several threads, the standard library's bz2 where it is missing."""

from __future__ import annotations

import bz2
import io
from pathlib import Path
from typing import Any, cast

from musicrec.errors import first_line

try:
    import indexed_bzip2
except ImportError:  # there are no wheels for some platforms
    indexed_bzip2 = None

# The numbers that mark a block and the end of a stream. Each is followed by a 32-bit checksum.
# https://github.com/dsnet/compress/blob/master/doc/bzip2-format.pdf
_BLOCK, _END = 0x314159265359, 0x177245385090
_MAGIC_BYTES, _CRC_BITS = 6, 32
_TRUNCATED = "Compressed file ended before the end-of-stream marker was reached"


def open_bzip2(path: Path, workers: int) -> io.BufferedReader:
    """Returns a stream of the decompressed file.

    Reading it raises OSError if the file is damaged and EOFError if it is truncated.

    Args:
        path: the .bz2 file; it may hold several streams.
        workers: decompression threads (one if `indexed_bzip2` is not installed).
    """
    if indexed_bzip2 is None:
        return cast(io.BufferedReader, bz2.open(path, "rb"))
    return io.BufferedReader(_CheckedStream(path, workers), 1 << 20)


class _CheckedStream(io.RawIOBase):
    """The bytes that `indexed_bzip2` decompresses, with the errors of bz2 and its check of each stream's checksum.

    Version 1.7 compares the checksum of each block but, when it uses several threads, not that of the whole stream,
    so a missing block would go unnoticed.
    """

    def __init__(self, path: Path, workers: int):
        self._path = path
        self._unchecked = workers > 1
        try:
            self._file = indexed_bzip2.open(str(path), parallelization=workers)
        except (RuntimeError, ValueError) as error:
            raise _as_bz2(error) from error

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            size: int = self._file.readinto(buffer)
            if not size and len(buffer) and self._unchecked:
                _check_streams(self._path, sorted(self._file.block_offsets()))
        except (RuntimeError, ValueError) as error:
            raise _as_bz2(error) from error
        return size

    def close(self) -> None:
        if not self.closed and hasattr(self, "_file"):
            self._file.close()
        super().close()


def _as_bz2(error: Exception) -> OSError | EOFError:
    """Returns what bz2 would raise; a truncated file is a C++ exception without a message."""
    if "std::exception" in str(error):
        return EOFError(_TRUNCATED)
    return OSError(f"Invalid data stream: {first_line(error)}")


def _check_streams(path: Path, offsets: list[int]) -> None:
    """Compares the checksum of every stream with those of its blocks.

    Args:
        path: the .bz2 file.
        offsets: the bit at which each block and each end-of-stream marker starts, ascending.

    Raises:
        OSError: if a checksum differs.
        EOFError: if the last stream has no end.
    """
    if offsets == [0]:  # no block at all: the file holds empty streams or is cut off in its header
        with bz2.open(path, "rb") as stream:
            stream.read(1)
        return
    checksum, ended = 0, False
    with path.open("rb") as file:
        for offset in offsets:
            file.seek(offset // 8)
            # One byte more than the two numbers need, since they start at any bit.
            window = file.read(_MAGIC_BYTES + _CRC_BITS // 8 + 1).ljust(_MAGIC_BYTES + _CRC_BITS // 8 + 1, b"\0")
            both = int.from_bytes(window, "big") >> (8 - offset % 8) & ((1 << 8 * _MAGIC_BYTES + _CRC_BITS) - 1)
            magic, stored = both >> _CRC_BITS, both & ((1 << _CRC_BITS) - 1)
            if magic == _BLOCK:
                checksum, ended = ((checksum << 1 | checksum >> 31) & 0xFFFFFFFF) ^ stored, False
            elif magic == _END:
                if stored != checksum:
                    raise OSError("Invalid data stream: the checksum of the whole does not match")
                checksum, ended = 0, True
    if not ended:
        raise EOFError(_TRUNCATED)
