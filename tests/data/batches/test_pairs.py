"""Negatives are uniform and never true positives; batches are a function of (seed, epoch, number)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musicrec.data.batches.base import BatchKey, derived_seed
from musicrec.data.batches.pairs import Complement, PairBatch, PairSource

CPU = torch.device("cpu")


def source(anchors: list[int], positives: list[int], **options: Any) -> PairSource:
    defaults: dict[str, Any] = {
        "pool": np.unique(positives),
        "neg_samples": 4,
        "batch_size": 3,
        "seed": 0,
        "shuffle": True,
    }
    ones = np.arange(len(anchors)) + 1.0
    return PairSource(np.array(anchors), np.array(positives), ones, **{**defaults, **options})


def batch(data: PairSource, epoch: int, number: int, rank: int = 0, world: int = 1) -> PairBatch:
    return data.batch(BatchKey(data, epoch, number, rank, world), CPU)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 9))
def test_draws_exactly_the_complement(seed: int, num_anchors: int, num_others: int) -> None:
    rng = np.random.default_rng(seed)
    seen = rng.random((num_anchors, num_others)) < rng.random()
    rows, columns = np.nonzero(seen)
    complement = Complement(rows, columns, num_anchors, num_others)
    assert complement.free.tolist() == (~seen).sum(axis=1).tolist()
    anchors = torch.from_numpy(np.flatnonzero(~seen.all(axis=1)))
    drawn = complement.draw(anchors, 300, torch.Generator().manual_seed(seed)).numpy()
    for row, anchor in enumerate(anchors.tolist()):
        # 300 draws from at most 9: missing one has a chance below 1e-14.
        assert set(drawn[row]) == set(np.flatnonzero(~seen[anchor]))


def test_draws_are_uniform() -> None:
    complement = Complement(np.array([0, 0]), np.array([1, 4]), 1, 6)
    drawn = complement.draw(torch.zeros(1, dtype=torch.int64), 40_000, torch.Generator().manual_seed(0))
    counts = torch.bincount(drawn[0], minlength=6)
    assert counts[[1, 4]].tolist() == [0, 0]
    assert (counts[[0, 2, 3, 5]] - 10_000).abs().max() < 500


def test_pool_limits_negatives_and_saturated_anchors_are_left_out() -> None:
    # Anchor 0 was seen with the whole pool {2, 5}; 7 is outside.
    data = source([0, 0, 1, 2], [2, 5, 2, 5], pool=np.array([2, 5]))
    assert data.size == 2
    for number in range(len(data)):
        made = batch(data, 0, number)
        for anchor, negatives in zip(made.anchors.tolist(), made.negatives.tolist(), strict=True):
            assert set(negatives) == ({5} if anchor == 1 else {2})


def test_an_epoch_holds_each_pair_once_with_its_weight() -> None:
    data = source([0, 0, 1, 1, 2], [0, 1, 2, 3, 0])
    made = [batch(data, 3, number) for number in range(len(data))]
    assert [len(one.anchors) for one in made] == [3, 2]
    pairs = {
        (anchor, positive): weight
        for one in made
        for anchor, positive, weight in zip(
            *(part.tolist() for part in (one.anchors, one.positives, one.weights)), strict=True
        )
    }
    assert pairs == {(0, 0): 1, (0, 1): 2, (1, 2): 3, (1, 3): 4, (2, 0): 5}


def test_batches_repeat_and_differ_by_epoch_and_seed() -> None:
    anchors, positives = np.repeat(np.arange(20), 2).tolist(), np.tile(np.arange(8), 5).tolist()

    def drawn(seed: int, epoch: int, shuffle: bool = True) -> list[int]:
        data = source(anchors, positives, seed=seed, shuffle=shuffle, batch_size=100)
        batch(data, epoch + 1, 0)  # what was drawn before does not matter
        return batch(data, epoch, 0).negatives.flatten().tolist()

    assert drawn(0, 5) == drawn(0, 5)
    assert drawn(0, 5) != drawn(0, 6)
    assert drawn(0, 5) != drawn(1, 5)
    assert drawn(0, 5, shuffle=False) == drawn(0, 6, shuffle=False)  # validation sees the same negatives every epoch


def test_processes_share_a_batch() -> None:
    data = source([0, 1, 2, 3], [0, 1, 2, 3])
    halves = [batch(data, 0, 0, rank, 2).anchors.tolist() for rank in (0, 1)]
    assert sorted(halves[0] + halves[1]) == sorted(batch(data, 0, 0).anchors.tolist())
    assert [len(batch(data, 0, 1, rank, 2).anchors) for rank in (0, 1)] == [1, 1]  # none is left waiting


def test_batch_larger_than_the_data() -> None:
    data = source([0, 1], [0, 1], batch_size=10_000)
    assert len(data) == 1 and len(batch(data, 0, 0).anchors) == 2


def test_derived_seeds_differ() -> None:
    assert len({derived_seed(seed, epoch, step) for seed in range(3) for epoch in range(3) for step in range(3)}) == 27


def test_positives_can_be_drawn_if_asked_for() -> None:
    drawn = {}
    for exclude in (True, False):
        data = source([0, 0, 1], [0, 1, 2], neg_samples=200, shuffle=False, exclude_positives=exclude)
        drawn[exclude] = [set(row) for row in batch(data, 0, 0).negatives.tolist()]
    assert drawn == {True: [{2}, {2}, {0, 1}], False: [{0, 1, 2}] * 3}
