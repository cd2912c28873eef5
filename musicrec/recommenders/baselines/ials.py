"""iALS: matrix factorisation of implicit feedback by alternating least squares; no audio."""

from __future__ import annotations

import logging
import time

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from musicrec.data.batches.base import derived_seed
from musicrec.data.batches.sequences import Sequences
from musicrec.data.interactions import Interactions
from musicrec.recommenders.base import Inputs, VectorRecommender
from musicrec.recommenders.baselines.played import Played
from musicrec.recommenders.retrieval.search import SearchName
from musicrec.values import Count, Positive, Size

log = logging.getLogger(__name__)

# Gathered vectors held at once, in bytes.
_BLOCK_BYTES = 2**27
# Seconds between two messages on the progress.
_TELL = 20.0


class IALS(VectorRecommender):
    """Weighted matrix factorisation; every step solves the least squares of one side exactly.

    Hu, Koren and Volinsky, "Collaborative Filtering for Implicit Feedback Datasets" (ICDM 2008): minimises
    Σ c (p − x·y)² + l2 (Σ |x|² + Σ |y|²) over all pairs of user vectors x and track vectors y, where p = 1 and
    c = 1 + alpha if the user played the track, else p = 0 and c = 1. Lists are made with the least-squares solution for
    the user's history.

    Args:
        inputs: the split and the seed of the initial vectors; an embedding is not read.
        factors: dimensions; may exceed the number of tracks.
        alpha: additional confidence in a pair that was played.
        l2: weight of the squares of the vectors.
        iterations: times that both sides are solved.
        search: how lists are found, see `VectorRecommender`.
    """

    table = "baselines"
    title = "iALS"
    needs = "nothing"
    items: torch.Tensor

    def __init__(
        self,
        inputs: Inputs,
        *,
        factors: Size = 128,
        alpha: Positive = 10.0,
        l2: Positive = 10.0,
        iterations: Count = 15,
        search: SearchName = "auto",
    ):
        super().__init__(inputs, search=search)
        self.alpha = alpha
        self.l2 = l2
        train = inputs.data.train
        self.played = Played.of(train, self.item_index)
        users = np.flatnonzero(np.diff(train.offsets))
        matrix = self.played.matrix(train, users)
        listeners, listened = (_sequences(part.indptr, part.indices) for part in (matrix.T.tocsr(), matrix))
        generator = torch.Generator().manual_seed(derived_seed(self.seed, 2))
        vectors = torch.randn((len(self.played), factors), generator=generator) * 0.01
        told = time.monotonic()
        for iteration in range(iterations):
            vectors = solve(listeners, solve(listened, vectors, alpha, l2), alpha, l2)
            if time.monotonic() - told > _TELL:
                told = time.monotonic()
                log.info("iALS: %d of %d iterations", iteration + 1, iterations)
        self.register_buffer("items", vectors, persistent=False)

    def encode_users(self, users: np.ndarray, history: Interactions) -> torch.Tensor:
        """Returns the least-squares solutions for the users' histories."""
        rows = self.played.sequences(history, users).to(self.home)
        return solve(rows, self.items.double(), self.alpha, self.l2).float()

    def encode_items(self) -> torch.Tensor:
        """Returns the track vectors; zero vectors for tracks that nobody played in training."""
        spread = self.items.new_zeros((len(self.candidates), self.items.shape[1]))
        spread[torch.from_numpy(self.played.items).to(self.home)] = self.items
        return spread


def solve(rows: Sequences, vectors: torch.Tensor, alpha: float, l2: float) -> torch.Tensor:
    """Returns (rows, dim): of each row the x that minimises Σ c (p − x·y)² + l2 |x|² over all y in `vectors`.

    Args:
        rows: the y that a row has p = 1 and c = 1 + alpha for; p = 0 and c = 1 for the others.
        vectors: (others, dim) every y.
        alpha: see `rows`.
        l2: weight of the squares.
    """
    dim = vectors.shape[1]
    everywhere = vectors.T @ vectors + l2 * torch.eye(dim, dtype=vectors.dtype, device=vectors.device)
    padded = torch.cat([vectors, vectors.new_zeros((1, dim))])
    solution = vectors.new_empty((len(rows), dim))
    # Rows of similar length go together, so that little is padded.
    for which in _blocks(rows.lengths, _BLOCK_BYTES // (vectors.element_size() * dim), dim):
        parts = [rows.items[stop - length : stop] for stop, length in _bounds(rows, which)]
        own = padded[pad_sequence(parts, batch_first=True, padding_value=len(vectors))]  # (block, longest, dim)
        weighted = torch.baddbmm(everywhere, own.transpose(1, 2), own, alpha=alpha)
        wanted = (1 + alpha) * own.sum(dim=1)
        solution[which] = torch.cholesky_solve(wanted[..., None], torch.linalg.cholesky(weighted))[..., 0]
    return solution


def _blocks(lengths: torch.Tensor, most: int, dim: int) -> list[torch.Tensor]:
    """Returns the rows in order of their lengths, in blocks whose padded vectors and matrices number `most` at most."""
    order = torch.argsort(lengths, stable=True)
    ends = lengths[order].tolist()
    blocks, start = [], 0
    for index in range(1, len(order) + 1):
        # One more row would be padded to its own length, and has a matrix of dim × dim.
        if index == len(order) or (index + 1 - start) * (ends[index] + dim) > most:
            blocks.append(order[start:index])
            start = index
    return blocks


def _bounds(rows: Sequences, which: torch.Tensor) -> list[tuple[int, int]]:
    """Returns the end and the length of each of these rows."""
    return list(zip(rows.stops[which].tolist(), rows.lengths[which].tolist(), strict=True))


def _sequences(offsets: np.ndarray, items: np.ndarray) -> Sequences:
    """Returns the rows of a sparse matrix."""
    return Sequences(items.astype(np.int64), offsets.astype(np.int64))
