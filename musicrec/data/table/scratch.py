"""Scratch: arrays of numbers in a temporary file, for what does not fit in memory."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Stored:
    """An array in the file.

    Attributes:
        offset: of its first byte.
        rows: number of its elements.
        dtype: their type.
    """

    offset: int
    rows: int
    dtype: np.dtype

    def __len__(self) -> int:
        return self.rows


class Scratch:
    """A temporary file of arrays, made when the first one is written.

    It is read with ordinary reads: the pages of a mapped file would count as memory of this process.

    Attributes:
        path: the file, in a folder that its maker deletes.
        size: its bytes.
    """

    def __init__(self, path: Path):
        self.path = path
        self.size = 0
        self._file: io.FileIO | None = None

    def write(self, array: np.ndarray) -> Stored:
        """Appends an array of integers of one dimension; OSError if the disk is full."""
        if self._file is None:
            self._file = io.FileIO(self.path, "w+")
        stored = Stored(self.size, len(array), array.dtype)
        self._file.seek(self.size)
        rest = np.ascontiguousarray(array).view(np.uint8).data
        while rest.nbytes:
            rest = rest[self._file.write(rest) :]
        self.size += array.nbytes
        return stored

    def read(self, stored: Stored, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Returns the elements of an array from `start` to `stop`."""
        assert self._file is not None
        found = np.empty(len(range(stored.rows)[start:stop]), stored.dtype)
        self._file.seek(stored.offset + start * stored.dtype.itemsize)
        rest = found.view(np.uint8).data
        while rest.nbytes:
            if not (count := self._file.readinto(rest)):
                raise OSError(f"{self.path} has become shorter")
            rest = rest[count:]
        return found

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
