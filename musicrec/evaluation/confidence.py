"""Confidence intervals of means: Student's t and bootstrap."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from musicrec.columns import USER

LEVEL = 0.95


def half_width(values: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """Returns the half-width of the Student t interval of the mean along the first axis, NaN for fewer than 2 values.

    >>> half_width(np.array([1.0, 2.0, 3.0])).round(4)
    np.float64(2.4841)
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) < 2:
        return np.full(values.shape[1:], np.nan)
    # Equal values have a spread of exactly 0, which rounding in their mean would spoil.
    spread = np.where(np.ptp(values, axis=0) == 0, 0.0, values.std(axis=0, ddof=1))
    standard_error = spread / np.sqrt(len(values))
    # The quantile of scipy.stats.t, whose module takes most of a second to import.
    return stdtrit(len(values) - 1, (1 + level) / 2) * standard_error


def bootstrap_interval(
    values: np.ndarray, level: float = LEVEL, samples: int = 2000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Returns both ends of the percentile interval of the mean along the first axis, NaN for fewer than 2 values.

    No normality is assumed: the ends lie unequally far from the mean where the values are skewed; for thousands of
    users they agree with `half_width`. Efron & Tibshirani 1993, chapter 13.

    Args:
        values: (users,) or (users, metrics).
        level: of the interval.
        samples: number of resamples of the users.
        seed: of the resampling.
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) < 2:
        nothing = np.full(values.shape[1:], np.nan)
        return nothing, nothing
    generator = np.random.default_rng(seed)
    share = np.full(len(values), 1 / len(values))
    # A resample is how often each user was drawn: (samples, users) counts, in blocks that stay small.
    means = [
        generator.multinomial(len(values), share, size=min(100, samples - start)) @ values / len(values)
        for start in range(0, samples, 100)
    ]
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def summary(scores: pd.DataFrame, *, bootstrap: int = 0) -> pd.DataFrame:
    """Returns rows `mean` and `conf` (half-width of the 95 % interval) of per-user scores, one column per metric.

    With the bootstrap also rows `low` and `high`, the ends of the interval.

    Args:
        scores: user_id and one column per metric, one row per user.
        bootstrap: number of resamples; 0 = Student's t.

    >>> summary(pd.DataFrame({"user_id": [1, 2, 3], "NDCG@5": [1.0, 2.0, 3.0]})).round(2)
          NDCG@5
    mean    2.00
    conf    2.48
    """
    metrics = scores.drop(columns=USER)
    values = metrics.to_numpy(dtype=np.float64)
    rows = {"mean": values.mean(axis=0)}
    if bootstrap:
        low, high = bootstrap_interval(values, samples=bootstrap)
        rows |= {"conf": (high - low) / 2, "low": low, "high": high}
    else:
        rows["conf"] = half_width(values)
    return pd.DataFrame(list(rows.values()), index=list(rows), columns=metrics.columns)
