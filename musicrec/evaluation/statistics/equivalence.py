"""Equivalence: tests whether a difference is smaller than what would matter (two one-sided tests)."""

from __future__ import annotations

import numpy as np
from scipy.stats import t

from musicrec.errors import demand

# Share of the better mean below which a difference does not matter (`eval.margin`).
MARGIN = 0.05


def check_margin(value: object) -> float:
    """Returns `eval.margin` as a number.

    Raises:
        MusicrecError: if it is not between 0 and 1.
    """
    valid = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1
    demand("eval.margin", value, valid, "a share of the better mean, between 0 and 1, e.g. 0.05")
    return float(str(value))


def p_equivalence(
    difference: np.ndarray, standard_error: np.ndarray, df: np.ndarray | float, margin: np.ndarray
) -> np.ndarray:
    """Returns the p value of "the true difference is at least the margin, on one side or the other".

    Below 0.05 the systems are equivalent within the margin: the 90 % interval of the difference lies inside it
    (Schuirmann 1987, two one-sided t tests). 1 where the margin is 0, as all systems scored 0.

    Args:
        difference: mean difference.
        standard_error: of it; 0 if all users have the same difference.
        df: degrees of freedom.
        margin: the differences of no interest, ± margin.
    """
    difference, error = np.asarray(difference, dtype=np.float64), np.asarray(standard_error, dtype=np.float64)
    room = np.asarray(margin - np.abs(difference))
    with np.errstate(divide="ignore", invalid="ignore"):
        p = t.sf(room / error, df)
    p = np.where(error == 0, np.where(room > 0, 0.0, 1.0), p)
    return np.where(np.isnan(p), 1.0, p)


def difference_verdict(p_difference: float, p_equivalent: float, alpha: float = 0.05) -> str:
    """Returns what two tests say together.

    >>> [difference_verdict(*p) for p in ((0.01, 0.5), (0.3, 0.01), (0.01, 0.01), (0.3, 0.2))]
    ['different', 'equivalent', 'different, but by less than matters', 'undecided']
    """
    if p_difference < alpha:
        return "different, but by less than matters" if p_equivalent < alpha else "different"
    return "equivalent" if p_equivalent < alpha else "undecided"
