"""Chance levels against hand values and against thousands of random lists."""

import numpy as np
import pandas as pd
import pytest

from musicrec.evaluation.metrics import metric_columns, per_user
from musicrec.evaluation.protocols.chance import chance_level, expected_metrics


def test_the_study_of_2026() -> None:
    """50 of 589 cold tracks, and 50 of 55,262 warm ones."""
    cold, hot = (expected_metrics(np.array([pool]), np.array([3]), np.array([3]), 50) for pool in (589, 55_262))
    assert cold["Recall@50"][0] == pytest.approx(50 / 589) == pytest.approx(0.0849, abs=1e-4)
    assert hot["Recall@50"][0] == pytest.approx(0.0009, abs=1e-4)


def test_hand_values() -> None:
    """Two of four tracks in a list of two: P(no hit) = 2/4 · 1/3."""
    level = expected_metrics(np.array([4]), np.array([2]), np.array([5]), 2)
    assert level["HitRate@2"][0] == pytest.approx(5 / 6)
    assert level["MRR@2"][0] == pytest.approx(1 / 2 + (1 / 2 - 1 / 6) / 2)
    assert level["Precision@2"][0] == 0.5 and level["Recall@2"][0] == pytest.approx(1 / 5)
    assert level["NDCG@2"][0] == pytest.approx(0.5)
    nothing = expected_metrics(np.array([0]), np.array([0]), np.array([1]), 2)
    assert [value[0] for value in nothing.values()] == [0] * 5
    shorter = expected_metrics(np.array([3]), np.array([3]), np.array([3]), 10)
    assert [value[0] for value in shorter.values()] == pytest.approx([1] * 5)


@pytest.mark.parametrize("repeat", [False, True])
def test_equals_random_lists(generator: np.random.Generator, repeat: bool) -> None:
    train = pd.DataFrame([(user, track) for user in "abc" for track in range(12) if (ord(user) + track) % 3 == 1])
    train.columns = ["user_id", "track_id"]
    pairs = [("a", 0), ("a", 4), ("a", 10), ("b", 3), ("c", 5), ("c", 30), ("nobody", 2)]
    truth = pd.DataFrame(pairs, columns=["user_id", "track_id"])
    candidates = np.arange(11)
    level = chance_level(truth, candidates, train, 4, repeat=repeat)
    assert list(level) == metric_columns(4)
    means = []
    for _ in range(3000):
        rows = []
        for user in "abc":
            seen = set() if repeat else set(train[train.user_id == user].track_id)
            free = [track for track in candidates.tolist() if track not in seen]
            rows += [(user, track, rank) for rank, track in enumerate(generator.permutation(free)[:4], 1)]
        lists = pd.DataFrame(rows, columns=["user_id", "item_id", "rank"])
        means.append(per_user(truth, lists, 4).drop(columns="user_id").mean())
    sampled = pd.DataFrame(means)
    error = 4 * sampled.std() / len(sampled) ** 0.5
    assert ((sampled.mean() - pd.Series(level)).abs() < error).all()
