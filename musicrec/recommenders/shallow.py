"""Shallow: users and items meet in one projection, trained with a hinge loss on cosines."""

from __future__ import annotations

import logging
from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Ge, Le
from torch import nn

from musicrec.columns import COUNT, TRACK
from musicrec.data.batches.base import BatchSource
from musicrec.data.batches.pairs import PairBatch, PairSource
from musicrec.data.interactions import Interactions
from musicrec.errors import MusicrecError
from musicrec.recommenders.base import Inputs, VectorRecommender, check
from musicrec.recommenders.baselines.played import Played
from musicrec.recommenders.histories import held_out, mean_of_items
from musicrec.recommenders.networks.adapter import AudioSettings
from musicrec.recommenders.networks.embedding_table import EmbeddingTable
from musicrec.recommenders.networks.shallow import ShallowNet
from musicrec.recommenders.retrieval.search import SearchName
from musicrec.recommenders.trained import TrainedRecommender
from musicrec.values import Count, NotNegative

log = logging.getLogger(__name__)


class Shallow(VectorRecommender, TrainedRecommender):
    """Cosine of projected user and item vectors; hinge loss max(0, margin − pos + neg) · confidence.

    "Comparative Analysis of Pretrained Audio Representations in Music Recommender Systems" (arXiv 2409.08987),
    section 3.

    Args:
        inputs: split, item embeddings, seed and training settings. If the embedding is trainable, items are learnt
            whatever `item_freeze` says.
        neg_samples: negatives per positive pair.
        hidden_dim: size of the shared projection (adapter + ReLU); 0 = none, `same` = that of the embedding.
        audio: adapter and free vectors of the tracks.
        use_confidence: weight a pair by 1 + 2 ln(1 + plays).
        l2: factor of the sum of squares of the learnt parameters in the training loss (`val/loss` is without).
        l2_on: `all` parameters, as released, or only the rows of the `batch` and the projection.
        margin: of the hinge.
        sample: negatives are users for a given `item` (the study's choice) or items for a given `user`.
        exclude_positives: a negative is never a true positive; False draws from all, as the study's released code does.
        item_freeze: keep the item vectors as they are.
        user_freeze: keep the user vectors as they are.
        user_init: start users at the mean of their items; False: at standard normal vectors; `auto`: at the mean unless
            the embedding is trainable, because a random start has no mean worth taking.
        batch_size: positive pairs per step.
        search: how lists are found, see `VectorRecommender`.
    """

    table = "shallow"
    title = "Shallow net"
    cold_items: torch.Tensor
    cold_obstacle = None

    def __init__(
        self,
        inputs: Inputs,
        *,
        neg_samples: Annotated[int, Ge(1), Le(1_000_000)] = 20,
        hidden_dim: Annotated[int, Ge(0), Le(1_000_000)] | Literal["same"] = 128,
        audio: AudioSettings = AudioSettings(),
        use_confidence: bool = False,
        l2: NotNegative = 0.0,
        l2_on: Literal["all", "batch"] = "all",
        margin: NotNegative = 0.2,
        sample: Literal["item", "user"] = "item",
        exclude_positives: bool = True,
        item_freeze: bool = True,
        user_freeze: bool = False,
        user_init: bool | Literal["auto"] = True,
        batch_size: Count = 10_000,
        search: SearchName = "auto",
    ):
        super().__init__(inputs, search=search)
        dim = self.embeddings.shape[1]
        size = dim if hidden_dim == "same" else hidden_dim
        allowed = "linear or whiten with hidden_dim=0, which has no projection"
        check("adapter", audio.adapter, size != 0 or audio.adapter != "mlp", allowed)
        self.neg_samples = neg_samples
        self.use_confidence = use_confidence
        self.l2 = l2
        self.l2_on = l2_on
        self.margin = margin
        self.sample = sample
        self.exclude_positives = exclude_positives
        self.batch_size = batch_size
        train = inputs.data.train
        at_mean = not inputs.embedding_trainable if user_init == "auto" else user_init
        assert self.cold_vectors is not None
        played = Played.of(train, self.item_index).items
        vectors, cold = audio.prepared(self.embeddings, self.cold_vectors, played)
        with self.seeded():
            users = (
                torch.from_numpy(mean_of_items(vectors, self.item_index, train, np.arange(train.num_users)))
                if at_mean
                else torch.randn(train.num_users, dim)
            )
            item_frozen = item_freeze and not inputs.embedding_trainable
            items = EmbeddingTable(torch.from_numpy(vectors.copy()), item_frozen)
            ids = audio.ids(len(items), int(size) or dim, played)
            self.net = ShallowNet(EmbeddingTable(users, user_freeze), items, int(size), audio, ids)
        self.register_buffer("cold_items", torch.from_numpy(cold), persistent=False)
        if not list(self.net.parameters()):
            raise MusicrecError(
                "nothing to learn: users and items are frozen and there is no projection; set "
                "recommender.user_freeze=false, recommender.item_freeze=false or recommender.hidden_dim=128"
            )

    @property
    def listener_obstacle(self) -> str:
        """Returns why somebody who is not in train gets no lists: users are rows of a table."""
        return "it learns a vector per user of training"

    def sources(self) -> tuple[BatchSource, BatchSource | None]:
        """Returns positive pairs with sampled negatives: those of train, and the held-out ones of val users."""
        train = self.data.train
        users, items = train.users, self.item_index[train.items]
        flip = self.sample == "user"
        anchors, positives = (users, items) if flip else (items, users)
        options: dict[str, Any] = {
            "pool": self._negatives(positives),
            "neg_samples": self.neg_samples,
            "exclude_positives": self.exclude_positives,
            "batch_size": self.batch_size,
            "seed": self.seed,
        }
        source = PairSource(anchors, positives, self._confidence(train.counts), shuffle=True, **options)
        if not source.size:
            raise MusicrecError(
                "shallow needs negatives, but every track was played by every user: use more data or recommender=knn"
            )
        val_users, val = held_out(self.data.truth["val"], train, self.item_index)
        val_items = self.item_index[val[TRACK].to_numpy(np.int64)]
        val_anchors, val_positives = (val_users, val_items) if flip else (val_items, val_users)
        known = np.concatenate([anchors, val_anchors]), np.concatenate([positives, val_positives])
        weights = self._confidence(val[COUNT].to_numpy(np.int64))
        val_source = PairSource(val_anchors, val_positives, weights, shuffle=False, known=known, **options)
        if not val_source.size:
            log.warning("there are no validation pairs: the training loss decides when to stop")
            return source, None
        return source, val_source

    def _negatives(self, positives: np.ndarray) -> np.ndarray:
        """Returns what negatives are drawn from: users or items of train; with cold_in_training, all items."""
        if self.sample == "user" and self.cold_in_training:
            return np.arange(len(self.candidates))
        return np.flatnonzero(np.bincount(positives))

    def _confidence(self, counts: np.ndarray) -> np.ndarray:
        return 1 + 2 * np.log1p(counts) if self.use_confidence else np.ones(len(counts))

    def _sides(self) -> tuple[EmbeddingTable, EmbeddingTable]:
        return (self.net.items, self.net.users) if self.sample == "item" else (self.net.users, self.net.items)

    def loss(self, batch: PairBatch) -> tuple[torch.Tensor, int]:
        """Returns the hinge loss and the number of pairs."""
        positive, negative = self.net(*self._sides(), batch.anchors, batch.positives, batch.negatives)
        return hinge(positive, negative, batch.weights, self.margin), len(batch.anchors)

    def penalty(self, batch: PairBatch) -> torch.Tensor | float:
        """Returns `l2` times the sum of squares."""
        if not self.l2:
            return 0.0
        anchors, others = self._sides()
        rows = {anchors: batch.anchors, others: torch.cat([batch.positives, batch.negatives.flatten()])}
        squares = [weight.square().sum() for weight in self.net.projection.parameters()]
        for table, used in rows.items():
            if isinstance(table.weight, nn.Parameter):
                weight = table.weight if self.l2_on == "all" else table.weight[used.unique()]
                squares.append(weight.square().sum())
        if self.net.ids is not None:
            free = self.net.ids.weight
            squares.append((free if self.l2_on == "all" else free[rows[self.net.items].unique()]).square().sum())
        return self.l2 * torch.stack(squares).sum()

    def encode_users(self, users: np.ndarray, history: Interactions) -> torch.Tensor:
        """Returns the users' projected vectors; the history does not matter."""
        return self.net.project(self.net.users.weight[torch.from_numpy(users).to(self.home)]).float()

    def encode_items(self) -> torch.Tensor:
        """Returns the projected item vectors."""
        return self.net.item_vectors().float()

    def encode_cold(self) -> torch.Tensor:
        """Returns the projected embeddings of the cold tracks; where items are learnt, they stay as they were."""
        return self.net.project(self.cold_items).float()


def hinge(positive: torch.Tensor, negative: torch.Tensor, weights: torch.Tensor, margin: float) -> torch.Tensor:
    """Returns the mean over all (positive, negative) pairs of max(0, margin − positive + negative) · weight.

    Args:
        positive: (batch,).
        negative: (batch, neg_samples).
        weights: (batch,).
        margin: by how much a positive should win.
    """
    return ((margin - positive[:, None] + negative).clamp(min=0) * weights[:, None]).mean()
