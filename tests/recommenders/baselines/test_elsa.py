"""ELSA against the authors' package and a literal computation; its batches, bad input and cold tracks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from omegaconf import DictConfig

from musicrec.data.batches.base import BatchKey
from musicrec.data.interactions import Interactions, SplitData
from musicrec.errors import MusicrecError
from musicrec.options import construct
from musicrec.recommenders.base import Inputs
from musicrec.recommenders.baselines.elsa import ELSA
from musicrec.recommenders.trained import Training
from tests.recommenders.conftest import VAL, rows
from tests.recommenders.contract import assert_recommender_contract

# 13 users, 9 tracks.
PLAYED = np.array(
    [
        [0, 0, 0, 1, 1, 1, 0, 1, 1],
        [0, 0, 1, 0, 0, 0, 0, 1, 0],
        [0, 1, 0, 1, 0, 1, 0, 0, 1],
        [0, 0, 1, 0, 1, 0, 0, 1, 1],
        [0, 1, 1, 0, 0, 0, 1, 1, 0],
        [0, 0, 1, 1, 0, 1, 0, 1, 0],
        [1, 0, 0, 1, 0, 0, 0, 0, 1],
        [0, 1, 0, 0, 1, 0, 1, 1, 0],
        [1, 0, 0, 0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 1, 0, 1, 0],
        [0, 0, 0, 1, 0, 1, 0, 1, 0],
        [1, 0, 0, 1, 0, 1, 0, 0, 1],
        [0, 1, 0, 1, 1, 1, 1, 0, 0],
    ]
)
# What elsarec 0.1.4 has after fit(epochs=3, batch_size=5, shuffle=False) on PLAYED with n_dims 4, lr 0.1, started from
# np.random.default_rng(6).normal(size=(9, 4)): get_items_embeddings(), and the output for the first two users.
WEIGHT = np.array(
    [
        [1.337336, 2.202194, -2.119918, 0.342257],
        [0.691707, 0.866849, 1.169294, 1.728255],
        [0.572937, 0.972466, 0.664195, -0.550323],
        [-0.260338, 0.673694, 0.014021, 1.706100],
        [1.190163, 1.287989, 0.542199, 1.775171],
        [-0.143120, -0.145094, 0.625169, 0.793768],
        [-1.523023, -1.322250, 1.148843, -0.565882],
        [0.498077, 0.722437, 0.800123, 0.459874],
        [1.260038, 0.424704, 1.222794, 0.018003],
    ]
)
REBUILT = np.array(
    [
        [0.446922, 4.005739, 1.490022, 1.932141, 2.735305, 2.023759, -1.287620, 2.701591, 1.719410],
        [0.443399, 1.214827, 0.699985, 0.327674, 1.216134, 0.357903, -0.666095, 0.699985, 1.589917],
    ]
)
NADAM = Training(partial(torch.optim.NAdam, lr=0.1), scheduler=None, monitor="train/loss")


def split_of(played: np.ndarray) -> SplitData:
    pairs = [(int(user), int(item), 1, 1) for user, item in zip(*np.nonzero(played), strict=True)]
    return SplitData(Interactions.from_frame(rows(*pairs), played.shape[1]), {"val": VAL[:0], "test": VAL[:0]})


def elsa(data: SplitData, **options: Any) -> ELSA:
    return ELSA(Inputs(data, training=NADAM), **{"factors": 4, "batch_size": 5, "shuffle": False, **options})


def test_the_same_steps_as_elsarec_lead_to_the_same_weights(fit: Callable[..., Any]) -> None:
    model = elsa(split_of(PLAYED))
    start = np.random.default_rng(6).normal(size=(9, 4)).astype(np.float32)
    model.weight.data.copy_(torch.from_numpy(start))
    fit(model, epochs=3)
    np.testing.assert_allclose(model.weight.detach().numpy(), WEIGHT, atol=1e-5)
    vectors = model.encode_items().detach().numpy()
    users = model.encode_users(np.array([0, 1]), model.data.train).detach().numpy()
    np.testing.assert_allclose(users @ vectors.T - PLAYED[:2], REBUILT, atol=1e-5)


def test_loss_is_the_mean_squared_error_of_normalised_rows() -> None:
    model = elsa(split_of(PLAYED))
    source = model.sources()[0]
    loss, users = model.loss(source.batch(BatchKey(source, 0, 1, 0, 1), torch.device("cpu")))
    matrix = torch.tensor(PLAYED[5:10], dtype=torch.float32)
    vectors = F.normalize(model.weight, dim=1)
    expected = F.mse_loss(F.normalize(matrix @ vectors @ vectors.T - matrix, dim=1), F.normalize(matrix, dim=1))
    assert users == 5
    torch.testing.assert_close(loss, expected)


def test_val_loss_is_that_of_the_held_out_rows(ten_rows: SplitData) -> None:
    model = elsa(ten_rows)
    source = model.sources()[1]
    assert source is not None
    loss, users = model.loss(source.batch(BatchKey(source, 0, 0, 0, 1), torch.device("cpu")))
    vectors = F.normalize(model.weight, dim=1)
    known = torch.tensor([[1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 0]], dtype=torch.float32)
    held = torch.tensor([[0, 0, 0, 1, 0, 0], [1, 0, 0, 0, 0, 0]], dtype=torch.float32)
    rebuilt = known @ vectors @ vectors.T - known
    assert users == 2
    torch.testing.assert_close(loss, F.mse_loss(F.normalize(rebuilt, dim=1), held))


def test_users_are_shuffled_unless_told_otherwise(ten_rows: SplitData) -> None:
    def order(epoch: int, shuffle: bool) -> list[int]:
        source = elsa(ten_rows, batch_size=1, shuffle=shuffle).sources()[0]
        batches = [source.batch(BatchKey(source, epoch, number, 0, 1), torch.device("cpu")) for number in range(4)]
        return [int(batch.known.items.sum()) for batch in batches]

    assert order(0, False) == order(1, False) == [3, 9, 9, 3]
    assert sorted(order(0, True)) == [3, 3, 9, 9]
    assert len({tuple(order(epoch, True)) for epoch in range(6)}) > 1


def test_a_track_that_nobody_played_has_no_weight_and_no_score(ten_rows: SplitData) -> None:
    data = replace(ten_rows, train=replace(ten_rows.train, candidates=np.arange(7)))
    model = elsa(data)
    assert model.weight.shape == (6, 4)
    assert (model.item_vectors()[6] == 0).all()
    assert np.abs(model.item_vectors()[:6]).sum() > 0


def test_contract(tmp_path: Path) -> None:
    assert_recommender_contract(partial(ELSA, factors=6, batch_size=16), tmp_path)


def test_more_factors_than_tracks(ten_rows: SplitData, fit: Callable[..., Any]) -> None:
    model = elsa(ten_rows, factors=50)
    fit(model, epochs=2)
    ids, scores = model.recommend(np.arange(4), 10)
    assert (ids >= 0).sum(axis=1).tolist() == [3, 3, 3, 5]
    assert np.isfinite(scores[ids >= 0]).all()


@pytest.mark.parametrize(
    ("option", "allowed"), [("factors", "a whole number from 1"), ("batch_size", "a whole number from 1")]
)
def test_wrong_values_are_refused(ten_rows: SplitData, option: str, allowed: str) -> None:
    with pytest.raises(MusicrecError, match=f"recommender.{option}=0 is invalid; must be {allowed}"):
        construct(ELSA, {option: 0}, "recommender", {"inputs": Inputs(ten_rows)})


def test_the_yaml_is_that_of_the_study(compose: Callable[..., DictConfig]) -> None:
    cfg = compose("recommender=elsa")
    chosen = cfg.recommender
    assert (chosen.factors, chosen.batch_size, chosen.max_epochs, chosen.shuffle) == (768, 128, 10, True)
    assert (cfg.optimizer._target_, cfg.optimizer.lr) == ("torch.optim.NAdam", 0.1)
    assert not cfg.scheduler
