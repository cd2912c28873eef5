"""Intervals against scipy and against each other."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from musicrec.evaluation.confidence import bootstrap_interval, half_width, summary


def test_half_width_is_scipys_t_interval() -> None:
    values = np.random.default_rng(0).random(50)
    low, high = stats.t.interval(0.95, 49, loc=values.mean(), scale=stats.sem(values))
    assert half_width(values) == pytest.approx((high - low) / 2, rel=1e-12)


def test_one_value_has_no_interval() -> None:
    assert np.isnan(half_width(np.array([1.0])))
    assert np.isnan(bootstrap_interval(np.array([1.0]))).all()


def test_bootstrap_agrees_with_t_on_many_users_and_is_repeatable() -> None:
    values = np.random.default_rng(0).random((2000, 2))
    low, high = bootstrap_interval(values, samples=1000)
    np.testing.assert_allclose(high - values.mean(axis=0), half_width(values), rtol=0.1)
    np.testing.assert_allclose(values.mean(axis=0) - low, half_width(values), rtol=0.1)
    np.testing.assert_array_equal((low, high), bootstrap_interval(values, samples=1000))


def test_bootstrap_shows_skew_as_scipy_does() -> None:
    values = np.random.default_rng(0).exponential(size=30) ** 2
    low, high = bootstrap_interval(values, samples=20_000)
    expected = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=1).confidence_interval
    assert (low, high) == pytest.approx(tuple(expected), rel=0.03)
    assert high - values.mean() > 1.15 * (values.mean() - low)


def test_summary() -> None:
    scores = pd.DataFrame({"user_id": ["a", "b"], "NDCG@5": [0.0, 1.0], "MRR@5": [1.0, 1.0]})
    table = summary(scores)
    assert table.index.tolist() == ["mean", "conf"] and table.columns.tolist() == ["NDCG@5", "MRR@5"]
    assert table.to_numpy()[0].tolist() == [0.5, 1.0] and table["MRR@5"].loc["conf"] == 0.0
    resampled = summary(scores, bootstrap=200)["NDCG@5"]
    assert resampled.index.tolist() == ["mean", "conf", "low", "high"]
    assert resampled.tolist() == [0.5, 0.5, 0.0, 1.0]  # of two users, a quarter of the resamples has one twice


def test_equal_values_have_no_spread() -> None:
    assert half_width(np.full(3, 0.10033402342311040)) == 0.0
