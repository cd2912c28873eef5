"""Histories as padded, masked batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from musicrec.data.batches.base import BatchKey
from musicrec.data.batches.sequences import MASK, PAD, MaskedBatch, MaskedSource, NextSource, Sequences

CPU = torch.device("cpu")


def sequences() -> Sequences:
    return Sequences(np.array([4, 5, 6, 7, 1, 2, 3]), np.array([0, 4, 5, 7]))


def masked(data: MaskedSource | NextSource, epoch: int = 0, number: int = 0) -> MaskedBatch:
    batch: MaskedBatch = data.batch(BatchKey(data, epoch, number, 0, 1), CPU)
    return batch


def source(**options: Any) -> MaskedSource:
    defaults: dict[str, Any] = {"max_seq_len": 50, "mlm_probability": 0.5, "batch_size": 3, "seed": 0, "shuffle": False}
    return MaskedSource(sequences(), **{**defaults, **options})


def test_padding_to_the_longest_of_the_batch_and_the_last_items() -> None:
    which = torch.tensor([2, 0])
    assert sequences().padded(which, 9).tolist() == [[2, 3, PAD, PAD], [4, 5, 6, 7]]
    assert sequences().padded(which, 3).tolist() == [[2, 3, PAD], [5, 6, 7]]
    assert sequences().padded(torch.tensor([1]), 9).tolist() == [[1]]


def test_mask_at_the_end() -> None:
    tokens, position = sequences().with_mask_at_end(torch.tensor([0, 1, 2]), 3)
    assert tokens.tolist() == [[6, 7, MASK], [1, MASK, PAD], [2, 3, MASK]]
    assert position.tolist() == [2, 1, 2]


def test_masked_positions_and_targets() -> None:
    batch = masked(source())
    original = sequences().padded(torch.arange(3), 50)
    hidden = batch.tokens == MASK
    assert hidden.any() and not hidden.all()
    assert torch.equal(batch.tokens[~hidden], original[~hidden])
    assert torch.equal(batch.targets, original[hidden])
    assert torch.equal(batch.masked, hidden.flatten().nonzero()[:, 0])
    assert (batch.targets >= 0).all()  # padding is never masked


def test_mlm_probability() -> None:
    long = Sequences(np.arange(100_000) % 9, np.arange(0, 100_001, 100))
    for probability in (0.1, 0.2, 0.3):
        data = MaskedSource(long, max_seq_len=200, mlm_probability=probability, batch_size=1000, seed=0, shuffle=True)
        assert abs(len(masked(data).targets) / 100_000 - probability) < 0.006


def test_a_batch_always_has_a_mask() -> None:
    data = source(mlm_probability=1e-9)
    batch = masked(data)
    assert len(batch.targets) == 1 and int((batch.tokens == MASK).sum()) == 1
    everything = masked(source(mlm_probability=1.0))
    assert everything.targets.tolist() == [4, 5, 6, 7, 1, 2, 3]


def test_training_masks_change_by_epoch_validation_masks_do_not() -> None:
    fixed, changing = source(), source(shuffle=True)
    assert torch.equal(masked(fixed, 0).tokens, masked(fixed, 1).tokens)
    assert any(not torch.equal(masked(changing, 0).tokens, masked(changing, epoch).tokens) for epoch in (1, 2, 3))
    assert torch.equal(masked(changing, 2).tokens, masked(source(shuffle=True), 2).tokens)


def test_next_item() -> None:
    data = NextSource(sequences(), np.array([7, 8, 9]), max_seq_len=50, batch_size=2)
    batch = masked(data)
    assert batch.tokens.tolist() == [[4, 5, 6, 7, MASK], [1, MASK, PAD, PAD, PAD]]
    assert batch.masked.tolist() == [4, 6] and batch.targets.tolist() == [7, 8]
    assert masked(data, number=1).targets.tolist() == [9]
