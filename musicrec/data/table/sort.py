"""sorted_keys: sorts more numbers than fit in memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from musicrec.data.table.scratch import Scratch, Stored

# Each such number of a sorted run stays in memory, so that a number is found in the file with one short read.
_STRIDE = 1024


@dataclass(frozen=True)
class _Run:
    """A sorted array in a temporary file, and every _STRIDE-th of its numbers."""

    stored: Stored
    samples: np.ndarray


def sorted_keys(pieces: Iterable[np.ndarray], count: int, scratch: Scratch, limit: int) -> Iterator[np.ndarray]:
    """Yields numbers in ascending order, as consecutive sorted arrays.

    What does not fit in memory is sorted in runs, which go to a file. Quantiles of a sample of them then divide the
    numbers into ranges that fit, and each range is gathered from all runs and sorted again.

    Args:
        pieces: the numbers (int64), in any order.
        count: how many they are at most.
        scratch: where runs go.
        limit: bytes of numbers that are in memory at a time; up to a half more if many are equal.
    """
    if count * 8 <= limit:
        yield _gathered(pieces, count)
        return
    runs = [_stored(run, scratch) for run in _runs(pieces, max(1, limit // 16))]
    samples = np.sort(np.concatenate([run.samples for run in runs]))
    ranges = math.ceil(count * 16 / limit)
    bounds = np.unique(samples[np.arange(1, ranges) * len(samples) // ranges])
    starts = [0] * len(runs)
    for bound in [*bounds.tolist(), None]:
        stops = [_position(run, bound, scratch) for run in runs]
        cut = zip(runs, starts, stops, strict=True)
        parts = [scratch.read(run.stored, start, stop) for run, start, stop in cut if start < stop]
        starts = stops
        if parts:
            yield _gathered(parts, sum(map(len, parts)))


def _gathered(pieces: Iterable[np.ndarray], count: int) -> np.ndarray:
    """Returns the numbers of all pieces, `count` at most, sorted."""
    keys = np.empty(count, np.int64)
    end = 0
    for piece in pieces:
        keys[end : end + len(piece)] = piece
        end += len(piece)
    keys = keys[:end]
    keys.sort()
    return keys


def _runs(pieces: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Yields the numbers of all pieces in arrays of about `size`, in no order."""
    kept: list[np.ndarray] = []
    count = 0
    for piece in pieces:
        kept.append(piece)
        count += len(piece)
        if count >= size:
            yield np.concatenate(kept)
            kept, count = [], 0
    if kept:
        yield np.concatenate(kept)


def _stored(run: np.ndarray, scratch: Scratch) -> _Run:
    run.sort()
    return _Run(scratch.write(run), run[::_STRIDE].copy())


def _position(run: _Run, bound: int | None, scratch: Scratch) -> int:
    """Returns how many numbers of a run are less than `bound`; None: all of them."""
    if bound is None:
        return len(run.stored)
    before = int(np.searchsorted(run.samples, bound))
    if not before:
        return 0
    start = (before - 1) * _STRIDE
    return start + int(np.searchsorted(scratch.read(run.stored, start, start + _STRIDE), bound))
