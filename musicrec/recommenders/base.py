"""Base classes of recommenders: Recommender, and its two kinds VectorRecommender and ScoreRecommender."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import nn

from musicrec.data.interactions import Interactions, Pool
from musicrec.errors import MusicrecError, demand
from musicrec.recommenders.histories import history_rows
from musicrec.recommenders.inputs import Inputs, Training
from musicrec.recommenders.retrieval.search import SearchName
from musicrec.recommenders.retrieval.top_k import ScoreTopK, Seen, TopK, VectorTopK

__all__ = ["Inputs", "Recommender", "ScoreRecommender", "Training", "VectorRecommender", "check"]

log = logging.getLogger(__name__)

# Why a recommender has nothing to say of cold tracks.
ONLY_TRAINING = "it knows only the tracks of training"

# What a recommender reads besides the split: `audio`, an embedding of the tracks; `ids`, an embedding if there is one,
# else vectors that it learns per track; `nothing`, plays alone.
Needs = Literal["audio", "ids", "nothing"]


class Recommender(nn.Module, ABC):
    """Base of all recommenders; made for one catalogue, one set of users and one embedding.

    Inside, an item is its index in the sorted `candidates` and a user its index in the sorted `user_ids`; outside, an
    item is its track idx and a user the id of the log.

    A class derives from VectorRecommender or ScoreRecommender, and from TrainedRecommender if Lightning trains it.

    Args:
        inputs: split, item embeddings, seed, training settings.

    Attributes:
        table: file stem of the comparison table of evaluate.py that shows it; None: comparison.csv only.
        title: how tables and plots call it.
        needs: see `Needs`.
        trainable: whether `Trainer.fit` trains it.
        companion: the option of the group `recommender` that is trained before as a run of its own, with the values
            under the key of that name in the YAML; it arrives as `inputs.companion`.
        data: the split.
        candidates: (candidates,) sorted track idx of the catalogue: the tracks of train.
        cold: (cold,) sorted track idx that may be recommended although nobody played them in train. They are not in the
            catalogue, so nothing that is trained knows them, unless `inputs.cold_in_training` puts them there.
        vectors: (candidates, dim) float32 embeddings, or None without an embedding.
        cold_vectors: (cold, dim) float32 embeddings, or None without an embedding.
        item_index: (num_tracks,) int64 index of each track in `candidates`, -1 for the others.

    Raises:
        MusicrecError: if the embedding is missing or does not fit the track index, a candidate has no embedding, or
            nothing is left to train on.
    """

    table: ClassVar[str | None] = None
    title: ClassVar[str] = ""
    needs: ClassVar[Needs] = "audio"
    trainable: ClassVar[bool] = False
    companion: ClassVar[str | None] = None

    def __init__(self, inputs: Inputs):
        super().__init__()
        check("seed", inputs.seed, inputs.seed >= 0, "0 or more")
        train = inputs.data.train
        if not len(train.items):
            raise MusicrecError(
                "no training rows are left: no track that anybody played has an embedding; compare the failed tracks "
                "in embeddings/*.json and the plays in data/train.pqt"
            )
        self.data = inputs.data
        self.seed = inputs.seed
        self.cold_in_training = inputs.cold_in_training
        everything = np.union1d(train.candidates, inputs.data.cold)
        self.candidates = everything if inputs.cold_in_training else train.candidates
        self.cold = np.setdiff1d(everything, self.candidates, assume_unique=True)
        self._pools: dict[Pool, np.ndarray] = {"warm": train.candidates, "cold": inputs.data.cold, "all": everything}
        self.vectors = self._vectors_of(self.candidates, inputs)
        self.cold_vectors = self._vectors_of(self.cold, inputs)
        self.item_index = np.full(train.num_tracks, -1, dtype=np.int64)
        self.item_index[self.candidates] = np.arange(len(self.candidates))
        if silent := int((np.diff(train.offsets) == 0).sum()):
            log.warning("%d users have no track with an embedding: they get no recommendations", silent)

    def _vectors_of(self, tracks: np.ndarray, inputs: Inputs) -> np.ndarray | None:
        """Returns the embeddings of some tracks, None if the recommender reads none or may do without."""
        table, train = inputs.item_embeddings, inputs.data.train
        if self.needs == "nothing":
            return None
        if table is None:
            if self.needs == "ids":
                return None
            raise MusicrecError(
                f"{self.title or type(self).__name__} needs an embedding: choose one, embedding=musicnn"
            )
        if table.ndim != 2 or len(table) != train.num_tracks:
            raise MusicrecError(
                f"the embedding has shape {table.shape}, but the track index has {train.num_tracks} tracks: "
                "make it again with python extract.py embedding=…"
            )
        vectors = np.ascontiguousarray(table[tracks], dtype=np.float32)
        if not np.isfinite(vectors).all():
            count = int((~np.isfinite(vectors).all(axis=1)).sum())
            raise MusicrecError(
                f"{count} tracks that may be recommended have no finite embedding: drop them with "
                "Interactions.without_items or make the embedding again with python extract.py embedding=…"
            )
        return vectors

    @classmethod
    def files_read(cls, settings: Mapping[str, Any]) -> dict[str, Path]:
        """Returns what a recommender of these settings reads besides splits and embedding, by any name.

        If one of these files changes, the run is made again.

        Args:
            settings: the keys of its YAML.
        """
        return {}

    @property
    def embeddings(self) -> np.ndarray:
        """Returns (candidates, dim) float32, for recommenders that cannot do without."""
        if self.vectors is None:
            raise MusicrecError(f"{self.title or type(self).__name__} was made without an embedding")
        return self.vectors

    @property
    def home(self) -> torch.device:
        """Returns the device of the model, where lists are computed."""
        return next(chain(self.parameters(), self.buffers()), torch.empty(0)).device

    @property
    def cold_obstacle(self) -> str | None:
        """Returns why cold tracks cannot be recommended, None if they can: then `encode_cold` or `score_cold` exists.

        By default a recommender knows only the tracks that it was trained on.
        """
        return ONLY_TRAINING

    @property
    def listener_obstacle(self) -> str | None:
        """Returns why somebody who is not in train gets no lists, None if a history is all that lists are made from."""
        return None

    @property
    def heard_obstacle(self) -> str | None:
        """Returns why a history may not hold cold tracks, None if they count there like those of train.

        By default they are left out of histories.
        """
        return ONLY_TRAINING

    @abstractmethod
    def retriever(self, history: Interactions | None = None, pool: Pool = "warm") -> TopK[Any]:
        """Returns what finds the best tracks of a pool, made once for any number of calls of `recommend`.

        Args:
            history: what the users have played, the training rows by default.
            pool: the tracks of train (`warm`), the others that may be recommended (`cold`), or `all`.
        """

    def _pool(self, pool: Pool, tracks: np.ndarray, usable: np.ndarray) -> np.ndarray:
        """Returns which of `tracks` belong to a pool, as indices in order of track idx.

        Args:
            pool: the pool.
            tracks: (n,) track idx.
            usable: (n,) bool; the others are left out.
        """
        chosen = np.flatnonzero(np.isin(tracks, self._pools[pool]) & usable)
        return chosen[np.argsort(tracks[chosen])]

    @abstractmethod
    def _queries(self, users: np.ndarray, known: np.ndarray, history: Interactions) -> Any:
        """Returns what the retriever reads of these users."""

    def recommend(
        self, users: np.ndarray, k: int, history: Interactions | None = None, retriever: TopK[Any] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the k best tracks of each user, best first; equal scores by lower track idx.

        Tracks in the history are left out, unless `data.repeat` lets them be recommended again.

        Args:
            users: (n,) indices in user_ids.
            k: length of the lists.
            history: what the users have played, the training rows by default (same user_ids).
            retriever: what `retriever(history)` returned, to be used for several blocks of users.

        Returns:
            ids (n, k) int64 track idx, -1 where no track is left or the user has no history, and scores (n, k) float32.
        """
        history = self.data.train if history is None else history
        users = np.asarray(users, dtype=np.int64)
        offsets = history.offsets
        known = np.diff(offsets)[users] > 0
        seen = Seen.nothing(len(users)) if self.data.repeat else Seen(offsets, history.items).of(users)
        with self.inference():
            top_k = self.retriever(history) if retriever is None else retriever
            return top_k(self._queries(users, known, history), known, seen, k)

    @contextmanager
    def inference(self) -> Iterator[None]:
        """Switches dropout and gradients off, and leaves the mode as it was."""
        training = self.training
        self.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.train(training)


class VectorRecommender(Recommender):
    """A recommender whose scores are inner products of user and item vectors.

    Args:
        inputs: see `Recommender`.
        search: how lists are found, see `musicrec.recommenders.retrieval.search.searcher`.
    """

    def __init__(self, inputs: Inputs, *, search: SearchName = "auto"):
        super().__init__(inputs)
        self.search = search

    @abstractmethod
    def encode_users(self, users: np.ndarray, history: Interactions) -> torch.Tensor:
        """Returns (len(users), dim) float32 vectors on the model's device.

        Args:
            users: indices in user_ids; all of them have a history.
            history: what they have played.
        """

    @abstractmethod
    def encode_items(self) -> torch.Tensor:
        """Returns (candidates, dim) float32 vectors on the model's device."""

    def encode_cold(self) -> torch.Tensor:
        """Returns (cold, dim) float32 vectors of the cold tracks; NaN rows for those that cannot be recommended."""
        raise NotImplementedError(self.cold_obstacle)

    def heard_index(self, history: Interactions, users: np.ndarray) -> np.ndarray | None:
        """Returns (num_tracks,) the index of each track among candidates and cold ones, in this order; -1 for others.

        None if none of these users has heard a cold track that counts: then `item_index` says what their histories are.

        Args:
            history: what they have played.
            users: (n,) indices in user_ids.
        """
        if not len(self.cold) or self.heard_obstacle is not None:
            return None
        index = self.item_index.copy()
        index[self.cold] = len(self.candidates) + np.arange(len(self.cold))
        _, rows = history_rows(history, users)
        return index if (index[history.items[rows]] >= len(self.candidates)).any() else None

    def retriever(self, history: Interactions | None = None, pool: Pool = "warm") -> VectorTopK:
        """Returns the search over the tracks of a pool; it does not depend on the history."""
        with self.inference():
            tracks, vectors = self._encoded(pool)
            return VectorTopK(vectors, tracks, self.search)

    def _encoded(self, pool: Pool) -> tuple[np.ndarray, torch.Tensor]:
        """Returns the sorted track idx of a pool and their vectors."""
        tracks, vectors = self.candidates, self.encode_items()
        if pool == "warm" and not self.cold_in_training:
            return tracks, vectors
        usable = np.ones(len(tracks), dtype=bool)
        if pool != "warm" and len(self.cold):
            cold = self.encode_cold()
            tracks, vectors = np.concatenate([tracks, self.cold]), torch.cat([vectors, cold])
            usable = np.concatenate([usable, torch.isfinite(cold).all(dim=1).cpu().numpy()])
        chosen = self._pool(pool, tracks, usable)
        return tracks[chosen], vectors[torch.from_numpy(chosen).to(vectors.device)]

    def user_vectors(self) -> np.ndarray:
        """Returns (users, dim) float32 in the order of user_ids; NaN rows for users without history."""
        users, train = np.arange(self.data.train.num_users), self.data.train
        with self.inference():
            vectors: np.ndarray = self._queries(users, np.diff(train.offsets) > 0, train).cpu().numpy()
        return vectors

    def item_vectors(self) -> np.ndarray:
        """Returns (num_tracks, dim) float32; NaN rows for tracks that cannot be recommended."""
        with self.inference():
            tracks, encoded = self._encoded("all" if self.cold_obstacle is None else "warm")
        vectors = np.full((len(self.item_index), encoded.shape[1]), np.nan, dtype=np.float32)
        vectors[tracks] = encoded.detach().cpu().numpy()
        return vectors

    def _queries(self, users: np.ndarray, known: np.ndarray, history: Interactions) -> torch.Tensor:
        encoded = self.encode_users(users[known], history)
        vectors = torch.full((len(users), encoded.shape[1]), torch.nan, device=encoded.device)
        vectors[torch.from_numpy(known).to(encoded.device)] = encoded
        return vectors


class ScoreRecommender(Recommender):
    """A recommender that scores all candidates for a block of users at once."""

    @abstractmethod
    def score(self, users: np.ndarray, history: Interactions) -> torch.Tensor:
        """Returns (len(users), candidates) float scores; NaN or -inf for a candidate that it cannot recommend.

        Args:
            users: indices in user_ids; all of them have a history.
            history: what they have played.
        """

    def score_cold(self, users: np.ndarray, history: Interactions) -> torch.Tensor:
        """Returns (len(users), cold) scores of the cold tracks, comparable with those of `score`."""
        raise NotImplementedError(self.cold_obstacle)

    def retriever(self, history: Interactions | None = None, pool: Pool = "warm") -> ScoreTopK:
        """Returns what ranks the scores of a pool, given this history."""
        given = self.data.train if history is None else history
        if pool == "warm" and not self.cold_in_training:
            return ScoreTopK(lambda users: self.score(users, given), self.candidates, self.home)
        with_cold = pool != "warm" and len(self.cold) > 0
        tracks = np.concatenate([self.candidates, self.cold]) if with_cold else self.candidates
        chosen = self._pool(pool, tracks, np.ones(len(tracks), dtype=bool))

        def score(users: np.ndarray) -> torch.Tensor:
            scores = self.score(users, given)
            if with_cold:
                scores = torch.cat([scores, self.score_cold(users, given).to(scores.dtype)], dim=1)
            return scores[:, torch.from_numpy(chosen).to(scores.device)]

        return ScoreTopK(score, tracks[chosen], self.home)

    def _queries(self, users: np.ndarray, known: np.ndarray, history: Interactions) -> np.ndarray:
        return users


def check(name: str, value: Any, valid: bool, allowed: str) -> None:
    """Refuses a hyper-parameter, naming what is allowed."""
    demand(f"recommender.{name}", value, valid, allowed)
