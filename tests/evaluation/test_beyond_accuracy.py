"""Beyond-accuracy metrics against hand values, the pairwise definition and rs-metrics."""

import numpy as np
import pandas as pd
import pytest
import rs_metrics

from musicrec.evaluation.beyond_accuracy import (
    Listening,
    artist_diversity,
    coverage,
    diversity,
    gini,
    long_tail,
    novelty,
    popularity_lift,
)
from musicrec.evaluation.metrics import ranked_lists

TRAIN = pd.DataFrame({"user_id": list("aaabbc"), "track_id": [0, 1, 2, 0, 1, 0]})
LISTENING = Listening.from_train(TRAIN)


def test_listening() -> None:
    assert LISTENING.users == 3
    np.testing.assert_allclose(LISTENING.popularity, [1, 2 / 3, 1 / 3])
    np.testing.assert_allclose(LISTENING.profiles[["a", "c"]], [2 / 3, 1])


def test_hand_values() -> None:
    items = np.array([[0, 2], [5, -1], [-1, -1]])
    assert coverage(items, np.arange(3)) == pytest.approx(2 / 3)
    np.testing.assert_allclose(novelty(items, LISTENING), [np.log2(3) / 2, np.log2(3), np.nan])
    # lists: (1 + 1/3) / 2 and 0; profiles of a and b: 2/3 and 5/6; c has no list
    lift = popularity_lift(items, np.array(["a", "b", "c"]), LISTENING)
    assert lift == pytest.approx((2 / 3 + 0) / (2 / 3 + 5 / 6) - 1)


def test_equals_rs_metrics(generator: np.random.Generator) -> None:
    train = pd.DataFrame({"user_id": generator.integers(0, 50, 400), "track_id": generator.integers(0, 30, 400)})
    train = train.drop_duplicates()
    lists = pd.DataFrame(
        [(user, item, rank) for user in range(50) for rank, item in enumerate(generator.permutation(35)[:12], 1)],
        columns=["user_id", "item_id", "rank"],
    )
    truth = pd.DataFrame({"user_id": range(50), "track_id": 0})
    items = ranked_lists(truth, lists, 10).items
    listening = Listening.from_train(train)
    log = train.rename(columns={"track_id": "item_id"})
    assert novelty(items, listening).mean() == pytest.approx(rs_metrics.surprisal(log, lists, k=10), rel=1e-12)
    mean_popularity = np.mean(listening.shares(items))
    assert mean_popularity == pytest.approx(rs_metrics.popularity(log, lists, k=10), rel=1e-12)
    candidates = train.track_id.unique()
    assert coverage(items, candidates) == rs_metrics.coverage(candidates, lists, k=10)


def test_diversity_is_the_mean_over_pairs(generator: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("musicrec.evaluation.beyond_accuracy._BLOCK", 4 * 5 * 3 * 2)  # two users a block
    vectors = generator.normal(size=(12, 3)).astype(np.float32)
    vectors[4] = np.nan
    items = np.array([generator.permutation(12)[:5] for _ in range(5)])
    items[0, 3:], items[1], items[2] = -1, [7, -1, -1, -1, -1], [4, 6, -1, -1, -1]
    expected = []
    for row in items:
        kept = vectors[[item for item in row if item not in (-1, 4)]]
        units = kept / np.linalg.norm(kept, axis=1, keepdims=True)
        upper = np.triu_indices(len(kept), 1)
        expected.append(1 - (units @ units.T)[upper].mean() if len(kept) > 1 else np.nan)
    np.testing.assert_allclose(diversity(items, vectors), expected, atol=1e-6)


def test_gini_is_half_the_relative_mean_difference(generator: np.random.Generator) -> None:
    """Over all pairs of candidates, those that are in no list included; other tracks do not count."""
    candidates = np.arange(3, 30)
    items = np.array([generator.permutation(35)[:8] for _ in range(20)])
    items[0, 5:] = -1
    counts = np.array([(items == candidate).sum() for candidate in candidates])
    differences = np.abs(counts[:, None] - counts[None, :]).mean()
    assert gini(items, candidates) == pytest.approx(differences / (2 * counts.mean()))
    assert gini(np.array([[1, 2], [3, 4]]), np.arange(1, 5)) == 0
    assert gini(np.array([[1], [1]]), np.arange(100)) == pytest.approx(0.99)
    assert np.isnan(gini(np.array([[-1]]), candidates)) and np.isnan(gini(items, np.empty(0, dtype=int)))


def test_share_of_the_long_tail() -> None:
    items = np.array([[0, 1, 2], [2, 9, -1], [-1, -1, -1]])
    np.testing.assert_allclose(long_tail(items, np.array([False, False, True])), [1 / 3, 1, np.nan])


def test_artists_of_a_list() -> None:
    artists = np.array([5, 5, 6, -1])
    items = np.array([[0, 1, 2], [0, 1, 3], [3, 9, -1], [2, 0, -1]])
    np.testing.assert_allclose(artist_diversity(items, artists), [2 / 3, 1 / 2, np.nan, 1])
