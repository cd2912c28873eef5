"""ELSA: a linear autoencoder of listening histories with a low-rank matrix; no audio."""

from __future__ import annotations

import logging

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
from musicrec.recommenders.histories import held_out
from musicrec.recommenders.networks.reconstruction import reconstruction_loss
from musicrec.recommenders.retrieval.search import SearchName
from musicrec.recommenders.trained import TrainedRecommender
from musicrec.values import Count, Size

log = logging.getLogger(__name__)

# Users encoded at once for lists.
_USERS_AT_ONCE = 4096


class ELSA(VectorRecommender, TrainedRecommender):
    """Scalable linear shallow autoencoder: a user's row x is reconstructed as x A Aᵀ − x.

    Vančura et al., "Scalable Linear Shallow Autoencoder for Collaborative Filtering" (RecSys 2022, doi
    10.1145/3523227.3551482). A has a row of length 1 per track, so that subtracting x removes what a track says of
    itself. The loss is the mean squared difference of the reconstruction and x, both scaled to length 1; trained with
    NAdam as in the authors' package elsarec 0.1.4, whose steps it repeats with `shuffle: false`.

    `val/loss` compares what is reconstructed from the training rows of the validation users with their held-out rows.
    A track that nobody played in training has no row in A and is never recommended before one that somebody did.

    Args:
        inputs: split, seed and training settings; an embedding is not read.
        factors: columns of A; may exceed the number of tracks.
        batch_size: users per step.
        shuffle: a new order of the users in each epoch; False: the order of their ids (the study of 2026).
        search: how lists are found, see `VectorRecommender`.
    """

    table = "baselines"
    title = "ELSA"
    needs = "nothing"

    def __init__(
        self,
        inputs: Inputs,
        *,
        factors: Size = 768,
        batch_size: Count = 128,
        shuffle: bool = True,
        search: SearchName = "auto",
    ):
        super().__init__(inputs, search=search)
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.played = Played.of(inputs.data.train, self.item_index)
        with self.seeded():
            self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(len(self.played), factors)))

    def sources(self) -> tuple[BatchSource, BatchSource | None]:
        """Returns the users' training rows, and the validation users' with what was held out."""
        train = self.data.train
        active = np.flatnonzero(np.diff(train.offsets))
        source = self.train_source(active)
        users, frame = held_out(self.data.truth["val"], train, self.item_index)
        columns = self.played.column[frame[TRACK].to_numpy(np.int64)]
        usable = (columns >= 0) & np.isin(users, active)
        users, columns = users[usable], columns[usable]
        if not len(users):
            log.warning("there are no validation users: the training loss decides when to stop")
            return source, None
        order = np.argsort(users, kind="stable")
        distinct, counts = np.unique(users, return_counts=True)
        held = Sequences(columns[order], np.concatenate([[0], np.cumsum(counts)]))
        known = self.played.sequences(train, distinct)
        return source, SetSource(known, held, batch_size=self.batch_size, seed=self.seed, shuffle=False)

    def train_source(self, users: np.ndarray) -> BatchSource:
        """Returns the training rows of these users (indices in user_ids, all with a history)."""
        rows = self.played.sequences(self.data.train, users)
        return SetSource(rows, batch_size=self.batch_size, seed=self.seed, shuffle=self.shuffle)

    def loss(self, batch: SetBatch) -> tuple[torch.Tensor, int]:
        """Returns the normalised mean squared error of the reconstruction, and the number of users."""
        return reconstruction_loss(F.normalize(self.weight, dim=-1), batch)

    def encode_users(self, users: np.ndarray, history: Interactions) -> torch.Tensor:
        """Returns the sum of the rows of A of the users' tracks: the row x A."""
        vectors = F.normalize(self.weight, dim=-1)
        rows = self.played.sequences(history, users).to(self.home)
        parts = torch.arange(len(users), device=self.home).split(_USERS_AT_ONCE)
        return torch.cat([sets_of(rows, part).sums(vectors) for part in parts]).float()

    def encode_items(self) -> torch.Tensor:
        """Returns the rows of A; zero vectors for tracks that nobody played in training."""
        vectors = F.normalize(self.weight, dim=-1).float()
        items = vectors.new_zeros((len(self.candidates), vectors.shape[1]))
        items[torch.from_numpy(self.played.items).to(self.home)] = vectors
        return items

    def item_weights(self) -> np.ndarray:
        """Returns (num_tracks, factors) float32 rows of A before they are scaled; NaN for tracks that nobody played."""
        weights = np.full((len(self.item_index), self.weight.shape[1]), np.nan, dtype=np.float32)
        weights[self.candidates[self.played.items]] = self.weight.detach().cpu().numpy()
        return weights
