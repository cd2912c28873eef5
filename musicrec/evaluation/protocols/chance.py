"""Chance levels: the expected metrics of a list drawn at random from what may be recommended, in closed form."""

from __future__ import annotations

import numpy as np
import pandas as pd

from musicrec.columns import TRACK, USER
from musicrec.evaluation.metrics import metric_columns


def expected_metrics(pool: np.ndarray, reachable: np.ndarray, relevant: np.ndarray, k: int) -> dict[str, np.ndarray]:
    """Returns the expected five metrics at k of users whose list is a random sample without replacement.

    The number of hits is hypergeometric, and every rank is a hit with the same probability, reachable / pool.

    Args:
        pool: (users,) number of tracks that may be recommended to the user.
        reachable: (users,) how many of them are in the user's truth.
        relevant: (users,) size of the user's truth.
        k: the cutoff; a list is shorter where the pool is.

    >>> {name: float(value[0].round(3)) for name, value in expected_metrics(*np.array([[4], [2], [2]]), k=1).items()}
    {'HitRate@1': 0.5, 'MRR@1': 0.5, 'Precision@1': 0.5, 'Recall@1': 0.25, 'NDCG@1': 0.5}
    """
    ranks = np.arange(1, k + 1)
    inside = ranks <= pool[:, None]  # (users, k)
    share = reachable / np.maximum(pool, 1)
    # Probability that the first r entries are no hit, by the chain rule; r = 1 … k.
    left = np.maximum(pool[:, None] - ranks + 1, 1)
    miss = np.clip((pool - reachable)[:, None] - ranks + 1, 0, None) / left
    none = np.cumprod(np.where(inside, np.minimum(miss, 1.0), 1.0), axis=1)
    first = np.concatenate([np.ones((len(pool), 1)), none[:, :-1]], axis=1) - none
    discounts = 1 / np.log2(ranks + 1)
    ideal = np.concatenate([[1.0], discounts.cumsum()])[np.minimum(relevant, k)]
    length = np.minimum(pool, k)
    values = (
        1 - none[:, -1],
        (first / ranks).sum(axis=1),
        share,
        share * length / np.maximum(relevant, 1),
        share * (inside * discounts).sum(axis=1) / ideal,
    )
    return dict(zip(metric_columns(k), values, strict=True))


def chance_level(
    truth: pd.DataFrame, candidates: np.ndarray, train: pd.DataFrame, k: int, *, repeat: bool = False
) -> dict[str, float]:
    """Returns the mean over users of the expected metrics of random lists, by column name.

    Args:
        truth: user_id, track_id of a held-out split.
        candidates: track idx that lists of this split are drawn from.
        train: user_id, track_id; these are not recommended again.
        k: the cutoff.
        repeat: whether they are.
    """
    users = pd.Index(np.unique(truth[USER]))
    relevant = _count(truth, users)
    reachable = truth[truth[TRACK].isin(candidates)]
    pool = np.full(len(users), len(np.unique(candidates)))
    if not repeat:
        played = train[train[TRACK].isin(candidates) & train[USER].isin(users)]
        pool = pool - _count(played, users)
        pairs = pd.MultiIndex.from_frame(reachable[[USER, TRACK]])
        reachable = reachable[~pairs.isin(pd.MultiIndex.from_frame(played[[USER, TRACK]]))]
    # A user without history gets no list.
    known = users.isin(train[USER])
    expected = expected_metrics(np.where(known, pool, 0), np.where(known, _count(reachable, users), 0), relevant, k)
    return {column: float(values.mean()) for column, values in expected.items()}


def _count(pairs: pd.DataFrame, users: pd.Index) -> np.ndarray:
    """Returns (users,) the number of pairs of each user."""
    return pairs.groupby(USER).size().reindex(users, fill_value=0).to_numpy()
