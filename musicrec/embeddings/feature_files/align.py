"""Puts the vectors of a feature file in the order of the track index."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from musicrec.embeddings.feature_files.block import Block
from musicrec.errors import MusicrecError
from musicrec.workspace import TrackIndex

log = logging.getLogger(__name__)

NOT_FINITE = "its vector holds NaN or infinite values"


def align(path: Path, blocks: Iterable[Block], tracks: TrackIndex) -> tuple[np.ndarray, dict[str, str]]:
    """Returns the table, (tracks, dim) float32 with NaN rows, and which tracks of the file were left out and why.

    Args:
        path: the file, for messages.
        blocks: its rows; a track may occur twice with the same vector.
        tracks: gives the rows their order.

    Raises:
        MusicrecError: none of the tracks occurs, one occurs with different vectors, or rows without ids do not match
            the index.
    """
    table: np.ndarray | None = None
    filled = np.zeros(len(tracks), dtype=bool)
    left_out: dict[str, str] = {}
    example: str | None = None
    seen = repeated = 0
    for block in blocks:
        if table is None:
            table = np.full((len(tracks), block.values.shape[1]), np.nan, dtype=np.float32)
            example = block.ids[0] if block.ids else None
        if block.values.shape[1] != table.shape[1]:
            raise MusicrecError(f"{path}: vectors differ in size: {table.shape[1]} and {block.values.shape[1]} values")
        target, source = _rows(block, seen, tracks)
        seen += len(block.values)
        with np.errstate(over="ignore"):  # too large for float32 = infinite, and left out below
            values = block.values[source].astype(np.float32)
        rows, position = np.unique(target, return_index=True)
        new = np.zeros(len(target), dtype=bool)
        new[position] = ~filled[rows]
        table[target[new]] = values[new]
        filled[rows] = True
        for row, again in zip(target[~new], values[~new], strict=True):
            repeated += 1
            if tracks.ids[row] not in left_out and not np.array_equal(table[row], again, equal_nan=True):
                raise MusicrecError(
                    f"{path}: track ids occur more than once with different vectors, e.g. {tracks.ids[row]}; keep one"
                )
        bad = target[new][~np.isfinite(values[new]).all(axis=1)]
        table[bad] = np.nan
        left_out |= {tracks.ids[row]: NOT_FINITE for row in bad}
    if table is None:
        raise MusicrecError(f"{path} holds no vectors")
    if example is None and seen != len(tracks):
        raise MusicrecError(
            f"{path} has {seen} rows without track ids, trackid_sorted.csv has {len(tracks)} tracks: put one id per "
            f"line in {path.with_suffix('.txt')}"
        )
    if not filled.any():
        raise MusicrecError(f"{path}: none of its {seen} track ids (e.g. {[example]}) is in trackid_sorted.csv")
    if repeated:
        log.warning("%s: %d rows repeat an earlier one and were skipped", path, repeated)
    if left_out:
        some = ", ".join(list(left_out)[:3]) + (", ..." if len(left_out) > 3 else "")
        log.warning("%s: %d vectors with NaN or infinite values were left out: %s", path, len(left_out), some)
    return table, left_out


def _rows(block: Block, start: int, tracks: TrackIndex) -> tuple[np.ndarray, np.ndarray]:
    """Returns the table's row and the block's row of every track of a block that is in the index.

    Args:
        block: some rows of the file.
        start: rows of the file before it.
        tracks: the index.
    """
    if block.ids is None:
        source = np.arange(max(0, min(len(block.values), len(tracks) - start)))
        return start + source, source
    known = [(tracks.row(track), row) for row, track in enumerate(block.ids) if track in tracks]
    target, source = np.array(known, dtype=np.int64).reshape(-1, 2).T
    return target, source
