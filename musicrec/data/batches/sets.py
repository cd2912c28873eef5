"""Batches of users as sets of items, for autoencoders (ELSA)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from musicrec.data.batches.base import BatchSource
from musicrec.data.batches.sequences import Sequences


class Sets(NamedTuple):
    """Sets of items one after the other.

    Attributes:
        items: (entries,) int64.
        rows: (entries,) int64 set that each entry belongs to, non-decreasing.
        sizes: (sets,) int64 entries of each set.
    """

    items: torch.Tensor
    rows: torch.Tensor
    sizes: torch.Tensor

    def dense(self, width: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Returns (sets, width): 1 for each item of a set, else 0."""
        matrix = torch.zeros((len(self.sizes), width), dtype=dtype, device=self.items.device)
        matrix[self.rows, self.items] = 1
        return matrix

    def sums(self, vectors: torch.Tensor) -> torch.Tensor:
        """Returns (sets, dim) the sum of the vectors (items, dim) of each set."""
        if vectors.device.type == "cpu":
            offsets = self.sizes.cumsum(0) - self.sizes
            return torch.nn.functional.embedding_bag(self.items, vectors, offsets, mode="sum")
        # On a GPU the product costs little, and unlike a sum by atomics it always rounds in the same way.
        return self.dense(len(vectors), vectors.dtype) @ vectors


class SetBatch(NamedTuple):
    """What some users are known to have played, and what is to be predicted from it (the same in training)."""

    known: Sets
    target: Sets


class SetSource(BatchSource):
    """Users with the items they are known by and those to be predicted.

    Args:
        known: one set per user.
        target: what is predicted from it, one set per user; by default the same.
        batch_size: users per step.
        seed: decides the order.
        shuffle: whether each epoch has an order of its own.
    """

    def __init__(self, known: Sequences, target: Sequences | None = None, *, batch_size: int, seed: int, shuffle: bool):
        super().__init__(len(known), batch_size, seed, shuffle)
        self.known = known
        self.target = known if target is None else target

    def tensors(self) -> Sequence[str]:
        """Returns the attributes that move to the device."""
        return "known", "target"

    def make(self, examples: torch.Tensor, generator: torch.Generator) -> SetBatch:
        """Returns the sets of these users."""
        known = sets_of(self.known, examples)
        return SetBatch(known, known if self.target is self.known else sets_of(self.target, examples))


def sets_of(sequences: Sequences, which: torch.Tensor) -> Sets:
    """Returns the items of these sequences."""
    sizes = sequences.lengths[which]
    rows = torch.repeat_interleave(torch.arange(len(which), device=which.device), sizes)
    starts = sequences.stops[which] - sizes
    before = sizes.cumsum(0) - sizes
    return Sets(sequences.items[torch.arange(len(rows), device=which.device) + (starts - before)[rows]], rows, sizes)
