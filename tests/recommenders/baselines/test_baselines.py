"""Popularity, ItemKNN, iALS and EASE: answers by hand, the library implicit, the closed form, bad input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from musicrec.data.interactions import Interactions, SplitData
from musicrec.errors import MusicrecError
from musicrec.options import construct
from musicrec.recommenders.base import Inputs, Recommender
from musicrec.recommenders.baselines.ease import EASE
from musicrec.recommenders.baselines.elsa import ELSA
from musicrec.recommenders.baselines.ials import IALS, solve
from musicrec.recommenders.baselines.itemknn import ItemKNN, nearest
from musicrec.recommenders.baselines.played import Played
from musicrec.recommenders.baselines.popularity import Popularity
from tests.recommenders.baselines.test_elsa import PLAYED, split_of
from tests.recommenders.conftest import VAL, rows
from tests.recommenders.contract import assert_recommender_contract

# What implicit 0.7.3 has for PLAYED. AlternatingLeastSquares(factors=3, regularization=0.5, alpha=5, iterations=4,
# use_cg=False), started from np.random.default_rng(6).normal(size=(9, 3)): item_factors. Its alpha is our 1 + alpha.
ITEM_FACTORS = np.array(
    [
        [0.060966, 0.589495, -1.103951],
        [-0.758404, 0.431994, 0.431863],
        [-0.050116, 0.789331, 0.902616],
        [-0.012555, 1.26707, -0.702388],
        [-0.867126, 0.36966, 0.169406],
        [0.20561, 1.401586, -0.413424],
        [-0.575027, 0.295148, 0.720764],
        [0.101752, 1.451391, 0.509111],
        [-0.818291, 0.457994, -0.877737],
    ]
)
# recommend(0, …, recalculate_user=True): the best four for the first user.
BEST = {1: 0.696200, 0: 0.565979, 2: 0.447423, 6: 0.440257}
# CosineRecommender(K=4).similarity without the diagonal; the neighbour with the higher index of an equal pair (rows 1
# and 2) is replaced by that with the lower one, which is our rule.
SIMILAR = np.array(
    [
        [0, 0, 0, 0.436436, 0, 0.218218, 0, 0, 0.516398],
        [0, 0, 0, 0.377964, 0.5, 0, 0.866025, 0, 0],
        [0, 0.25, 0, 0, 0, 0, 0.288675, 0.666667, 0],
        [0.436436, 0, 0, 0, 0, 0.857143, 0, 0, 0.676123],
        [0, 0.5, 0, 0, 0, 0, 0.57735, 0.5, 0],
        [0, 0, 0, 0.857143, 0, 0, 0, 0.503953, 0.507093],
        [0, 0.866025, 0, 0, 0.57735, 0, 0, 0.3849, 0],
        [0, 0, 0.666667, 0, 0.5, 0.503953, 0, 0, 0],
        [0.516398, 0, 0, 0.676123, 0, 0.507093, 0, 0, 0],
    ]
)
ALL = pytest.mark.parametrize(
    "make",
    [
        pytest.param(Popularity, id="popularity"),
        pytest.param(partial(ItemKNN, neighbours=5), id="itemknn"),
        pytest.param(partial(ItemKNN, neighbours=1000, shrinkage=0), id="itemknn-all"),
        pytest.param(partial(IALS, factors=6), id="ials"),
        pytest.param(partial(IALS, factors=50, l2=1.0), id="ials-factors-above-items"),
        pytest.param(EASE, id="ease"),
    ],
)


@ALL
def test_contract(make: Callable[[Inputs], Recommender], tmp_path: Path) -> None:
    assert_recommender_contract(make, tmp_path)


def test_popularity_counts_distinct_users(ten_rows: SplitData) -> None:
    ids, scores = Popularity(Inputs(ten_rows)).recommend(np.arange(4), 6)
    # Tracks 0, 2, 3, 4 have two users each, 1 and 5 one; plays do not count.
    assert ids.tolist() == [
        [3, 4, 5, -1, -1, -1],
        [0, 1, 5, -1, -1, -1],
        [2, 3, 1, -1, -1, -1],
        [0, 2, 4, 1, 5, -1],
    ]
    assert scores[3, :5].tolist() == [2, 2, 2, 1, 1]


def test_itemknn_is_that_of_implicit() -> None:
    data = split_of(PLAYED)
    matrix = Played.of(data.train, np.arange(9)).matrix(data.train, np.arange(13))
    np.testing.assert_allclose(nearest(matrix, 3, 0.0).toarray(), SIMILAR, atol=1e-6)
    ids, scores = ItemKNN(Inputs(data), neighbours=3, shrinkage=0.0).recommend(np.array([0]), 9)
    expected = SIMILAR[PLAYED[0] == 1].sum(axis=0)
    assert ids[0, :4].tolist() == [0, 2, 6, 1]
    np.testing.assert_allclose(scores[0, :4], expected[[0, 2, 6, 1]], atol=1e-6)


def test_shrinkage_prefers_what_many_have_in_common() -> None:
    played = np.array([[1, 1, 0, 0, 0], [0, 0, 1, 1, 1], [0, 0, 0, 1, 1]])
    data = split_of(played)
    similar = nearest(Played.of(data.train, np.arange(5)).matrix(data.train, np.arange(3)), 4, 2.0).toarray()
    assert similar[0, 1] == pytest.approx(1 / (1 + 2))
    assert similar[3, 4] == pytest.approx(2 / (2 + 2))
    assert similar[2, 3] == pytest.approx(1 / (2**0.5 + 2))


def test_ials_takes_the_steps_of_implicit() -> None:
    data = split_of(PLAYED)
    by_user = Played.of(data.train, np.arange(9)).sequences(data.train, np.arange(13))
    swapped = split_of(PLAYED.T)
    by_item = Played.of(swapped.train, np.arange(13)).sequences(swapped.train, np.arange(9))
    items = torch.from_numpy(np.random.default_rng(6).normal(size=(9, 3)))
    for _ in range(4):
        items = solve(by_item, solve(by_user, items, alpha=4.0, l2=0.5), alpha=4.0, l2=0.5)
    np.testing.assert_allclose(items.numpy(), ITEM_FACTORS, atol=1e-5)

    model = IALS(Inputs(data), factors=3, alpha=4.0, l2=0.5)
    model.items = items.float()
    ids, scores = model.recommend(np.array([0]), 4)
    assert ids[0].tolist() == list(BEST)
    np.testing.assert_allclose(scores[0], list(BEST.values()), atol=1e-5)


def test_ials_descends() -> None:
    def objective(iterations: int) -> float:
        model = IALS(Inputs(split_of(PLAYED)), factors=4, alpha=3.0, l2=0.5, iterations=iterations)
        users, items = model.user_vectors(), model.item_vectors()
        errors = (1 + 3 * PLAYED) * (PLAYED - users @ items.T) ** 2
        return float(errors.sum() + 0.5 * (users**2).sum() + 0.5 * (items**2).sum())

    values = [objective(iterations) for iterations in (1, 2, 4, 8)]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.9 * values[0]


def test_ease_is_the_closed_form() -> None:
    model = EASE(Inputs(split_of(PLAYED)), l2=2.0)
    inverse = np.linalg.inv(PLAYED.T @ PLAYED + 2 * np.eye(9))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    np.testing.assert_allclose(model.weights.numpy(), weights, atol=1e-6)
    scores = model.score(np.arange(13), model.data.train).numpy()
    np.testing.assert_allclose(scores, PLAYED @ weights, atol=1e-5)


def test_ease_solves_its_regression() -> None:
    """Each column of B is the ridge regression of a track on the others."""
    weights = EASE(Inputs(split_of(PLAYED)), l2=2.0).weights.numpy()
    for item in range(9):
        others = np.delete(np.arange(9), item)
        features = PLAYED[:, others].astype(float)
        expected = np.linalg.solve(features.T @ features + 2 * np.eye(8), features.T @ PLAYED[:, item])
        np.testing.assert_allclose(weights[others, item], expected, atol=1e-6)


def test_the_matrix_of_ease_is_made_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = EASE(Inputs(split_of(PLAYED)), l2=2.0).weights
    monkeypatch.setattr("musicrec.recommenders.baselines.ease._BLOCK_BYTES", 8 * 9 * 2)
    torch.testing.assert_close(EASE(Inputs(split_of(PLAYED)), l2=2.0).weights, whole)


def test_ease_refuses_a_catalogue_that_is_too_large() -> None:
    train = Interactions.from_frame(rows((1, 0, 1, 1)), num_tracks=200_000)
    everything = replace(
        train,
        users=np.zeros(200_000, dtype=np.int64),
        items=np.arange(200_000),
        counts=np.ones(200_000, dtype=np.int64),
        timestamps=np.repeat(train.timestamps, 200_000),
        candidates=np.arange(200_000),
    )
    with pytest.raises(
        MusicrecError,
        match=r"200,000 × 200,000 tracks \(149.0 GiB\).*max_items=60000.*recommender=elsa, ials or itemknn",
    ):
        EASE(Inputs(SplitData(everything, {"val": VAL, "test": VAL})))


def test_ease_refuses_a_matrix_that_does_not_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = Inputs(split_of(PLAYED))
    monkeypatch.setattr("musicrec.recommenders.baselines.ease.available_memory", lambda: 4 * 9 * 9 - 1)
    with pytest.raises(MusicrecError, match="9 × 9 tracks .*, but only 0.0 GiB of memory are available: use recommend"):
        EASE(inputs)
    for enough in (4 * 9 * 9, None):
        monkeypatch.setattr("musicrec.recommenders.baselines.ease.available_memory", lambda enough=enough: enough)
        assert EASE(inputs).weights.shape == (9, 9)


@pytest.mark.parametrize("kind", [Popularity, ItemKNN, EASE])
def test_a_cold_track_cannot_be_recommended(ten_rows: SplitData, kind: type[Recommender]) -> None:
    data = replace(ten_rows, train=replace(ten_rows.train, candidates=np.arange(7)))
    ids, _ = kind(Inputs(data)).recommend(np.arange(4), 7)
    assert (ids >= 0).sum(axis=1).tolist() == [3, 3, 3, 5]
    assert 6 not in ids


def test_the_vectors_of_cold_tracks_are_zero(ten_rows: SplitData) -> None:
    data = replace(ten_rows, train=replace(ten_rows.train, candidates=np.arange(7)))
    vectors = IALS(Inputs(data), factors=3).item_vectors()
    assert (vectors[6] == 0).all() and np.abs(vectors[:6]).min() > 0


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (EASE, {"l2": 0}, "recommender.l2=0 is invalid; must be a finite number above 0"),
        (EASE, {"max_items": 0}, "recommender.max_items=0 is invalid; must be a whole number from 1"),
        (ItemKNN, {"neighbours": 0}, "recommender.neighbours=0 is invalid; must be a whole number from 1"),
        (ItemKNN, {"shrinkage": -1}, "recommender.shrinkage=-1 is invalid; must be a finite number from 0"),
        (IALS, {"factors": 0}, "recommender.factors=0 is invalid; must be a whole number from 1"),
        (IALS, {"alpha": 0}, "recommender.alpha=0 is invalid; must be a finite number above 0"),
        (IALS, {"l2": 0}, "recommender.l2=0 is invalid; must be a finite number above 0"),
        (IALS, {"iterations": 0}, "recommender.iterations=0 is invalid; must be a whole number from 1"),
    ],
)
def test_wrong_values_are_refused(
    ten_rows: SplitData, kind: Callable[..., Recommender], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(MusicrecError, match=message):
        construct(kind, options, "recommender", {"inputs": Inputs(ten_rows)})


@pytest.mark.parametrize("kind", [Popularity, ItemKNN, IALS, EASE, ELSA])
def test_they_stand_in_one_table_and_read_no_embedding(kind: type[Recommender]) -> None:
    assert (kind.table, kind.needs) == ("baselines", "nothing")
