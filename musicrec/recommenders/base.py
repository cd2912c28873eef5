"""What every recommender offers: vectors of users and items whose inner product is the score, and lists from them."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from musicrec.errors import MusicrecError
from musicrec.recommenders.retrieval.top_k import SEARCHES, top_k

if TYPE_CHECKING:
    import pandas as pd

    from musicrec.data.interactions import Interactions, SplitData

log = logging.getLogger(__name__)


class Recommender(nn.Module, ABC):
    """Base of all recommenders; made for one catalogue, one set of users and one embedding.

    Inside, an item is its place in the sorted `candidates`; outside, it is its track idx.

    Args:
        data: the split; its training part without the tracks that have no embedding.
        item_embeddings: (num_tracks, dim) float; rows of candidates must be finite.
        name: name of the recommender, beginning of run names.
        search: how lists are found, see `musicrec.recommenders.retrieval.top_k.searcher`.

    Raises:
        MusicrecError: if the table and the track index differ in length, a candidate has no embedding, or nothing is
            left to train on.
    """

    trainable = False
    # The comparison table of evaluate.py that shows it, {table}.csv; None: comparison.csv only.
    table: str | None = None

    def __init__(self, data: SplitData, item_embeddings: np.ndarray, *, name: str, search: str = "auto"):
        super().__init__()
        check("search", search, search in SEARCHES, ", ".join(SEARCHES))
        train = data.train
        if item_embeddings.ndim != 2 or len(item_embeddings) != train.num_tracks:
            raise MusicrecError(
                f"the embedding has shape {item_embeddings.shape}, but the track index has {train.num_tracks} tracks: "
                "make it anew with python extract.py embedding=…"
            )
        if not len(train.items):
            raise MusicrecError(
                "no training rows are left: no track that anybody played has an embedding; compare the failed tracks "
                "in embeddings/*.json and the plays in data/train.pqt"
            )
        vectors = np.ascontiguousarray(item_embeddings[train.candidates], dtype=np.float32)
        if not np.isfinite(vectors).all():
            count = int((~np.isfinite(vectors).all(axis=1)).sum())
            raise MusicrecError(
                f"{count} tracks that may be recommended have no finite embedding: drop them with "
                "Interactions.without_items or make the embedding anew with python extract.py embedding=…"
            )
        self.name = name
        self.search = search
        self.data = data
        self.candidates = train.candidates
        self.vectors = vectors
        self.place = np.full(train.num_tracks, -1, dtype=np.int64)
        self.place[self.candidates] = np.arange(len(self.candidates))
        if silent := int((np.diff(train.offsets) == 0).sum()):
            log.warning("%d users have no track with an embedding: they get no recommendations", silent)

    @property
    def search_device(self) -> torch.device:
        """Returns where lists are computed: where the model is."""
        return next(self.parameters(), torch.empty(0)).device

    @abstractmethod
    def encode_users(self, positions: np.ndarray, history: Interactions) -> np.ndarray:
        """Returns (len(positions), dim) float32 vectors of users (positions in user_ids) with this history, all of whom
        have one."""

    @abstractmethod
    def encode_items(self) -> np.ndarray:
        """Returns (candidates, dim) float32 vectors."""

    def user_vectors(self) -> np.ndarray:
        """Returns (users, dim) float32 in the order of user_ids; NaN rows for users without history."""
        return self._users(np.arange(self.data.train.num_users), self.data.train)

    def item_vectors(self) -> np.ndarray:
        """Returns (num_tracks, dim) float32; NaN rows for tracks that are no candidates."""
        encoded = self.encode_items()
        vectors = np.full((len(self.place), encoded.shape[1]), np.nan, dtype=np.float32)
        vectors[self.candidates] = encoded
        return vectors

    def recommend(
        self, user_positions: np.ndarray, k: int, history: Interactions | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the k best unseen tracks of each user, best first; equal scores by lower track idx.

        Args:
            user_positions: (n,) positions in user_ids.
            k: length of the lists.
            history: what the users have heard, the training rows by default (same user_ids).

        Returns:
            ids (n, k) int64 track idx, -1 where no track is left or the user has no history, and scores (n, k) float32.
        """
        history = self.data.train if history is None else history
        positions = np.asarray(user_positions, dtype=np.int64)
        offsets, seen = rows_of(history, positions)
        return top_k(
            self._users(positions, history),
            self.item_vectors(),
            self.candidates,
            offsets,
            history.items[seen],
            k,
            search=self.search,
            device=self.search_device,
        )

    def _users(self, positions: np.ndarray, history: Interactions) -> np.ndarray:
        known = np.diff(history.offsets)[positions] > 0
        training = self.training
        self.eval()
        with torch.no_grad():
            encoded = self.encode_users(positions[known], history)
        self.train(training)
        vectors = np.full((len(positions), encoded.shape[1]), np.nan, dtype=np.float32)
        vectors[known] = encoded
        return vectors


class Table(nn.Module):
    """One vector a row. A learnt table is a parameter; a frozen one is neither given to the optimiser nor saved."""

    weight: torch.Tensor

    def __init__(self, vectors: torch.Tensor, frozen: bool):
        super().__init__()
        if frozen:
            self.register_buffer("weight", vectors, persistent=False)
        else:
            self.weight = nn.Parameter(vectors)

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def dim(self) -> int:
        return self.weight.shape[1]


def rows_of(history: Interactions, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns offsets (users + 1,) and rows: rows[offsets[i]:offsets[i + 1]] of `history` are of user positions[i]."""
    starts = history.offsets[positions]
    lengths = history.offsets[positions + 1] - starts
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return offsets, np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)


def mean_of_items(vectors: np.ndarray, place: np.ndarray, history: Interactions, positions: np.ndarray) -> np.ndarray:
    """Returns (users, dim) float32 means of the vectors of each user's tracks, each track once; zero without tracks.

    Args:
        vectors: (candidates, dim).
        place: (tracks,) row of each track in `vectors`, -1 for none.
        history: who heard what.
        positions: (users,) positions in user_ids.
    """
    from scipy.sparse import csr_matrix

    offsets, rows = rows_of(history, positions)
    users = np.repeat(np.arange(len(positions)), np.diff(offsets))
    items = place[history.items[rows]]
    ones = np.ones(int((items >= 0).sum()))
    heard = csr_matrix((ones, (users[items >= 0], items[items >= 0])), shape=(len(positions), len(vectors)))
    heard.data[:] = 1  # a pair that occurs twice was summed
    sums = np.asarray(heard @ vectors.astype(np.float64))
    return (sums / np.maximum(np.diff(heard.indptr), 1)[:, None]).astype(np.float32)


def normalised(vectors: np.ndarray) -> np.ndarray:
    """Returns the vectors with length 1; zero vectors stay zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def held_out(frame: pd.DataFrame, history: Interactions, place: np.ndarray) -> tuple[np.ndarray, pd.DataFrame]:
    """Returns the usable rows of a truth frame and the user position of each: known user, track with an embedding."""
    import pandas as pd

    from musicrec.columns import TRACK, USER

    users = pd.Index(history.user_ids).get_indexer(pd.Index(frame[USER].to_numpy()))
    usable = (users >= 0) & (place[frame[TRACK].to_numpy(np.int64)] >= 0)
    return users[usable].astype(np.int64), frame[usable]


def check(name: str, value: Any, valid: bool, allowed: str) -> None:
    """Refuses a hyper-parameter, naming what is allowed."""
    if not valid:
        raise MusicrecError(f"recommender.{name}={value} is not possible: it must be {allowed}")
