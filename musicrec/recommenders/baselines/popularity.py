"""Popularity: the tracks that most users played, in the same order for everybody."""

from __future__ import annotations

import numpy as np
import torch

from musicrec.data.interactions import Interactions
from musicrec.recommenders.base import Inputs, ScoreRecommender
from musicrec.recommenders.baselines.played import Played


class Popularity(ScoreRecommender):
    """Scores a track by the number of distinct users who played it in training.

    A track that nobody played (a cold one) cannot be recommended.

    Args:
        inputs: the split; an embedding is not read.
    """

    table = "baselines"
    title = "Popularity"
    needs = "nothing"
    scores: torch.Tensor

    def __init__(self, inputs: Inputs):
        super().__init__(inputs)
        train = inputs.data.train
        played = Played.of(train, self.item_index)
        users = played.matrix(train, np.arange(train.num_users)).sum(axis=0)
        scores = played.spread(torch.from_numpy(np.asarray(users).reshape(1, -1)).float())
        self.register_buffer("scores", scores[0], persistent=False)

    def score(self, users: np.ndarray, history: Interactions) -> torch.Tensor:
        """Returns the same scores for each of the users."""
        return self.scores.expand(len(users), -1)
