"""Played: the candidates that somebody played in training, and histories in terms of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_matrix

from musicrec.data.batches.sequences import Sequences
from musicrec.data.interactions import Interactions
from musicrec.recommenders.histories import item_sequences


@dataclass(frozen=True)
class Played:
    """The candidates that somebody played in training; plays say nothing of the others (cold tracks).

    Attributes:
        items: (played,) sorted indices of candidates.
        column: (tracks,) int64 index of each track in `items`, -1 for the others.
        candidates: number of candidates.
    """

    items: np.ndarray
    column: np.ndarray
    candidates: int

    @classmethod
    def of(cls, train: Interactions, item_index: np.ndarray) -> Played:
        """Returns those of a training split.

        Args:
            train: who played what.
            item_index: (tracks,) index of each track among the candidates, -1 for none.
        """
        indices = item_index[train.items]
        items = np.flatnonzero(np.bincount(indices[indices >= 0]))
        candidates = int(item_index.max(initial=-1)) + 1  # with cold_in_training more than those of train
        column_of_candidate = np.full(candidates + 1, -1, dtype=np.int64)  # the last entry is for -1
        column_of_candidate[items] = np.arange(len(items))
        return cls(items, column_of_candidate[item_index], candidates)

    def __len__(self) -> int:
        return len(self.items)

    def sequences(self, history: Interactions, users: np.ndarray) -> Sequences:
        """Returns the columns of the tracks that these users played."""
        return item_sequences(history, users, self.column)

    def matrix(self, history: Interactions, users: np.ndarray) -> csr_matrix:
        """Returns (users, played) float64: 1 for each track that a user played."""
        rows = self.sequences(history, users)
        columns, offsets = rows.items.numpy(), np.concatenate([[0], rows.stops.numpy()])
        matrix = csr_matrix((np.ones(len(columns)), columns, offsets), shape=(len(users), len(self)))
        matrix.sum_duplicates()
        matrix.data[:] = 1
        return matrix

    def spread(self, scores: torch.Tensor) -> torch.Tensor:
        """Returns (users, candidates) of scores (users, played); -inf for candidates that nobody played."""
        if len(self) == self.candidates:
            return scores
        spread = scores.new_full((len(scores), self.candidates), -torch.inf)
        spread[:, torch.from_numpy(self.items).to(scores.device)] = scores
        return spread
