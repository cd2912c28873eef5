"""The model of a run: as it is before training, and of a finished run from its checkpoint."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from musicrec.data.interactions import SplitData
from musicrec.errors import MusicrecError
from musicrec.recommenders.base import Recommender
from musicrec.recommenders.configure import make_recommender, training_settings
from musicrec.recommenders.inputs import Inputs
from musicrec.recommenders.trained import TrainedRecommender
from musicrec.training.checkpoints import load_weights
from musicrec.training.given import Given
from musicrec.training.run import Run


def make_model(given: Given) -> Recommender:
    """Returns the recommender of a run, untrained."""
    inputs = Inputs(
        given.data,
        given.vectors if given.vectors.shape[1] else None,
        given.embedding.trainable,
        seed=int(given.cfg.seed),
        training=training_settings(given.cfg),
        companion=given.companion,
    )
    return make_recommender(given.cfg.recommender, inputs)


def load_model(given: Given, run: Run) -> Recommender:
    """Returns the recommender of a finished run with the weights of its best epoch, on the CPU.

    Args:
        given: what the run was made from; it may hold further cold tracks (`with_cold`).
        run: the run.

    Raises:
        MusicrecError: if the checkpoint of a run that was trained is missing or damaged.
    """
    model = make_model(given)
    if isinstance(model, TrainedRecommender):
        if not run.best.is_file():
            raise MusicrecError(f"{run.best} is missing: train the run again with overwrite=true")
        model.load_state_dict(load_weights(run.best))
    return model.eval()


def with_cold(given: Given, rows: np.ndarray, vectors: np.ndarray) -> Given:
    """Returns what a run is made from with further tracks that nobody played in train.

    What is trained knows nothing of such tracks, so the weights of the run fit.

    Args:
        given: what the run is made from.
        rows: (n,) track idx that are not candidates but have a vector.
        vectors: (m, dim) of tracks that are not in the index, as the recommender reads them; they get the next m idx.
    """
    train, data = given.data.train, given.data
    new = np.arange(train.num_tracks, train.num_tracks + len(vectors))
    cold = np.unique(np.concatenate([data.cold, rows, new])).astype(np.int64)
    extended: SplitData = replace(data, train=replace(train, num_tracks=train.num_tracks + len(vectors)), cold=cold)
    return replace(given, data=extended, vectors=np.concatenate([given.vectors, vectors.astype(np.float32)]))
