"""Batches of positive pairs with sampled negatives for pairwise losses (Shallow)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from musicrec.data.batches.base import BatchSource


class PairBatch(NamedTuple):
    """Pairs (anchor, positive) of one step and, per anchor, entities of the other side that it was never seen with.

    Attributes:
        anchors: (batch,) int64.
        positives: (batch,) int64.
        negatives: (batch, neg_samples) int64, of the same side as `positives`.
        weights: (batch,) float32 confidence.
    """

    anchors: torch.Tensor
    positives: torch.Tensor
    negatives: torch.Tensor
    weights: torch.Tensor


class Complement:
    """Draws uniformly from what an anchor was *not* seen with, exactly and without trial and error.

    If p_0 < p_1 < … are the positives of an anchor, the r-th non-positive is r + #{j: p_j − j ≤ r}. So one uniform rank
    and one binary search give a negative, however dense the positives are, where rejection would need more and more
    rounds for the tracks that nearly everybody played.

    Args:
        anchors: (pairs,) int64 in 0..num_anchors - 1.
        others: (pairs,) int64 in 0..num_others - 1.
    """

    def __init__(self, anchors: np.ndarray, others: np.ndarray, num_anchors: int, num_others: int):
        # One key per pair; the stride leaves room for the shifted value num_others.
        self.stride = num_others + 1
        keys = np.sort(anchors.astype(np.int64) * self.stride + others)
        keys = keys[np.diff(keys, prepend=-1) > 0]  # np.unique takes several times as long for millions
        anchors, others = keys // self.stride, keys % self.stride
        starts = np.searchsorted(anchors, np.arange(num_anchors + 1))
        before = np.arange(len(keys)) - starts[anchors]
        self.starts = torch.from_numpy(starts[:-1])
        self.free = torch.from_numpy(num_others - np.diff(starts))  # (anchors,) number of non-positives
        self.shifted = torch.from_numpy(anchors * self.stride + others - before)

    def to(self, device: torch.device) -> Complement:
        """Returns itself, its tensors moved to `device`."""
        self.starts, self.free = self.starts.to(device), self.free.to(device)
        self.shifted = self.shifted.to(device)
        return self

    def draw(self, anchors: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
        """Returns (batch, count) int64 non-positives of each anchor (each needs one), drawn with replacement."""
        uniform = torch.rand(
            (len(anchors), count), dtype=torch.float64, generator=generator, device=anchors.device
        )  # float32 could not reach every one of more than 2^24
        anchors = anchors[:, None]
        rank = (uniform * self.free[anchors]).long()
        return rank + torch.searchsorted(self.shifted, anchors * self.stride + rank, right=True) - self.starts[anchors]


class PairSource(BatchSource):
    """Positive pairs in batches, each with `neg_samples` negatives, which by default are never true positives.

    Pairs whose anchor was seen with everything have no negative and are left out.

    Args:
        anchors: (pairs,) the side negatives are drawn for: items when users are sampled (`sample: item`).
        positives: (pairs,) the other side.
        weights: (pairs,) confidence of each pair.
        pool: sorted distinct ids negatives come from (a cold item is not a negative: nobody could have played it).
        known: pairs (anchors, positives) that are no negatives; the pairs themselves by default.
        exclude_positives: False draws from the whole pool, positives included.
    """

    def __init__(
        self,
        anchors: np.ndarray,
        positives: np.ndarray,
        weights: np.ndarray,
        *,
        pool: np.ndarray,
        neg_samples: int,
        batch_size: int,
        seed: int,
        shuffle: bool,
        known: tuple[np.ndarray, np.ndarray] | None = None,
        exclude_positives: bool = True,
    ):
        known_anchors, known_positives = known if known is not None else (anchors, positives)
        in_pool = np.isin(known_positives, pool) if exclude_positives else np.zeros(len(known_positives), bool)
        num_anchors = int(max(anchors.max(initial=-1), known_anchors.max(initial=-1))) + 1
        self.complement = Complement(
            known_anchors[in_pool], np.searchsorted(pool, known_positives[in_pool]), num_anchors, len(pool)
        )
        usable = np.flatnonzero(self.complement.free.numpy()[anchors] > 0)
        # Pairs of an anchor lie side by side, and a batch goes through them in order: look-ups then stay in the cache.
        usable = usable[np.argsort(anchors[usable], kind="stable")]
        super().__init__(len(usable), batch_size, seed, shuffle)
        self.neg_samples = neg_samples
        self.anchors = torch.from_numpy(anchors[usable])
        self.positives = torch.from_numpy(positives[usable])
        self.weights = torch.from_numpy(weights[usable].astype(np.float32))
        self.pool = torch.from_numpy(pool)

    def tensors(self) -> Sequence[str]:
        """Returns the attributes that move to the device."""
        return "anchors", "positives", "weights", "pool", "complement"

    def make(self, examples: torch.Tensor, generator: torch.Generator) -> PairBatch:
        """Returns these pairs, in order of the anchors, with new negatives."""
        examples = examples.sort().values
        anchors = self.anchors[examples]
        negatives = self.pool[self.complement.draw(anchors, self.neg_samples, generator)]
        return PairBatch(anchors, self.positives[examples], negatives, self.weights[examples])
