"""A data set of ten training rows whose answers can be computed by hand, `made`, and a training loop in miniature."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from musicrec.data.interactions import Interactions, SplitData
from musicrec.options import construct
from musicrec.recommenders.base import Inputs, Recommender
from musicrec.recommenders.trained import Training

Kind = TypeVar("Kind", bound=Recommender)
COLUMNS = ["user_id", "track_id", "timestamp", "count"]


def made(
    kind: type[Kind],
    data: SplitData,
    table: np.ndarray | None = None,
    embedding_trainable: bool = False,
    *,
    seed: int = 0,
    lr: float = 0.001,
    lr_patience: int = 5,
    monitor: str = "val/loss",
    **options: Any,
) -> Kind:
    """Returns a recommender of this class, trained as conf/optimizer/adam.yaml and conf/scheduler/plateau.yaml say."""
    plateau = partial(torch.optim.lr_scheduler.ReduceLROnPlateau, patience=lr_patience)
    training = Training(partial(torch.optim.Adam, lr=lr), plateau, monitor)
    inputs = Inputs(data, table, embedding_trainable, seed, training)
    return construct(kind, options, "recommender", {"inputs": inputs})


def rows(*values: tuple[Any, int, int, int]) -> pd.DataFrame:
    """Returns a split frame from (user, track, day of March 2019, plays)."""
    frame = pd.DataFrame(list(values), columns=COLUMNS)
    frame["timestamp"] = pd.to_datetime("2019-03-01") + pd.to_timedelta(frame["timestamp"].astype("int64"), unit="D")
    return frame


# Users 10, 20, 30, 40 and tracks 0..5; track 6 is in the index, but nobody played it. User 40 played one track.
TRAIN = rows(
    (10, 0, 1, 1),
    (10, 1, 2, 1),
    (10, 2, 3, 5),
    (20, 2, 5, 1),
    (20, 3, 4, 2),
    (20, 4, 4, 1),
    (30, 0, 7, 1),
    (30, 4, 6, 1),
    (30, 5, 8, 1),
    (40, 3, 9, 3),
)
VAL = rows((10, 3, 400, 1), (20, 0, 401, 1))
TEST = rows((30, 1, 402, 1), (40, 0, 403, 1))


@pytest.fixture
def ten_rows() -> SplitData:
    """Returns the ten rows; users 10, 20 are validated, 30, 40 tested."""
    return SplitData(Interactions.from_frame(TRAIN, num_tracks=7), {"val": VAL, "test": TEST})


@pytest.fixture
def plane() -> np.ndarray:
    """Returns embeddings (7, 2) at easy angles: tracks 0, 1 along x, 2 diagonal, 3, 4 along y, 5 along −x, 6 unused."""
    return np.array([[1, 0], [2, 0], [1, 1], [0, 1], [0, 3], [-1, 0], [5, 5]], dtype=np.float32)


@pytest.fixture
def many() -> SplitData:
    """Returns 40 users with 4 to 18 of 30 tracks each and 12 held-out rows of each of the first 10 users."""
    rng = np.random.default_rng(7)
    train, val = [], []
    for user in range(40):
        tracks = rng.permutation(30)
        length = int(rng.integers(4, 19))
        train += [(user, int(track), day, 1 + day % 3) for day, track in enumerate(tracks[:length])]
        if user < 10:
            val += [(user, int(track), 400 + day, 1) for day, track in enumerate(tracks[length : length + 12])]
    return SplitData(Interactions.from_frame(rows(*train), num_tracks=30), {"val": rows(*val), "test": rows(*val)[:0]})


@pytest.fixture
def audio() -> np.ndarray:
    """Returns embeddings (30, 8) for `many`."""
    return np.random.default_rng(3).normal(size=(30, 8)).astype(np.float32)


def planted() -> tuple[SplitData, np.ndarray]:
    """Returns three crowds of 20 users that play 7 of ten tracks each; the sound of a track tells its crowd."""
    rng = np.random.default_rng(2)
    train, val = [], []
    for user in range(60):
        tracks = user % 3 + 3 * rng.permutation(10)
        train += [(user, int(track), day, 1) for day, track in enumerate(tracks[:7])]
        val += [(user, int(track), 400, 1) for track in tracks[7:]]
    table = np.eye(3)[np.arange(30) % 3] + 0.2 * rng.normal(size=(30, 3))
    return SplitData(Interactions.from_frame(rows(*train), 30), {"val": rows(*val)}), table.astype(np.float32)


@pytest.fixture
def fit(tmp_path: Path) -> Callable[..., Any]:
    """Returns a function that trains a model on the CPU and gives back the trainer; `resume` names a checkpoint."""

    def fitted(model: Any, epochs: int, folder: str = "run", resume: str | None = None) -> Any:
        checkpoint = ModelCheckpoint(
            tmp_path / folder, "best", monitor=model.monitor, mode=model.monitor_mode, save_last=True
        )
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=epochs,
            callbacks=[checkpoint],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(model, datamodule=model.datamodule(), ckpt_path=resume, weights_only=True)
        return trainer

    return fitted
