"""Equivalence against statsmodels and by simulation at the margin."""

import numpy as np
import pytest

from musicrec.errors import MusicrecError
from musicrec.evaluation.statistics.equivalence import check_margin, p_equivalence
from musicrec.evaluation.statistics.significance import paired_tests

# fmt: off
FIRST = np.array([
    0.142, 0.238, 0.001, 0.06, 0.294, 0.119, 0.648, 0.167, 0.018, 0.381, 0.295, 0.143, 0.001, 0.084, 0.499,
    0.025, 0.113, 0.092, 0.019, 0.273, 0.211, 0.483, 0.004, 0.174, 0.311, 0.356, 0.015, 0.142, 0.204, 0.133])
SECOND = np.array([
    0.151, 0.281, -0.006, 0.123, 0.304, 0.158, 0.593, 0.194, -0.056, 0.289, 0.29, 0.108, 0.019, 0.206, 0.467,
    0.004, 0.133, 0.127, 0.02, 0.273, 0.256, 0.519, -0.038, 0.18, 0.323, 0.313, 0.038, 0.109, 0.263, 0.153])
# fmt: on


def test_equals_statsmodels() -> None:
    """Statsmodels 0.15.0: ttost_paired(FIRST, SECOND, -0.03, 0.03)."""
    margin = 0.03 / max(FIRST.mean(), SECOND.mean())
    tests = paired_tests(FIRST, SECOND, margin)
    assert tests["margin"] == pytest.approx(0.03)
    assert tests["p_equivalence"] == pytest.approx(0.0021320558228343747, rel=1e-9)


def test_false_equivalences_at_the_margin(generator: np.random.Generator) -> None:
    """A true difference of just the margin is called equivalent in 5 % of the samples."""
    differences = generator.normal(0.5, 1, (100, 4000))
    error = differences.std(axis=0, ddof=1) / 10
    called = p_equivalence(differences.mean(axis=0), error, 99, np.full(4000, 0.5)) < 0.05
    assert 0.04 < called.mean() < 0.06


def test_certain_differences() -> None:
    difference, error, margin = np.array([0.0, 0.0, 0.1, 0.3]), np.zeros(4), np.array([0.0, 0.2, 0.2, 0.2])
    assert p_equivalence(difference, error, 9, margin).tolist() == [1, 0, 0, 1]
    nothing = paired_tests(np.zeros(5), np.zeros(5))
    assert nothing["p_t"] == 1 and nothing["p_equivalence"] == 1 and nothing["detectable"] == 0


@pytest.mark.parametrize("value", [0, 1, -0.1, "much", None, True, float("nan")])
def test_margins_that_mean_nothing(value: object) -> None:
    with pytest.raises(MusicrecError, match=r"eval.margin=.*between 0 and 1"):
        check_margin(value)
