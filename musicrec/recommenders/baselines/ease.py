"""EASE: linear regression of every track on all others, in closed form; no audio."""

from __future__ import annotations

import numpy as np
import torch
from scipy.linalg import lapack
from scipy.sparse import csr_matrix

from musicrec.data.batches.sets import sets_of
from musicrec.data.interactions import Interactions
from musicrec.errors import MusicrecError
from musicrec.recommenders.base import Inputs, ScoreRecommender
from musicrec.recommenders.baselines.played import Played
from musicrec.system import available_memory
from musicrec.values import Count, Positive

# Rows of the matrix that are made or changed at once, in bytes.
_BLOCK_BYTES = 2**28


class EASE(ScoreRecommender):
    """Embarrassingly shallow autoencoder: a user's row x is reconstructed as x B, the diagonal of B being 0.

    Steck, "Embarrassingly Shallow Autoencoders for Sparse Data" (WWW 2019, arXiv 1905.03375): with P the inverse of
    XᵀX + l2·I, B[i, j] = −P[i, j] / P[j, j]. B is dense, so memory is 4 bytes per pair of tracks, and time grows with
    the cube of their number.

    Args:
        inputs: the split; an embedding is not read.
        l2: weight of the squares of B; larger ones for larger data.
        max_items: most tracks with a play in training that are accepted.

    Raises:
        MusicrecError: if there are more tracks, or less memory than the matrix takes.
    """

    table = "baselines"
    title = "EASE"
    needs = "nothing"
    weights: torch.Tensor

    def __init__(self, inputs: Inputs, *, l2: Positive = 300.0, max_items: Count = 60_000):
        super().__init__(inputs)
        train = inputs.data.train
        self.played = Played.of(train, self.item_index)
        _refuse_if_too_large(len(self.played), max_items)
        matrix = self.played.matrix(train, np.arange(train.num_users))
        self.register_buffer("weights", torch.from_numpy(ease_weights(matrix, l2)), persistent=False)

    def score(self, users: np.ndarray, history: Interactions) -> torch.Tensor:
        """Returns the sums of the rows of B of the users' tracks; -inf for tracks that nobody played in training."""
        rows = self.played.sequences(history, users).to(self.home)
        sets = sets_of(rows, torch.arange(len(users), device=self.home))
        return self.played.spread(sets.sums(self.weights))


def _refuse_if_too_large(size: int, max_items: int) -> None:
    """Refuses more than `max_items` tracks, and a matrix (size, size) that does not fit into the memory available."""
    bytes_needed, available = 4 * size**2, available_memory()
    needs = f"recommender=ease needs a dense matrix of {size:,} × {size:,} tracks ({bytes_needed / 2**30:,.1f} GiB)"
    others = "use recommender=elsa, ials or itemknn, or fewer tracks (data.min_track_plays)"
    if size > max_items:
        raise MusicrecError(
            f"{needs}, more than recommender.max_items={max_items} allows: {others}, or raise recommender.max_items"
        )
    if available is not None and bytes_needed > available:
        raise MusicrecError(f"{needs}, but only {available / 2**30:,.1f} GiB of memory are available: {others}")


def ease_weights(matrix: csr_matrix, l2: float) -> np.ndarray:
    """Returns B (items, items) float32 of a binary matrix (users, items).

    Everything happens in the memory of the result: the Gram matrix, its Cholesky factor and its inverse.
    """
    size = matrix.shape[1]
    gram = np.empty((size, size), dtype=np.float32)
    items = matrix.T.tocsr()
    rows = max(1, _BLOCK_BYTES // (8 * size))
    for start in range(0, size, rows):
        gram[start : start + rows] = (items[start : start + rows] @ matrix).toarray()
    gram[np.diag_indices(size)] += l2
    # LAPACK works on columns: the transpose is the same matrix without a copy, its lower triangle our upper one.
    factor, failed = lapack.spotrf(gram.T, lower=1, overwrite_a=1)
    if failed:
        raise MusicrecError(f"recommender.l2={l2} is too small for these data: the matrix cannot be inverted")
    inverse, _ = lapack.spotri(factor, lower=1, overwrite_c=1)
    assert np.shares_memory(inverse, gram)
    diagonal = gram.diagonal().copy()
    for start in range(0, size, rows):
        stop = min(start + rows, size)
        # Our upper triangle is valid; the block left of the diagonal is that above it.
        gram[start:stop, :start] = gram[:start, start:stop].T
        square = gram[start:stop, start:stop]
        gram[start:stop, start:stop] = np.triu(square) + np.triu(square, 1).T
    for start in range(0, size, rows):
        gram[start : start + rows] /= -diagonal
    gram[np.diag_indices(size)] = 0
    return gram
