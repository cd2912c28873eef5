"""Block: some rows of a feature file, and how a matrix is read block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from musicrec.errors import MusicrecError

# Values of a block, 64 MB in float32: what reading needs beside the table itself.
_VALUES = 1 << 24


@dataclass(frozen=True)
class Block:
    """Some rows of a feature file.

    Attributes:
        ids: their track ids; None if the file has none, so that row i is track idx i.
        values: (rows, dim), of a floating-point type.
    """

    ids: list[str] | None
    values: np.ndarray


def rows_per_block(dim: int) -> int:
    """Returns how many rows of `dim` values are read at once."""
    return max(1, _VALUES // max(1, dim))


def blocks_of(matrix: np.ndarray, ids: list[str] | None, path: Path) -> Iterator[Block]:
    """Yields the rows of a matrix, which may be larger than memory.

    Args:
        matrix: (rows, dim).
        ids: of the rows.
        path: where it was read from.

    Raises:
        MusicrecError: not a matrix of floats, or not one id per row.
    """
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise MusicrecError(f"{path} has shape {matrix.shape}, must be (tracks, dim)")
    if matrix.dtype.kind not in "fiu":
        raise MusicrecError(f"{path} holds values of type {matrix.dtype}, must be numbers")
    if ids is not None and len(ids) != len(matrix):
        raise MusicrecError(f"{path} has {len(matrix)} rows but {len(ids)} track ids")
    step = rows_per_block(matrix.shape[1])
    for start in range(0, len(matrix), step):
        yield Block(None if ids is None else ids[start : start + step], matrix[start : start + step])
