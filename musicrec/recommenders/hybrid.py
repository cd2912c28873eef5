"""Hybrid: ELSA whose item vectors are a function of the audio."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from musicrec.columns import TRACK
from musicrec.data.batches.base import BatchSource
from musicrec.data.batches.sequences import Sequences
from musicrec.data.batches.sets import SetBatch, SetSource, sets_of
from musicrec.data.interactions import Interactions
from musicrec.recommenders.base import Inputs, VectorRecommender
from musicrec.recommenders.baselines.played import Played
from musicrec.recommenders.histories import held_out, item_sequences
from musicrec.recommenders.networks.adapter import AudioSettings, standardised
from musicrec.recommenders.networks.embedding_table import EmbeddingTable
from musicrec.recommenders.networks.reconstruction import reconstruction_loss
from musicrec.recommenders.retrieval.search import SearchName
from musicrec.recommenders.trained import TrainedRecommender
from musicrec.values import Count, Dropout, Size

log = logging.getLogger(__name__)

# Users encoded at once for lists.
_USERS_AT_ONCE = 4096


class Hybrid(VectorRecommender, TrainedRecommender):
    """A user's row x is reconstructed as x A Aᵀ − x; the rows of A are an MLP of the tracks' vectors, of length 1.

    "Adopting State-of-the-Art Pretrained Audio Representations for Music Recommender Systems" (arXiv 2604.23077), with
    the loss of ELSA (Vančura et al., RecSys 2022): the mean squared difference of the reconstruction and x, both scaled
    to length 1. A track's vector needs its audio alone, so cold tracks are recommended like all others.

    Args:
        inputs: split, item embeddings, seed and training settings.
        hidden_dim: size of both layers of the MLP, Linear + ReLU + Linear.
        audio: the adapter, which is all of the network, and free vectors of the tracks that are added to its outputs.
        dropout: of the hidden layer, in training.
        standardise: give the MLP vectors with mean 0 and variance 1 in every dimension (statistics of train); False, as
            in the study, whose results varied wildly with the seed.
        cold_columns: also reconstruct the zeros of tracks that nobody played in training, as the study does, which
            pushes cold tracks away from everybody.
        validate: what `val/loss` reconstructs the held-out rows from: the users' training `history`, or the
            `held_out` rows themselves (the study).
        batch_size: users per step.
        search: how lists are found, see `VectorRecommender`.
    """

    table = "hybrid"
    title = "Hybrid"
    trained_on: torch.Tensor

    def __init__(
        self,
        inputs: Inputs,
        *,
        hidden_dim: Size = 768,
        audio: AudioSettings = AudioSettings("mlp"),
        dropout: Dropout = 0.0,
        standardise: bool = True,
        cold_columns: bool = False,
        validate: Literal["history", "held_out"] = "history",
        batch_size: Count = 128,
        search: SearchName = "auto",
    ):
        # What has a column is part of the catalogue, also a track that is cold.
        super().__init__(replace(inputs, cold_in_training=inputs.cold_in_training or cold_columns), search=search)
        self.batch_size = batch_size
        self.validate = validate
        played = Played.of(inputs.data.train, self.item_index)
        self.columns = np.arange(len(self.candidates)) if cold_columns else played.items
        self.column = np.full(len(self.item_index), -1, dtype=np.int64)
        self.column[self.candidates[self.columns]] = np.arange(len(self.columns))
        assert self.cold_vectors is not None
        vectors = np.concatenate(audio.prepared(self.embeddings, self.cold_vectors, played.items))
        if standardise and audio.adapter != "whiten":
            vectors = standardised(vectors, played.items)
        tables = np.split(vectors, [len(self.candidates)])
        self.items, self.cold_items = (EmbeddingTable(torch.from_numpy(rows.copy()), frozen=True) for rows in tables)
        self.register_buffer("trained_on", torch.from_numpy(self.columns), persistent=False)
        with self.seeded():
            self.net = nn.Sequential(*audio.layers(vectors.shape[1], hidden_dim, dropout))
        self.ids = audio.ids(len(self.candidates), hidden_dim, played.items)

    def sources(self) -> tuple[BatchSource, BatchSource | None]:
        """Returns the users' training rows, and the validation users' with what was held out."""
        train = self.data.train
        active = np.flatnonzero(np.diff(train.offsets))
        known = item_sequences(train, active, self.column)
        source = SetSource(known, batch_size=self.batch_size, seed=self.seed, shuffle=True)
        users, frame = held_out(self.data.truth["val"], train, self.item_index)
        columns = self.column[frame[TRACK].to_numpy(np.int64)]
        usable = (columns >= 0) & np.isin(users, active)
        users, columns = users[usable], columns[usable]
        if not len(users):
            log.warning("there are no validation users: the training loss decides when to stop")
            return source, None
        order = np.argsort(users, kind="stable")
        distinct, counts = np.unique(users, return_counts=True)
        held = Sequences(columns[order], np.concatenate([[0], np.cumsum(counts)]))
        given = item_sequences(train, distinct, self.column) if self.validate == "history" else held
        return source, SetSource(given, held, batch_size=self.batch_size, seed=self.seed, shuffle=False)

    def loss(self, batch: SetBatch) -> tuple[torch.Tensor, int]:
        """Returns the normalised mean squared error of the reconstruction, and the number of users."""
        return reconstruction_loss(self._item_vectors(self.trained_on), batch)

    def encode_users(self, users: np.ndarray, history: Interactions) -> torch.Tensor:
        """Returns the mean of the vectors of the users' tracks."""
        vectors, index = self.encode_items(), self.heard_index(history, users)
        if index is None:
            index = self.item_index
        else:
            vectors = torch.cat([vectors, self.encode_cold()])
        rows = item_sequences(history, users, index).to(self.home)
        parts = torch.arange(len(users), device=self.home).split(_USERS_AT_ONCE)
        sums = torch.cat([sets_of(rows, part).sums(vectors) for part in parts])
        return sums / rows.lengths.clamp(min=1)[:, None]

    def encode_items(self) -> torch.Tensor:
        """Returns the MLP's vectors, of length 1."""
        return self._item_vectors()

    def _item_vectors(self, rows: torch.Tensor | None = None) -> torch.Tensor:
        """Returns the vectors of some candidates, by default of all, of length 1."""
        vectors = self.net(self.items.weight if rows is None else self.items.weight[rows])
        return F.normalize((vectors if self.ids is None else self.ids(vectors, rows)).float(), dim=-1)

    @property
    def cold_obstacle(self) -> None:
        """Returns None: a track's vector needs its audio alone."""
        return None

    @property
    def heard_obstacle(self) -> None:
        """Returns None: a listener is the mean of vectors that cold tracks have, too."""
        return None

    def encode_cold(self) -> torch.Tensor:
        """Returns the MLP's vectors of the cold tracks, of length 1."""
        return F.normalize(self.net(self.cold_items.weight).float(), dim=-1)
