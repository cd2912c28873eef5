"""Hybrid: its loss by the formula, cold tracks, and the contract."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from musicrec.data.batches.base import BatchSource
from musicrec.data.interactions import SplitData
from musicrec.errors import MusicrecError
from musicrec.recommenders.hybrid import Hybrid
from musicrec.recommenders.networks.adapter import standardised
from tests.recommenders.conftest import made, planted
from tests.recommenders.contract import assert_recommender_contract


def test_contract(tmp_path: Path) -> None:
    assert_recommender_contract(partial(Hybrid, hidden_dim=8, batch_size=16), tmp_path)


def whole(source: BatchSource) -> Any:
    """Returns all users as one batch."""
    return source.make(torch.arange(source.size), torch.Generator())


def by_formula(model: Hybrid, table: np.ndarray, known: np.ndarray, target: np.ndarray) -> float:
    """Returns the mean over all entries of (normalise(x A Aᵀ − x) − normalise(y))²."""
    weights = {name: value.detach().double().numpy() for name, value in model.net.state_dict().items()}
    hidden = np.maximum(table @ weights["0.weight"].T + weights["0.bias"], 0)
    rows = hidden @ weights["3.weight"].T + weights["3.bias"]
    a = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    rebuilt = known @ a @ a.T - known
    rebuilt /= np.linalg.norm(rebuilt, axis=1, keepdims=True)
    target = target / np.linalg.norm(target, axis=1, keepdims=True)
    return float(((rebuilt - target) ** 2).mean())


@pytest.mark.parametrize("validate", ["history", "held_out"])
def test_losses_equal_the_formula(ten_rows: SplitData, plane: np.ndarray, validate: str) -> None:
    model = made(Hybrid, ten_rows, plane, hidden_dim=5, standardise=False, validate=validate).eval()
    train, val = model.sources()
    assert val is not None
    x = np.array([[1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 0], [1, 0, 0, 0, 1, 1], [0, 0, 0, 1, 0, 0]], dtype=float)
    table = plane[:6].astype(float)
    loss, size = model.loss(whole(train))
    assert size == 4 and float(loss.detach()) == pytest.approx(by_formula(model, table, x, x), rel=1e-5)
    held = np.array([[0, 0, 0, 1, 0, 0], [1, 0, 0, 0, 0, 0]], dtype=float)
    loss, size = model.loss(whole(val))
    known = x[:2] if validate == "history" else held
    assert size == 2 and float(loss.detach()) == pytest.approx(by_formula(model, table, known, held), rel=1e-5)


def test_cold_tracks_are_scored_by_their_audio_and_are_columns_on_request(
    ten_rows: SplitData, plane: np.ndarray
) -> None:
    train = replace(ten_rows.train, candidates=np.arange(7))
    data = replace(ten_rows, train=train)
    model = made(Hybrid, data, plane, hidden_dim=5)
    assert len(model.columns) == 6 and len(made(Hybrid, data, plane, hidden_dim=5, cold_columns=True).columns) == 7
    twin = plane.copy()
    twin[6] = plane[3]  # a cold track that sounds like track 3 lies where track 3 does
    items = made(Hybrid, data, twin, hidden_dim=5).item_vectors()
    np.testing.assert_allclose(items[6], items[3], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(items, axis=1), 1, rtol=1e-5)


def test_cold_tracks_of_a_split_have_columns_on_request(ten_rows: SplitData, plane: np.ndarray) -> None:
    data = replace(ten_rows, cold=np.array([6]))
    usual, study = (made(Hybrid, data, plane, hidden_dim=5, cold_columns=wanted) for wanted in (False, True))
    assert 6 not in usual.candidates[usual.columns] and 6 in study.candidates[study.columns]
    assert study.retriever(pool="warm").candidates.tolist() == usual.retriever(pool="warm").candidates.tolist()
    assert study.retriever(pool="cold").candidates.tolist() == [6]


def test_standardised_uses_the_rows_given() -> None:
    vectors = np.array([[1, 5], [3, 5], [9, 6]], dtype=np.float32)
    np.testing.assert_allclose(standardised(vectors, np.array([0, 1])), [[-1, 0], [1, 0], [7, 0]], atol=1e-6)


def test_it_learns_who_listens_to_what(fit: Callable[..., Any]) -> None:
    data, table = planted()
    model = made(Hybrid, data, table, hidden_dim=16, lr=0.01, batch_size=20)
    train, val = model.sources()
    assert val is not None
    before = [float(model.loss(whole(source))[0].detach()) for source in (train, val)]
    fit(model, 15)
    after = [float(model.loss(whole(source))[0].detach()) for source in (train, val)]
    # The tracks that a user did not draw from the crowd's ten bound it from below.
    assert after[0] < 0.6 * before[0] and after[1] < 0.8 * before[1]
    lists = model.recommend(np.arange(60), 3)[0]
    assert (lists % 3 == np.arange(60)[:, None] % 3).mean() > 0.95


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_dim": 0}, "recommender.hidden_dim=0 is invalid; must be a whole number from 1"),
        ({"dropout": 1.0}, "recommender.dropout=1.0 is invalid"),
        ({"validate": "train"}, "recommender.validate=train is invalid; must be history or held_out"),
        ({"batch_size": 0}, "recommender.batch_size=0 is invalid"),
    ],
)
def test_bad_values(ten_rows: SplitData, plane: np.ndarray, options: dict[str, Any], message: str) -> None:
    with pytest.raises(MusicrecError, match=message):
        made(Hybrid, ten_rows, plane, **options)


def test_equal_vectors_are_refused(ten_rows: SplitData) -> None:
    with pytest.raises(MusicrecError, match="all tracks of train have the same vector"):
        made(Hybrid, ten_rows, np.ones((7, 3), dtype=np.float32))
