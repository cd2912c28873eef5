"""Rows: columns of numbers in memory, moved to a temporary file beyond a limit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

import numpy as np

from musicrec.data.table.scratch import Scratch, Stored

Columns: TypeAlias = Mapping[str, np.ndarray]


class Rows:
    """Columns of integers of equal length, appended piece by piece.

    Args:
        scratch: where the pieces go that exceed the limit.
        limit: bytes kept in memory.
    """

    def __init__(self, scratch: Scratch, limit: int):
        self._scratch, self._limit = scratch, limit
        self._stored: list[dict[str, Stored]] = []
        self._kept: list[Columns] = []
        self._bytes = 0
        self.count = 0

    def append(self, columns: Columns) -> None:
        """Adds a piece; every piece has the same columns."""
        self._kept.append(columns)
        self._bytes += sum(column.nbytes for column in columns.values())
        self.count += len(next(iter(columns.values())))
        if self._bytes > self._limit:
            for piece in self._kept:
                self._stored.append({name: self._scratch.write(column) for name, column in piece.items()})
            self._kept, self._bytes = [], 0

    def pieces(self, *names: str) -> Iterator[Columns]:
        """Yields the named columns of each piece, in order."""
        for stored in self._stored:
            yield {name: self._scratch.read(stored[name]) for name in names}
        yield from ({name: piece[name] for name in names} for piece in self._kept)
