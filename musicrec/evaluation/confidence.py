"""How sure a mean is: Student's t interval, over users or over seeds, and the bootstrap as an alternative to it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from musicrec.columns import USER

LEVEL = 0.95


def half_width(values: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """Returns the half-width of the Student t interval of the mean along the first axis, NaN for fewer than 2 values.

    >>> half_width(np.array([1.0, 2.0, 3.0])).round(4)
    np.float64(2.4841)
    """
    from scipy.stats import t

    values = np.asarray(values, dtype=np.float64)
    if len(values) < 2:
        return np.full(values.shape[1:], np.nan)
    # Equal values have a spread of exactly 0, which rounding in their mean would spoil.
    spread = np.where(np.ptp(values, axis=0) == 0, 0.0, values.std(axis=0, ddof=1))
    standard_error = spread / np.sqrt(len(values))
    return t.ppf((1 + level) / 2, len(values) - 1) * standard_error


def bootstrap_half_width(values: np.ndarray, level: float = LEVEL, samples: int = 2000, seed: int = 0) -> np.ndarray:
    """Returns half the width of the percentile interval of the mean along the first axis over resampled users.

    No normality is assumed; for thousands of users it agrees with `half_width`. Efron & Tibshirani 1993, chapter 13.

    Args:
        values: (users,) or (users, metrics).
        level: of the interval.
        samples: how many resamples.
        seed: of the resampling.
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) < 2:
        return np.full(values.shape[1:], np.nan)
    generator = np.random.default_rng(seed)
    share = np.full(len(values), 1 / len(values))
    # A resample is how often each user was drawn: (samples, users) counts, in blocks that stay small.
    means = [
        generator.multinomial(len(values), share, size=min(100, samples - start)) @ values / len(values)
        for start in range(0, samples, 100)
    ]
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2], axis=0)
    return (high - low) / 2


def summary(scores: pd.DataFrame, *, bootstrap: int = 0) -> pd.DataFrame:
    """Returns rows `mean` and `conf` (95 % half-width) of per-user scores, one column a metric.

    Args:
        scores: user_id and one column a metric, one row a user.
        bootstrap: number of resamples; 0 = Student's t.

    >>> summary(pd.DataFrame({"user_id": [1, 2, 3], "NDCG@5": [1.0, 2.0, 3.0]})).round(2)
          NDCG@5
    mean    2.00
    conf    2.48
    """
    metrics = scores.drop(columns=USER)
    values = metrics.to_numpy(dtype=np.float64)
    conf = bootstrap_half_width(values, samples=bootstrap) if bootstrap else half_width(values)
    return pd.DataFrame([values.mean(axis=0), conf], index=["mean", "conf"], columns=metrics.columns)
