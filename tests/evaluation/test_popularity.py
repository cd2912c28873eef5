"""Popularity bins against values worked out by hand."""

import numpy as np
import pandas as pd

from musicrec.evaluation.popularity import bin_pairs, popularity_bins


def train_of(counts: list[int]) -> pd.DataFrame:
    """Returns pairs in which track i has counts[i] users."""
    pairs = [(user, track) for track, count in enumerate(counts) for user in range(count)]
    return pd.DataFrame(pairs, columns=["user_id", "track_id"])


def test_head_and_tail_have_a_fifth_of_the_pairs() -> None:
    """20 tracks, 100 pairs: the head ends with the track that crosses 20 pairs, ties included."""
    counts = [12, 9, 9, *[5] * 10, *[2] * 10]  # 100 pairs
    bins = popularity_bins(train_of(counts), 24)
    assert bins.tolist() == [0, 0, 0, *[1] * 10, *[2] * 10, 2]


def test_equal_popularity_is_one_bin() -> None:
    assert set(popularity_bins(train_of([3, 3, 3]), 3).tolist()) == {0}
    assert popularity_bins(train_of([]), 2).tolist() == [2, 2]


def test_pairs_of_each_bin() -> None:
    truth = pd.DataFrame({"user_id": ["a", "a", "b"], "track_id": [0, 3, 3]})
    pairs = bin_pairs(truth, np.array([0, 1, 1, 2]))
    assert {name: rows["track_id"].tolist() for name, rows in pairs.items()} == {"head": [0], "tail": [3, 3]}
