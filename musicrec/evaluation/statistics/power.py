"""Power: the smallest difference that a paired test on so many users could have shown."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.optimize import brentq
from scipy.stats import nct, t

POWER = 0.8
ALPHA = 0.05


@cache
def noncentrality(df: float, alpha: float = ALPHA, power: float = POWER) -> float:
    """Returns the true difference, in standard errors, that a two-sided t test finds with the given probability.

    Exact, from the noncentral t distribution (Cohen 1988, chapter 2). About 2.8 for many users.

    Args:
        df: degrees of freedom, more than 0.
        alpha: level of the test.
        power: probability of finding the difference.

    >>> round(noncentrality(499), 3)
    2.807
    """
    critical = t.ppf(1 - alpha / 2, df)

    def missing(difference: float) -> float:
        # The opposite tail, of next to no probability, is beyond what scipy can compute for few degrees of freedom.
        return float(nct.sf(critical, df, difference) + np.nan_to_num(nct.cdf(-critical, df, difference))) - power

    # The normal approximation is too small; for few degrees of freedom by much.
    low = float(t.ppf(power, df)) * 0.5
    high = low + float(critical) + 2.0
    while missing(high) < 0:
        high *= 1.5
    return float(brentq(missing, low, high))


def detectable(standard_error: np.ndarray | float, df: float) -> np.ndarray:
    """Returns the smallest true difference that a test at 5 % finds in 80 % of such samples of users.

    A difference that was not found may be as large as this. NaN without a degree of freedom.

    Args:
        standard_error: of the mean difference.
        df: degrees of freedom of the test.
    """
    if not df > 0:
        return np.full(np.shape(standard_error), np.nan)
    return np.asarray(standard_error, dtype=np.float64) * noncentrality(float(df))
