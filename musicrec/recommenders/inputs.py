"""What a recommender is made from: Inputs (split, item embeddings, seed) and Training (optimizer, scheduler)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from musicrec.data.interactions import SplitData

VAL_LOSS = "val/loss"


_ADAM = partial(torch.optim.Adam, lr=0.001)
_PLATEAU = partial(torch.optim.lr_scheduler.ReduceLROnPlateau, patience=5)


@dataclass(frozen=True)
class Training:
    """How Lightning trains a recommender; the defaults are those of conf/optimizer/adam.yaml and conf/scheduler.

    Attributes:
        optimizer: makes the optimizer of a list of parameters, e.g. `partial(torch.optim.Adam, lr=0.001)`. Where the
            device has a fused kernel, it is used unless the partial says `fused=False`.
        scheduler: makes the learning-rate schedule of an optimizer, stepped once per epoch; ReduceLROnPlateau follows
            the monitor if it is a loss, `MetricPlateau` in any case. None keeps the rate.
        monitor: what chooses the best epoch and stops training: `val/loss`, `train/loss`, or a metric of the lists of
            all val users after each epoch, such as `val/ndcg@50`.
    """

    optimizer: Callable[..., torch.optim.Optimizer] = _ADAM
    scheduler: Callable[..., Any] | None = _PLATEAU
    monitor: str = VAL_LOSS


@dataclass(frozen=True)
class Inputs:
    """What train.py hands to every recommender.

    Attributes:
        data: the split; its training part without the tracks that have no embedding.
        item_embeddings: (num_tracks, dim) float, rows of candidates finite; None for recommenders that need none.
        embedding_trainable: the embedding is only a start, so the item vectors are learnt.
        seed: decides everything random.
        training: how it is trained; ignored by recommenders that are not.
        cold_in_training: make the recommender with the cold tracks in its catalogue, as the released code of the 2026
            study does: they are then softmax classes, negatives and rows of learnt tables.
        companion: the trained recommender that the class names in `Recommender.companion`; it may know tracks that have
            no embedding. None: one is trained in memory, which nothing can resume.
    """

    data: SplitData
    item_embeddings: np.ndarray | None = None
    embedding_trainable: bool = False
    seed: int = 0
    training: Training = field(default_factory=Training)
    cold_in_training: bool = False
    companion: nn.Module | None = None
