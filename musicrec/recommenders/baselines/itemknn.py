"""ItemKNN: tracks that the same users played as the user's tracks; no audio."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_matrix

from musicrec.data.interactions import Interactions
from musicrec.recommenders.base import Inputs, ScoreRecommender
from musicrec.recommenders.baselines.played import Played
from musicrec.values import Count, NotNegative

# Similarities computed at once, in bytes.
_BLOCK_BYTES = 2**27


class ItemKNN(ScoreRecommender):
    """Item-based nearest neighbours: each track of a user votes for its most similar tracks.

    Deshpande and Karypis, "Item-Based Top-N Recommendation Algorithms" (TOIS 2004), section 4. The similarity of two
    tracks with n and m listeners, c of them in common, is c / (√(n m) + shrinkage): the cosine, reduced where there are
    few listeners.

    Args:
        inputs: the split; an embedding is not read.
        neighbours: similar tracks that a track votes for; with more than there are, all vote.
        shrinkage: 0 for the plain cosine.
    """

    table = "baselines"
    title = "ItemKNN"
    needs = "nothing"

    def __init__(self, inputs: Inputs, *, neighbours: Count = 200, shrinkage: NotNegative = 10.0):
        super().__init__(inputs)
        train = inputs.data.train
        self.played = Played.of(train, self.item_index)
        self.register_buffer("place", torch.empty(0), persistent=False)  # its device is where lists are made
        self.similar = nearest(self.played.matrix(train, np.arange(train.num_users)), neighbours, shrinkage)

    def score(self, users: np.ndarray, history: Interactions) -> torch.Tensor:
        """Returns the sums of similarities to the users' tracks; -inf for tracks that nobody played in training."""
        sums = (self.played.matrix(history, users) @ self.similar).toarray()
        return self.played.spread(torch.from_numpy(sums).to(self.home))


def nearest(matrix: csr_matrix, neighbours: int, shrinkage: float) -> csr_matrix:
    """Returns (items, items) similarities: in each row the most similar other items, equal ones by lower index.

    Args:
        matrix: (users, items) binary.
        neighbours: entries per row at most.
        shrinkage: added to the denominator of the cosine.
    """
    size = matrix.shape[1]
    items = matrix.T.tocsr()
    roots = np.sqrt(np.diff(items.indptr))
    block_rows = max(1, _BLOCK_BYTES // (8 * size))
    blocks = []
    for start in range(0, size, block_rows):
        rows = np.arange(start, min(start + block_rows, size))
        common = (items[rows] @ matrix).toarray()
        similarity = common / (roots[rows, None] * roots + shrinkage)
        similarity[np.arange(len(rows)), rows] = 0
        kept = min(neighbours, size)
        # The least that is kept; of several equal to it those with the lowest index.
        least = -np.partition(-similarity, kept - 1, axis=1)[:, kept - 1 : kept]
        above, equal = similarity > least, (similarity == least) & (least > 0)
        equal &= np.cumsum(equal, axis=1) <= kept - above.sum(axis=1, keepdims=True)
        blocks.append(csr_matrix(np.where(above | equal, similarity, 0)))
    joined = np.concatenate([block.data for block in blocks]), np.concatenate([block.indices for block in blocks])
    lengths = np.concatenate([np.diff(block.indptr) for block in blocks])
    return csr_matrix((*joined, np.concatenate([[0], np.cumsum(lengths)])), shape=(size, size))
