"""Paired tests against scipy and hand values."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from musicrec.evaluation.statistics.significance import (
    critical_difference,
    holm,
    paired_tests,
    pairwise,
    worse_than_best,
)


def test_holm_is_monotone_and_at_most_one() -> None:
    np.testing.assert_allclose(holm(np.array([0.01, 0.02, 0.03, 0.005])), [0.03, 0.04, 0.04, 0.02])
    np.testing.assert_allclose(holm(np.array([0.9, 0.8])), [1.0, 1.0])
    assert len(holm(np.array([]))) == 0


def test_paired_tests(generator: np.random.Generator) -> None:
    first, second = generator.random(60), generator.random(60)
    got = paired_tests(first, second)
    assert got["p_t"] == pytest.approx(stats.ttest_rel(first, second).pvalue)
    # Without zero differences Pratt's method changes nothing.
    assert got["p_wilcoxon"] == pytest.approx(stats.wilcoxon(first, second).pvalue)
    interval = stats.ttest_rel(first, second).confidence_interval(0.95)
    assert (float(got["low"]), float(got["high"])) == pytest.approx(tuple(interval))
    assert got["effect"] == pytest.approx((first - second).mean() / (first - second).std(ddof=1))
    mirrored = paired_tests(second, first)
    assert mirrored["difference"] == -got["difference"] and mirrored["p_t"] == got["p_t"]


@pytest.mark.parametrize(("second", "p"), [(np.zeros(5), 1.0), (np.ones(5), 0.0)])
def test_systems_that_differ_nowhere_or_by_the_same_everywhere(second: np.ndarray, p: float) -> None:
    got = paired_tests(np.zeros(5), second)
    assert got["p_t"] == p and got["low"] == got["high"] == -second[0]


def test_a_constant_difference_that_rounding_spreads() -> None:
    first = np.array([0.3, 0.7, 0.1])
    assert paired_tests(first, first - 0.1)["p_t"] < 1e-10


def test_columns_are_tested_each_by_itself(generator: np.random.Generator) -> None:
    first, second = generator.random((30, 4)), generator.random((30, 4))
    second[:, 1] = first[:, 1]
    together = paired_tests(first, second)
    for column in range(4):
        alone = paired_tests(first[:, column], second[:, column])
        for name, values in together.items():
            assert values[column] == pytest.approx(float(alone[name])), name


def test_one_user_is_not_tested() -> None:
    got = paired_tests(np.array([1.0]), np.array([0.0]))
    assert (got["difference"], got["p_t"], got["effect"]) == (1.0, 1.0, 0.0) and np.isnan(got["low"])


@pytest.fixture
def scores(generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Two systems alike, one clearly better."""
    base = generator.random(300)
    return {"a": base, "b": base + generator.normal(0, 0.1, 300), "c": base + 0.3 + generator.normal(0, 0.1, 300)}


def test_pairwise_and_marks(scores: dict[str, np.ndarray]) -> None:
    pairs = pairwise(scores)
    assert pairs[["first", "second"]].to_numpy().tolist() == [["a", "b"], ["a", "c"], ["b", "c"]]
    raw = [stats.ttest_rel(scores[x], scores[y]).pvalue for x, y in (("a", "b"), ("a", "c"), ("b", "c"))]
    np.testing.assert_allclose(pairs["p_t"], holm(np.array(raw)))
    means = pd.Series({name: values.mean() for name, values in scores.items()})
    assert worse_than_best(means, pairs) == {"a", "b"}


def test_critical_difference(scores: dict[str, np.ndarray]) -> None:
    summary = critical_difference(scores, pairwise(scores))
    assert summary.ranks.index[0] == "c" and summary.groups == [sorted(summary.groups[0])] == [["a", "b"]]
    assert summary.ranks.sum() == pytest.approx(6) and summary.p_friedman < 1e-10


def test_groups_may_overlap_and_are_maximal() -> None:
    names = list("abcd")
    scores = {name: np.array([4.0 - place, 4.0 - place]) for place, name in enumerate(names)}
    pairs = pairwise(scores).assign(p_wilcoxon=[1, 1, 0.01, 1, 0.01, 1])  # only a-d and b-d differ
    assert critical_difference(scores, pairs).groups == [["a", "b", "c"], ["c", "d"]]


def test_one_system() -> None:
    pairs = pairwise({"a": np.ones(3)})
    assert pairs.empty and critical_difference({"a": np.ones(3)}, pairs).groups == []
    assert worse_than_best(pd.Series({"a": 1.0}), pairs) == set()
