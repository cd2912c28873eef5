"""NDCG as a ratio of means, as the benchmark of Yambda reports it, beside ours, the mean of ratios."""

from __future__ import annotations

import numpy as np
import pandas as pd

from musicrec.columns import COUNT, USER
from musicrec.evaluation.metrics import RankedLists


def pooled_column(k: int) -> str:
    """Returns the column name at cutoff k."""
    return f"NDCG@{k} pooled"


def pooled_ndcg(truth: pd.DataFrame, lists: RankedLists, k: int) -> float:
    """Returns the mean DCG over all users divided by their mean ideal DCG.

    Users with a long truth weigh more than in the mean of each user's NDCG. A track played twice counts twice in the
    length of the truth, as in Yambda's code, but is one hit at most, so even a perfect list may stay below 1.

    Args:
        truth: user_id, track_id and, where it is known, count (plays in the held-out window).
        lists: of the users of the truth.
        k: the cutoff.

    >>> truth = pd.DataFrame({"user_id": ["a", "b", "b"], "track_id": [1, 2, 3], "count": [1, 1, 1]})
    >>> lists = RankedLists(np.array(["a", "b"]), np.array([[1], [9]]), np.array([[True], [False]]), np.array([1, 2]))
    >>> pooled_ndcg(truth, lists, k=1)
    0.5
    """
    weights = truth[COUNT] if COUNT in truth else pd.Series(1, index=truth.index)
    relevant = weights.groupby(truth[USER]).sum().reindex(lists.users).to_numpy()
    discounts = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[0.0], discounts.cumsum()])[np.minimum(relevant, k)]
    gained = lists.hits @ discounts[: lists.hits.shape[1]]
    return float(gained.mean() / ideal.mean())
