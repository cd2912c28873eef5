"""Bimodal: its losses by the formulas, its three tables, cold tracks, bad input, and the contract."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from musicrec.config import option
from musicrec.data.interactions import SplitData
from musicrec.errors import MusicrecError
from musicrec.options import construct
from musicrec.recommenders.base import Inputs
from musicrec.recommenders.baselines.elsa import ELSA
from musicrec.recommenders.bimodal import ELSA_DEFAULTS, OUTPUTS, Bimodal
from musicrec.recommenders.knn import KNN
from musicrec.recommenders.networks.contrastive import LOSSES
from tests.recommenders.conftest import made, planted
from tests.recommenders.contract import assert_recommender_contract
from tests.recommenders.networks.test_contrastive import by_formula

SMALL_ELSA = {"factors": 8, "max_epochs": 3, "batch_size": 16}


@pytest.mark.parametrize("output", OUTPUTS)
def test_contract(tmp_path: Path, output: Any) -> None:
    assert_recommender_contract(partial(Bimodal, hidden_dim=12, elsa=SMALL_ELSA, output=output), tmp_path)


def test_the_defaults_are_those_of_the_yaml() -> None:
    written = option("recommender", "bimodal")
    assert written["elsa"] == {key: option("recommender", "elsa")[key] for key in written["elsa"]}
    assert {key: written["elsa"][key] for key in ELSA_DEFAULTS} == ELSA_DEFAULTS
    keywords = inspect.signature(Bimodal).parameters
    own = {name: keywords[name].default for name in keywords if name not in ("inputs", "elsa")}
    assert {name: written[name] for name in own} == own


def tower(net: torch.nn.Module, rows: np.ndarray) -> np.ndarray:
    """Returns the outputs of Linear + ReLU + Linear."""
    weights = {name: value.detach().double().numpy() for name, value in net.state_dict().items()}
    hidden = np.maximum(rows @ weights["0.weight"].T + weights["0.bias"], 0)
    outputs: np.ndarray = hidden @ weights["3.weight"].T + weights["3.bias"]
    return outputs


def unit(rows: np.ndarray) -> np.ndarray:
    lengths: np.ndarray = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / lengths


def elsa(data: SplitData) -> ELSA:
    return made(ELSA, data, factors=3)


def given(data: SplitData, table: np.ndarray, **options: Any) -> Bimodal:
    """Returns a Bimodal beside an untrained ELSA."""
    inputs = Inputs(data, table, companion=elsa(data))
    return construct(Bimodal, {"hidden_dim": 5, **options}, "recommender", {"inputs": inputs}).eval()


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("loss", LOSSES)
def test_losses_equal_the_formula(ten_rows: SplitData, plane: np.ndarray, loss: str, symmetric: bool) -> None:
    model = given(ten_rows, plane, loss=loss, symmetric=symmetric, standardise=False, temperature=0.3)
    train, val = model.sources()
    assert val is not None and train.size == val.size == 6
    listening = elsa(ten_rows).weight.detach().double().numpy()  # rows as they are, not of length 1
    a, c = unit(tower(model.content, plane[:6])), unit(tower(model.collaborative, listening))
    expected = by_formula(loss, a, c, 0.3) + (by_formula(loss, c, a, 0.3) if symmetric else 0)
    value, size = model.loss(torch.arange(6))
    assert size == 6 and float(value.detach()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("normalise", [True, False])
def test_the_three_tables(ten_rows: SplitData, plane: np.ndarray, normalise: bool) -> None:
    options = {"standardise": False, "normalise_outputs": normalise}
    model = given(ten_rows, plane, **options)
    scaled: Callable[[np.ndarray], np.ndarray] = unit if normalise else lambda rows: rows
    content = scaled(tower(model.content, plane[:6]))
    listening = scaled(tower(model.collaborative, elsa(ten_rows).weight.detach().double().numpy()))
    tables = {"content": content, "collaborative": listening, "average": scaled((content + listening) / 2)}
    for output, table in tables.items():
        model = given(ten_rows, plane, output=output, **options)
        np.testing.assert_allclose(model.item_vectors()[:6], table, atol=1e-6)
        np.testing.assert_allclose(model.user_vectors()[1], table[[2, 3, 4]].mean(axis=0), atol=1e-6)
        assert (model.table, model.title) == (f"bimodal_{output}", f"Bimodal {output}")
    assert (Bimodal.table, Bimodal.title) == ("bimodal", "Bimodal")


def test_both_sides_are_standardised_by_the_tracks_of_train(ten_rows: SplitData, plane: np.ndarray) -> None:
    data = replace(ten_rows, cold=np.array([6]))
    model = given(data, plane)
    mean, spread = plane[:6].mean(axis=0), plane[:6].std(axis=0)
    np.testing.assert_allclose(model.items.weight, (plane[:6] - mean) / spread, atol=1e-6)
    np.testing.assert_allclose(model.cold_items.weight, (plane[6:] - mean) / spread, atol=1e-5)
    np.testing.assert_allclose(model.listening.weight.mean(dim=0), 0, atol=1e-6)
    np.testing.assert_allclose(model.listening.weight.std(dim=0, correction=0), 1, atol=1e-5)


def test_cold_tracks_have_the_vectors_of_the_audio_tower(ten_rows: SplitData, plane: np.ndarray) -> None:
    twin = plane.copy()
    twin[6] = plane[3]
    data = replace(ten_rows, cold=np.array([6]))
    for output in ("content", "average"):
        items, cold = (given(data, twin, output=kind).item_vectors() for kind in ("content", output))
        np.testing.assert_allclose(cold[6], items[3], atol=1e-6)
    model = given(data, twin, output="collaborative")
    assert model.cold_obstacle == "nobody has played them; use recommender.output=content or average"
    assert np.isnan(model.item_vectors()[6]).all()


def test_elsa_may_know_tracks_without_an_embedding(ten_rows: SplitData, plane: np.ndarray) -> None:
    whole = elsa(ten_rows)
    table = plane.copy()
    table[1] = np.nan
    data = ten_rows.without_items(np.isnan(table[:, 0]))
    model = Bimodal(Inputs(data, table, companion=whole), hidden_dim=5, standardise=False)
    np.testing.assert_array_equal(model.listening.weight, whole.weight.detach()[[0, 2, 3, 4, 5]])


def test_the_same_seed_trains_the_same_elsa(many: SplitData, audio: np.ndarray) -> None:
    first, second, other = (
        made(Bimodal, many, audio, seed=seed, elsa=SMALL_ELSA).listening.weight for seed in (1, 1, 2)
    )
    assert torch.equal(first, second) and not torch.equal(first, other)


def test_it_learns_to_find_each_track_by_its_sound(fit: Callable[..., Any]) -> None:
    data, table = planted()
    model = made(Bimodal, data, table, hidden_dim=16, lr=0.01, elsa={**SMALL_ELSA, "max_epochs": 10})
    before = float(model.loss(torch.arange(30))[0].detach())
    fit(model, 60)
    assert float(model.loss(torch.arange(30))[0].detach()) < 0.5 * before
    audio, listening = (torch.nn.functional.normalize(each, dim=1) for each in sides(model))
    near = (audio @ listening.T).argmax(dim=1)
    assert (near % 3 == torch.arange(30) % 3).float().mean() > 0.95  # of the same crowd


def sides(model: Bimodal) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.no_grad():
        return model.content(model.items.weight), model.collaborative(model.listening.weight)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "audio"}, "recommender.output=audio is invalid; must be content, collaborative or average"),
        ({"loss": "DCL"}, "recommender.loss=DCL is invalid; must be adcl, dcl or infonce"),
        ({"temperature": 0}, "recommender.temperature=0 is invalid; must be a finite number above 0"),
        ({"temperature": float("nan")}, "recommender.temperature=nan is invalid"),
        ({"hidden_dim": 0}, "recommender.hidden_dim=0 is invalid; must be a whole number from 1"),
        ({"dropout": 1}, "recommender.dropout=1 is invalid"),
        ({"batch_size": 1}, "recommender.batch_size=1 is invalid; must be a whole number from 2"),
    ],
)
def test_bad_values(ten_rows: SplitData, plane: np.ndarray, options: dict[str, Any], message: str) -> None:
    with pytest.raises(MusicrecError, match=message):
        given(ten_rows, plane, **options)


def test_worlds_without_anything_to_align_are_refused(ten_rows: SplitData, plane: np.ndarray) -> None:
    with pytest.raises(MusicrecError, match="all tracks of train have the same vector"):
        given(ten_rows, np.ones((7, 3), dtype=np.float32))
    one = ten_rows.without_items(np.arange(7) != 2)
    with pytest.raises(MusicrecError, match="bimodal needs two tracks to tell apart"):
        given(one, plane)
    with pytest.raises(MusicrecError, match="bimodal needs an ELSA, but was given KNN"):
        Bimodal(Inputs(ten_rows, plane, companion=made(KNN, ten_rows, plane)))
