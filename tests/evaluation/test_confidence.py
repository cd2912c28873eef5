"""Intervals against scipy and against each other."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from musicrec.evaluation.confidence import bootstrap_half_width, half_width, summary


def test_half_width_is_scipys_t_interval():
    values = np.random.default_rng(0).random(50)
    low, high = stats.t.interval(0.95, 49, loc=values.mean(), scale=stats.sem(values))
    assert half_width(values) == pytest.approx((high - low) / 2, rel=1e-12)


def test_one_value_has_no_interval():
    assert np.isnan(half_width(np.array([1.0]))) and np.isnan(bootstrap_half_width(np.array([1.0])))


def test_bootstrap_agrees_with_t_on_many_users_and_is_repeatable():
    values = np.random.default_rng(0).random((2000, 2))
    boot = bootstrap_half_width(values, samples=1000)
    np.testing.assert_allclose(boot, half_width(values), rtol=0.1)
    np.testing.assert_array_equal(boot, bootstrap_half_width(values, samples=1000))


def test_summary():
    scores = pd.DataFrame({"user_id": ["a", "b"], "NDCG@5": [0.0, 1.0], "MRR@5": [1.0, 1.0]})
    table = summary(scores)
    assert table.index.tolist() == ["mean", "conf"] and table.columns.tolist() == ["NDCG@5", "MRR@5"]
    assert table.loc["mean"].tolist() == [0.5, 1.0] and table.loc["conf", "MRR@5"] == 0.0
    assert 0 < summary(scores, bootstrap=200).loc["conf", "NDCG@5"] <= 0.5


def test_equal_values_have_no_spread():
    assert half_width(np.full(3, 0.10033402342311040)) == 0.0
