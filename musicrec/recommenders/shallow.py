"""Shallow: users and items meet in one projection, trained with a hinge loss on cosines."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from musicrec.columns import COUNT, TRACK
from musicrec.data.batches.base import BatchSource
from musicrec.data.batches.pairs import PairBatch, PairSource
from musicrec.errors import MusicrecError
from musicrec.recommenders.base import Table, check, held_out, mean_of_items
from musicrec.recommenders.networks.shallow import ShallowNet
from musicrec.recommenders.trained import VAL_LOSS, TrainedRecommender

if TYPE_CHECKING:
    from musicrec.data.interactions import Interactions, SplitData

log = logging.getLogger(__name__)


class Shallow(TrainedRecommender):
    """Cosine of projected user and item vectors; hinge loss max(0, margin − pos + neg) · confidence.

    "Comparative Analysis of Pretrained Audio Representations in Music Recommender Systems" (arXiv 2409.08987),
    section 3.

    Args:
        data: the split.
        item_embeddings: (num_tracks, dim).
        embedding_trainable: items are learnt whatever `item_freeze` says (the embedding is only a start).
        neg_samples: negatives for each positive pair.
        hidden_dim: size of the shared projection (Linear + ReLU); 0 = none, `same` = that of the embedding.
        use_confidence: weight a pair by 1 + 2 ln(1 + plays).
        l2: factor of the sum of squares of the learnt parameters in the training loss (`val/loss` is without).
        l2_on: `all` parameters, as released, or only the rows of the `batch` and the projection.
        margin: of the hinge.
        sample: negatives are users for a given `item` (the study's choice) or items for a given `user`.
        exclude_positives: a negative is never a true positive; False draws from all, as the study's released code does.
        item_freeze: keep the item vectors as they are.
        user_freeze: keep the user vectors as they are.
        user_init: start users at the mean of their items; else at standard normal vectors.
        batch_size: positive pairs of a step.
    """

    table = "shallow"

    def __init__(
        self,
        data: SplitData,
        item_embeddings: np.ndarray,
        embedding_trainable: bool = False,
        *,
        name: str = "shallow",
        neg_samples: int = 20,
        hidden_dim: int | str = 128,
        use_confidence: bool = False,
        l2: float = 0.0,
        l2_on: str = "all",
        margin: float = 0.2,
        sample: str = "item",
        exclude_positives: bool = True,
        item_freeze: bool = True,
        user_freeze: bool = False,
        user_init: bool = True,
        lr: float = 0.001,
        batch_size: int = 10_000,
        max_epochs: int = 100,
        patience: int = 16,
        lr_patience: int = 5,
        monitor: str = VAL_LOSS,
        search: str = "auto",
        seed: int = 0,
    ):
        super().__init__(
            data,
            item_embeddings,
            name=name,
            lr=lr,
            max_epochs=max_epochs,
            patience=patience,
            lr_patience=lr_patience,
            monitor=monitor,
            search=search,
            seed=seed,
        )
        check("neg_samples", neg_samples, neg_samples >= 1, "1 or more")
        size = self.vectors.shape[1] if hidden_dim == "same" else hidden_dim
        check("hidden_dim", hidden_dim, isinstance(size, int) and size >= 0, "0, a positive number or same")
        check("l2", l2, l2 >= 0, "0 or more")
        check("l2_on", l2_on, l2_on in ("all", "batch"), "all or batch")
        check("sample", sample, sample in ("item", "user"), "item or user")
        check("batch_size", batch_size, batch_size >= 1, "1 or more")
        self.neg_samples = neg_samples
        self.use_confidence = use_confidence
        self.l2 = l2
        self.l2_on = l2_on
        self.margin = margin
        self.sample = sample
        self.exclude_positives = exclude_positives
        self.batch_size = batch_size
        train = data.train
        with self.seeded():
            users = (
                torch.from_numpy(mean_of_items(self.vectors, self.place, train, np.arange(train.num_users)))
                if user_init
                else torch.randn(train.num_users, self.vectors.shape[1])
            )
            item_table = Table(torch.from_numpy(self.vectors.copy()), item_freeze and not embedding_trainable)
            self.net = ShallowNet(Table(users, user_freeze), item_table, int(size))
        if not list(self.net.parameters()):
            raise MusicrecError(
                "nothing to learn: users and items are frozen and there is no projection; set "
                "recommender.user_freeze=false, recommender.item_freeze=false or recommender.hidden_dim=128"
            )

    def sources(self) -> tuple[BatchSource, BatchSource | None]:
        train = self.data.train
        users, items = train.users, self.place[train.items]
        flip = self.sample == "user"
        anchors, positives = (users, items) if flip else (items, users)
        options: dict[str, Any] = {
            "pool": np.flatnonzero(np.bincount(positives)),
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
        val_users, val = held_out(self.data.truth["val"], train, self.place)
        val_items = self.place[val[TRACK].to_numpy(np.int64)]
        val_anchors, val_positives = (val_users, val_items) if flip else (val_items, val_users)
        known = np.concatenate([anchors, val_anchors]), np.concatenate([positives, val_positives])
        weights = self._confidence(val[COUNT].to_numpy(np.int64))
        val_source = PairSource(val_anchors, val_positives, weights, shuffle=False, known=known, **options)
        if not val_source.size:
            log.warning("there are no validation pairs: the training loss decides when to stop")
            return source, None
        return source, val_source

    def _confidence(self, counts: np.ndarray) -> np.ndarray:
        return 1 + 2 * np.log1p(counts) if self.use_confidence else np.ones(len(counts))

    def _sides(self) -> tuple[Table, Table]:
        return (self.net.items, self.net.users) if self.sample == "item" else (self.net.users, self.net.items)

    def loss(self, batch: PairBatch) -> tuple[torch.Tensor, int]:
        positive, negative = self.net(*self._sides(), batch.anchors, batch.positives, batch.negatives)
        return hinge(positive, negative, batch.weights, self.margin), len(batch.anchors)

    def penalty(self, batch: PairBatch) -> torch.Tensor | float:
        if not self.l2:
            return 0.0
        anchors, others = self._sides()
        rows = {anchors: batch.anchors, others: torch.cat([batch.positives, batch.negatives.flatten()])}
        squares = [weight.square().sum() for weight in self.net.projection.parameters()]
        for table, used in rows.items():
            if isinstance(table.weight, nn.Parameter):
                weight = table.weight if self.l2_on == "all" else table.weight[used.unique()]
                squares.append(weight.square().sum())
        return self.l2 * torch.stack(squares).sum()

    def encode_users(self, positions: np.ndarray, history: Interactions) -> np.ndarray:
        rows = torch.from_numpy(positions).to(self.device)
        return self.net.project(self.net.users.weight[rows]).float().cpu().numpy()

    def encode_items(self) -> np.ndarray:
        with torch.no_grad():
            return self.net.project(self.net.items.weight).float().cpu().numpy()


def hinge(positive: torch.Tensor, negative: torch.Tensor, weights: torch.Tensor, margin: float) -> torch.Tensor:
    """Returns the mean over all (positive, negative) pairs of max(0, margin − positive + negative) · weight.

    Args:
        positive: (batch,).
        negative: (batch, neg_samples).
        weights: (batch,).
        margin: by how much a positive should win.
    """
    return ((margin - positive[:, None] + negative).clamp(min=0) * weights[:, None]).mean()
