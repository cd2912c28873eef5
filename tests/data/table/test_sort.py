"""sorted_keys sorts in memory and in files alike; a temporary file gives back what was written."""

from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicrec.data.table import sort
from musicrec.data.table.scratch import Scratch
from musicrec.data.table.sort import sorted_keys


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.one_of(st.integers(0, 2**63 - 1), st.integers(0, 5)), max_size=40), max_size=12),
    st.sampled_from([16, 64, 256, 10**6]),
    st.sampled_from([1, 2, 7, 4096]),
)
def test_sorted_in_memory_and_in_files(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[list[int]], limit: int, stride: int
) -> None:
    arrays = [np.array(piece, np.int64) for piece in pieces]
    count = sum(map(len, arrays))
    scratch = Scratch(tmp_path_factory.mktemp("sort") / "keys")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sort, "_STRIDE", stride)
        found = list(sorted_keys(arrays, count, scratch, limit))
    scratch.close()
    assert np.concatenate([*found, np.empty(0, np.int64)]).tolist() == sorted(chain.from_iterable(pieces))
    assert bool(scratch.size) == (count * 8 > limit)


def test_ranges_fit_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sort, "_STRIDE", 64)
    random = np.random.default_rng(0)
    arrays = [random.integers(0, 2**62, 5000) for _ in range(20)]
    limit = 160_000
    scratch = Scratch(tmp_path / "keys")
    found = list(sorted_keys(iter(arrays), 100_000, scratch, limit))
    assert sum(map(len, found)) == 100_000 and len(found) >= 10
    # A range and the parts that it is gathered from are in memory together.
    assert max(part.nbytes for part in found) * 2 <= 1.5 * limit
    scratch.close()


def test_skewed_keys(tmp_path: Path) -> None:
    keys = np.concatenate([np.zeros(3000, np.int64), np.arange(3000)])
    scratch = Scratch(tmp_path / "keys")
    found = list(sorted_keys([keys[::-1]], len(keys), scratch, 4096))
    scratch.close()
    assert np.concatenate(found).tolist() == sorted(keys.tolist())


def test_parts_of_stored_arrays(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "file")
    numbers, small = np.arange(1000), np.arange(7, dtype=np.int32)
    first, second, empty = scratch.write(numbers), scratch.write(small[::-1]), scratch.write(small[:0])
    assert scratch.read(first, 990).tolist() == list(range(990, 1000))
    assert scratch.read(first, 3, 5).tolist() == [3, 4]
    assert scratch.read(second).tolist() == [6, 5, 4, 3, 2, 1, 0] and scratch.read(second).dtype == np.int32
    assert scratch.read(empty).tolist() == []
    assert scratch.size == 8000 + 28 == scratch.path.stat().st_size
    scratch.close()
