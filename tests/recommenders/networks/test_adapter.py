"""Adapters and free item vectors, alone and in every recommender that has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from musicrec.data.interactions import SplitData
from musicrec.errors import MusicrecError
from musicrec.options import construct
from musicrec.recommenders.base import Inputs, VectorRecommender
from musicrec.recommenders.bert4rec import BERT4Rec
from musicrec.recommenders.hybrid import Hybrid
from musicrec.recommenders.inputs import Training
from musicrec.recommenders.networks.adapter import ADAPTERS, AudioSettings, ItemIds
from musicrec.recommenders.sasrec import SASRec
from musicrec.recommenders.shallow import Shallow
from tests.recommenders.conftest import made
from tests.recommenders.contract import assert_recommender_contract

TRANSFORMER = {"hidden_size": 16, "intermediate_size": 12, "max_seq_len": 15, "batch_size": 16, "head": "tied"}
KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "shallow": (Shallow, {"hidden_dim": 8, "batch_size": 100}),
    "bert": (BERT4Rec, TRANSFORMER),
    "sasrec": (SASRec, TRANSFORMER),
    "hybrid": (Hybrid, {"hidden_dim": 8, "batch_size": 16}),
}


@pytest.mark.parametrize("name", KINDS)
def test_contract_with_free_vectors(tmp_path: Path, name: str) -> None:
    kind, small = KINDS[name]
    # The other adapter than the default: two things tried in one go.
    options = {**small, "item_ids": "add", "id_dropout": 0.5, "adapter": "whiten" if name == "hybrid" else "mlp"}
    assert_recommender_contract(lambda inputs: construct(kind, options, "recommender", {"inputs": inputs}), tmp_path)


def ids_of(model: Any) -> ItemIds:
    ids = model.ids if isinstance(model, Hybrid) else model.net.ids
    assert isinstance(ids, ItemIds)
    return ids


@pytest.mark.parametrize("name", KINDS)
def test_free_vectors_start_at_zero_and_move_their_own_track_only(
    ten_rows: SplitData, plane: np.ndarray, name: str
) -> None:
    kind, options = KINDS[name]
    data = replace(ten_rows, cold=np.array([6]))
    without, model = (made(kind, data, plane, **options, item_ids=choice).eval() for choice in ("none", "add"))
    assert isinstance(without, VectorRecommender) and isinstance(model, VectorRecommender)
    before = without.item_vectors()
    np.testing.assert_array_equal(model.item_vectors(), before)
    assert without.state_dict().keys() < model.state_dict().keys()
    with torch.no_grad():
        ids_of(model).weight[2] = 0.5
    after = model.item_vectors()
    assert not np.allclose(after[2], before[2])
    np.testing.assert_array_equal(np.delete(after, 2, axis=0), np.delete(before, 2, axis=0))  # track 6 is cold


@pytest.mark.parametrize("name", KINDS)
def test_free_vectors_learn_what_audio_does_not_say(many: SplitData, fit: Callable[..., Any], name: str) -> None:
    kind, options = KINDS[name]
    silent = np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32)
    losses = {}
    for choice in ("none", "add"):
        model = made(kind, many, silent, **options, item_ids=choice, lr=0.02, monitor="train/loss")
        trainer = fit(model, 20, folder=f"{name}-{choice}")
        losses[choice] = float(trainer.callback_metrics["train/loss"])
        if choice == "add":
            assert bool(ids_of(model).weight.abs().sum(dim=1).gt(0).all())
    assert losses["add"] < 0.95 * losses["none"]


def test_dropout_leaves_whole_tracks_out_in_training_alone() -> None:
    ids = ItemIds(1000, 3, np.arange(999), dropout=0.25)
    with torch.no_grad():
        ids.weight.fill_(1)
    kept = ids(torch.zeros(1000, 3))
    assert set(kept.sum(dim=1).tolist()) == {0.0, 3.0}
    assert 0.7 < float((kept[:, 0] > 0).float().mean()) < 0.8
    ids.eval()
    assert ids(torch.zeros(1000, 3))[:, 0].tolist() == [1.0] * 999 + [0.0]  # nobody played the last one
    assert ids(torch.zeros(2, 3), torch.tensor([999, 5]))[:, 0].tolist() == [0.0, 1.0]


def test_cold_tracks_that_take_part_in_training_have_no_free_vector(
    ten_rows: SplitData, plane: np.ndarray, fit: Callable[..., Any]
) -> None:
    data = replace(ten_rows, cold=np.array([6]))
    training = Training(partial(torch.optim.Adam, lr=0.05), scheduler=None)
    inputs = Inputs(data, plane, training=training, cold_in_training=True)
    model = Shallow(inputs, hidden_dim=4, sample="user", audio=AudioSettings(item_ids="add"))
    assert model.net.ids is not None
    assert len(model.candidates) == 7
    fit(model, 3)
    assert not model.net.ids.weight[6].any() and model.net.ids.weight[:6].any(dim=1).all()


def test_free_vectors_count_in_the_penalty(ten_rows: SplitData, plane: np.ndarray) -> None:
    for l2_on, count in (("all", 6), ("batch", 3)):
        model = made(Shallow, ten_rows, plane, hidden_dim=4, l2=0.5, l2_on=l2_on, item_ids="add")
        batch = model.sources()[0].make(torch.arange(10), torch.Generator().manual_seed(0))
        batch = batch._replace(anchors=torch.tensor([0, 1, 1, 4]))
        with torch.no_grad():
            before = model.penalty(batch)
            ids_of(model).weight.fill_(1)
            assert float(model.penalty(batch) - before) == pytest.approx(0.5 * count * 4)


def test_adapters_by_hand() -> None:
    rng = np.random.default_rng(0)
    vectors, cold = rng.normal(size=(50, 4)) @ rng.normal(size=(4, 4)), rng.normal(size=(3, 4))
    rows = np.arange(40)
    for adapter in ("linear", "mlp"):
        same = AudioSettings(adapter).prepared(vectors, cold, rows)
        assert same[0] is vectors and same[1] is cold
    white, white_cold = AudioSettings("whiten").prepared(vectors, cold, rows)
    np.testing.assert_allclose(np.cov(white[rows].T, bias=True), np.eye(4), atol=1e-5)
    assert white_cold.shape == (3, 4) and not np.allclose(white_cold.mean(axis=0), 0, atol=1e-3)
    layers = {adapter: [type(layer).__name__ for layer in AudioSettings(adapter).layers(4, 6)] for adapter in ADAPTERS}
    assert layers == {"linear": ["Linear"], "mlp": ["Linear", "ReLU", "Dropout", "Linear"], "whiten": ["Linear"]}


@pytest.mark.parametrize("name", KINDS)
def test_every_adapter_gives_another_network(ten_rows: SplitData, plane: np.ndarray, name: str) -> None:
    kind, options = KINDS[name]
    default = "mlp" if name == "hybrid" else "linear"
    items = {}
    for adapter in ("linear", "mlp", "whiten"):
        model = made(kind, ten_rows, plane, **options, adapter=adapter)
        assert isinstance(model, VectorRecommender)
        items[adapter] = model.item_vectors()[:6]
    usual = made(kind, ten_rows, plane, **options)
    np.testing.assert_array_equal(items[default], usual.item_vectors()[:6])
    assert not np.allclose(items["linear"], items["mlp"]) and not np.allclose(items["linear"], items["whiten"])


def test_an_mlp_keeps_the_scale_of_the_input(many: SplitData, audio: np.ndarray) -> None:
    spread = {
        adapter: float(made(BERT4Rec, many, audio, hidden_size=256, adapter=adapter).net.item_vectors().detach().std())
        for adapter in ("linear", "mlp")
    }
    assert 0.5 < spread["mlp"] / spread["linear"] < 2


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"adapter": "conv"}, "recommender.adapter=conv is invalid; must be linear, mlp or whiten"),
        ({"item_ids": "yes"}, "recommender.item_ids='yes' is invalid; must be none or add"),
        ({"id_dropout": 1}, "recommender.id_dropout=1 is invalid; must be a finite number from 0 and below 1"),
        ({"id_dropout": float("nan")}, "recommender.id_dropout=nan is invalid"),
    ],
)
def test_bad_values(ten_rows: SplitData, plane: np.ndarray, name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(MusicrecError, match=message):
        made(KINDS[name][0], ten_rows, plane, **{**KINDS[name][1], **options})


@pytest.mark.parametrize("kind", [BERT4Rec, SASRec])
def test_without_an_embedding_there_is_nothing_to_adapt(
    ten_rows: SplitData, kind: Any, caplog: pytest.LogCaptureFixture
) -> None:
    model = made(kind, ten_rows, None, item_ids="add", adapter="mlp")
    assert model.state_dict().keys() == made(kind, ten_rows, None).state_dict().keys()
    assert "recommender.adapter=mlp has no effect without an embedding" in caplog.text
    assert "recommender.item_ids=add has no effect without an embedding: each track is a learnt vector" in caplog.text


def test_worlds_that_do_not_fit(ten_rows: SplitData, plane: np.ndarray) -> None:
    with pytest.raises(MusicrecError, match="recommender.adapter=mlp is invalid; must be linear or whiten with"):
        made(Shallow, ten_rows, plane, hidden_dim=0, adapter="mlp")
    with pytest.raises(MusicrecError, match="all tracks of train have the same vector"):
        made(Shallow, ten_rows, np.ones((7, 3), dtype=np.float32), adapter="whiten")
