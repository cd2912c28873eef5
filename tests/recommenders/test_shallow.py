"""Shallow: one step computed by hand, every hyper-parameter changes what it should, resumed runs are identical."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from musicrec.data.batches.base import BatchKey
from musicrec.data.batches.pairs import PairBatch
from musicrec.data.interactions import Interactions, SplitData
from musicrec.errors import MusicrecError
from musicrec.recommenders.networks.embedding_table import EmbeddingTable
from musicrec.recommenders.networks.shallow import ShallowNet, sampled_products
from musicrec.recommenders.shallow import Shallow, hinge
from tests.recommenders.conftest import made, rows


def first_batch(model: Shallow, epoch: int = 0) -> PairBatch:
    source = model.sources()[0]
    batch: PairBatch = source.batch(BatchKey(source, epoch, 0, 0, 1), torch.device("cpu"))
    return batch


def test_hinge_by_hand() -> None:
    positive = torch.tensor([0.9, 0.1])
    negative = torch.tensor([[0.5, 0.8], [0.0, 0.4]])
    # max(0, 0.2 − 0.9 + 0.5) = 0, 0.1;  0.1, 0.5 weighted by 3.
    assert hinge(positive, negative, torch.tensor([1.0, 3.0]), 0.2).item() == pytest.approx((0 + 0.1 + 0.3 + 1.5) / 4)


def test_loss_of_one_step_by_hand(ten_rows: SplitData, plane: np.ndarray) -> None:
    model = made(Shallow, ten_rows, plane, hidden_dim=2, neg_samples=2)
    with torch.no_grad():
        projection = model.net.projection.get_submodule("0")
        assert isinstance(projection, torch.nn.Linear)
        projection.weight.copy_(torch.eye(2))
        projection.bias.zero_()
    # Users start at the mean of their items: (4/3, 1/3), (1/3, 5/3), (0, 1), (0, 1); track 0 is (1, 0), 3 is (0, 1).
    batch = PairBatch(torch.tensor([0, 3]), torch.tensor([0, 1]), torch.tensor([[1, 3], [0, 2]]), torch.ones(2))
    loss, size = model.loss(batch)
    positive = [4 / np.sqrt(17), 5 / np.sqrt(26)]
    negative = [[1 / np.sqrt(26), 0], [1 / np.sqrt(17), 1]]
    expected = np.mean([max(0, 0.2 - positive[row] + value) for row in range(2) for value in negative[row]])
    assert size == 2
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_hidden_dim_zero_compares_the_vectors_as_they_are(ten_rows: SplitData, plane: np.ndarray) -> None:
    model = made(Shallow, ten_rows, plane, hidden_dim=0)
    np.testing.assert_allclose(model.item_vectors()[[1, 2, 5]], [[1, 0], [0.5**0.5, 0.5**0.5], [-1, 0]], atol=1e-6)
    assert [name for name, _ in model.named_parameters()] == ["net.users.weight"]


def test_hidden_dim_same(ten_rows: SplitData, plane: np.ndarray) -> None:
    assert made(Shallow, ten_rows, plane, hidden_dim="same").state_dict()["net.projection.0.weight"].shape == (2, 2)
    assert made(Shallow, ten_rows, plane, hidden_dim=5).item_vectors().shape == (7, 5)


@pytest.mark.parametrize("sample", ["item", "user"])
def test_negatives_are_never_true_positives(many: SplitData, audio: np.ndarray, sample: str) -> None:
    model = made(Shallow, many, audio, sample=sample, neg_samples=10)
    train = many.train
    known = set(zip(train.users.tolist(), model.item_index[train.items].tolist(), strict=True))
    source, val_source = model.sources()
    held = set(zip(many.truth["val"]["user_id"], model.item_index[many.truth["val"]["track_id"]].tolist(), strict=True))
    for data, positives in ((source, known), (val_source, known | held)):
        assert data is not None and data.size
        for number in range(len(data)):
            batch = data.batch(BatchKey(data, 1, number, 0, 1), torch.device("cpu"))
            for anchor, negatives in zip(batch.anchors.tolist(), batch.negatives.tolist(), strict=True):
                drawn = {(other, anchor) if sample == "item" else (anchor, other) for other in negatives}
                assert not drawn & positives


def test_sample_chooses_the_side(ten_rows: SplitData, plane: np.ndarray) -> None:
    by_item = first_batch(made(Shallow, ten_rows, plane, sample="item", neg_samples=50))
    by_user = first_batch(made(Shallow, ten_rows, plane, sample="user", neg_samples=50))
    assert by_item.negatives.max() == 3 and by_user.negatives.max() == 5
    assert sorted(by_item.anchors.tolist()) == sorted(by_user.positives.tolist())


def test_neg_samples_batch_size_and_confidence(ten_rows: SplitData, plane: np.ndarray) -> None:
    batch = first_batch(made(Shallow, ten_rows, plane, neg_samples=7, batch_size=4))
    assert batch.negatives.shape == (4, 7)
    assert batch.weights.tolist() == [1] * 4
    whole = first_batch(made(Shallow, ten_rows, plane, use_confidence=True))
    played = dict(zip(zip(*(part.tolist() for part in whole[:2]), strict=True), whole.weights.tolist(), strict=True))
    assert played[(2, 0)] == pytest.approx(1 + 2 * np.log(6))  # user 10 played track 2 five times
    assert played[(0, 0)] == pytest.approx(1 + 2 * np.log(2))


def test_margin(ten_rows: SplitData, plane: np.ndarray) -> None:
    narrow, wide = made(Shallow, ten_rows, plane, margin=0.2), made(Shallow, ten_rows, plane, margin=3.0)
    batch = first_batch(wide)
    positive, negative = wide.net(wide.net.items, wide.net.users, *batch[:3])
    assert wide.loss(batch)[0].item() == pytest.approx((3 - positive[:, None] + negative).mean().item(), abs=1e-5)
    assert narrow.loss(batch)[0] < wide.loss(batch)[0]


def test_l2_on_all_or_on_the_batch(ten_rows: SplitData, plane: np.ndarray) -> None:
    options: dict[str, Any] = {"hidden_dim": 2, "l2": 0.5}
    batch = PairBatch(torch.tensor([0]), torch.tensor([1]), torch.tensor([[3, 3]]), torch.ones(1))
    for freeze in (True, False):
        whole = made(Shallow, ten_rows, plane, l2_on="all", item_freeze=freeze, **options)
        part = made(Shallow, ten_rows, plane, l2_on="batch", item_freeze=freeze, **options)
        squares = sum(weight.square().sum().item() for weight in whole.parameters())
        assert torch.as_tensor(whole.penalty(batch)).item() == pytest.approx(0.5 * squares, rel=1e-5)
        users, items = part.net.users.weight, part.net.items.weight
        used = sum(weight.square().sum().item() for weight in part.net.projection.parameters())
        used += users[[1, 3]].square().sum().item() + (0 if freeze else items[0].square().sum().item())
        assert torch.as_tensor(part.penalty(batch)).item() == pytest.approx(0.5 * used, rel=1e-5)
    assert made(Shallow, ten_rows, plane).penalty(batch) == 0


def test_l2_shrinks_the_weights_and_stays_out_of_the_reported_loss(
    many: SplitData, audio: np.ndarray, fit: Callable[..., Any]
) -> None:
    free, tied = made(Shallow, many, audio, lr=0.05), made(Shallow, many, audio, l2=1.0, lr=0.05)
    fit(free, 3, "free")
    trainer = fit(tied, 3, "tied")
    assert tied.net.users.weight.norm() < 0.8 * free.net.users.weight.norm()
    assert float(trainer.callback_metrics["val/loss"]) < 1


@pytest.mark.parametrize(
    ("options", "learnt"),
    [
        ({}, {"users", "projection"}),
        ({"item_freeze": False}, {"users", "items", "projection"}),
        ({"user_freeze": True}, {"projection"}),
        ({"item_freeze": False, "user_freeze": True}, {"items", "projection"}),
        ({"embedding_trainable": True}, {"users", "items", "projection"}),
    ],
)
def test_frozen_tables_stay_and_are_nowhere_saved(
    many: SplitData,
    audio: np.ndarray,
    fit: Callable[..., Any],
    tmp_path: Path,
    options: dict[str, bool],
    learnt: set[str],
) -> None:
    model = made(Shallow, many, audio, lr=0.1, **options)  # type: ignore[arg-type]
    before = {"users": model.net.users.weight.clone(), "items": model.net.items.weight.clone()}
    trainer = fit(model, 2)
    saved = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert {name.split(".")[1] for name in saved["state_dict"]} == learnt
    optimised = {id(weight) for group in trainer.optimizers[0].param_groups for weight in group["params"]}
    assert optimised == {id(weight) for weight in model.parameters()}
    for name, table in (("users", model.net.users), ("items", model.net.items)):
        assert torch.equal(before[name], table.weight) == (name not in learnt)


def test_user_init(ten_rows: SplitData, plane: np.ndarray) -> None:
    mean = made(Shallow, ten_rows, plane).net.users.weight
    expected = np.array([[4 / 3, 1 / 3], [1 / 3, 5 / 3], [0, 1], [0, 1]])
    np.testing.assert_allclose(mean.detach().numpy(), expected, atol=1e-6)
    random = made(Shallow, ten_rows, plane, user_init=False, seed=1).net.users.weight
    assert not torch.allclose(random, mean)
    assert torch.equal(random, made(Shallow, ten_rows, plane, user_init=False, seed=1).net.users.weight)
    assert not torch.equal(random, made(Shallow, ten_rows, plane, user_init=False, seed=2).net.users.weight)


@pytest.mark.parametrize("others", [5, 60])
def test_gradient_of_sampled_products(others: int) -> None:
    torch.manual_seed(0)
    left, right = torch.randn(4, 3, dtype=torch.float64), torch.randn(others, 3, dtype=torch.float64)
    picked, columns = torch.tensor([2, 0, 2, 3]), torch.tensor([[1, 1, 4], [0, 2, 2], [3, 1, 0], [4, 4, 4]])
    left.requires_grad_()
    right.requires_grad_()
    expected = (left[picked][:, None, :] * right[columns]).sum(-1)
    torch.testing.assert_close(sampled_products(left, right, picked, columns), expected)
    assert torch.autograd.gradcheck(lambda *both: sampled_products(both[0], both[1], picked, columns), (left, right))


def test_each_row_is_projected_at_most_once(monkeypatch: pytest.MonkeyPatch) -> None:
    net = ShallowNet(EmbeddingTable(torch.randn(9, 4), False), EmbeddingTable(torch.randn(50, 4), True), 3)
    projected: list[int] = []
    project = net.project

    def spy(vectors: torch.Tensor) -> torch.Tensor:
        projected.append(len(vectors))
        return project(vectors)

    monkeypatch.setattr(net, "project", spy)
    anchors, positives, negatives = (
        torch.tensor([4, 4, 7]),
        torch.tensor([0, 1, 2]),
        torch.zeros(3, 20, dtype=torch.int64),
    )
    scores, _ = net(net.items, net.users, anchors, positives, negatives)
    assert projected == [2, 9]
    expected = torch.cosine_similarity(
        net.projection(net.items.weight[anchors]), net.projection(net.users.weight[positives]), eps=1e-8
    )
    torch.testing.assert_close(scores, expected)


def test_it_learns_and_its_vectors_are_its_scores(many: SplitData, audio: np.ndarray, fit: Callable[..., Any]) -> None:
    model = made(Shallow, many, audio, lr=0.05, hidden_dim=16)
    before = model.loss(first_batch(model))[0].item()
    fit(model, 10)
    assert model.loss(first_batch(model))[0].item() < 0.7 * before
    users, items = model.user_vectors(), model.item_vectors()
    ids, scores = model.recommend(np.array([5, 0]), 4)
    np.testing.assert_allclose(np.linalg.norm(users, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(scores, (users[[5, 0]] @ items.T)[[[0], [1]], ids], atol=1e-6)
    assert not set(ids[0]) & set(many.train.items[many.train.users == 5])


def test_same_seed_same_numbers_and_resume_is_exact(
    many: SplitData, audio: np.ndarray, fit: Callable[..., Any], tmp_path: Path
) -> None:
    # lr_patience 0: the rate falls within these epochs, so its state counts as well.
    options: dict[str, Any] = {"lr": 0.05, "seed": 4, "batch_size": 200, "lr_patience": 0, "hidden_dim": 4}
    whole, again, part, rest, other = (
        made(Shallow, many, audio, **{**options, "seed": seed}) for seed in (4, 4, 4, 4, 5)
    )
    rate = fit(whole, 5, "whole").optimizers[0].param_groups[0]["lr"]
    torch.manual_seed(123)  # what others drew does not matter
    fit(again, 5, "again")
    fit(part, 2, "part")
    resumed = fit(rest, 5, "rest", resume=str(tmp_path / "part" / "last.ckpt")).optimizers[0].param_groups[0]["lr"]
    fit(other, 1, "other")
    assert rate == resumed < 0.05
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
        assert torch.equal(weight, rest.state_dict()[name])
        assert not torch.equal(weight, other.state_dict()[name])


def test_checkpoint_of_another_run_is_refused(
    many: SplitData, audio: np.ndarray, fit: Callable[..., Any], tmp_path: Path
) -> None:
    fit(made(Shallow, many, audio), 1, "first")
    last = str(tmp_path / "first" / "last.ckpt")
    with pytest.raises(MusicrecError, match=r"another run \(different: weights\)"):
        fit(made(Shallow, many, audio, hidden_dim=64), 2, resume=last)
    with pytest.raises(MusicrecError, match=r"different: embedding"):
        fit(made(Shallow, many, audio + 1), 2, resume=last)


def test_without_validation_users_training_loss_decides(
    many: SplitData, audio: np.ndarray, fit: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    model = made(Shallow, replace(many, truth={name: frame[:0] for name, frame in many.truth.items()}), audio)
    assert model.monitor == "train/loss"
    assert "no validation pairs" in caplog.text
    trainer = fit(model, 2)
    assert set(trainer.callback_metrics) == {"train/loss"}


def test_a_track_everybody_played_has_no_negatives(plane: np.ndarray) -> None:
    train = rows((1, 0, 1, 1), (2, 0, 1, 1), (2, 1, 2, 1))
    nothing = pd.DataFrame(train[:0])
    data = SplitData(Interactions.from_frame(train, num_tracks=7), {"val": nothing, "test": nothing})
    assert first_batch(made(Shallow, data, plane)).anchors.tolist() == [1]
    with pytest.raises(MusicrecError, match="every track was played by every user"):
        same = SplitData(Interactions.from_frame(train[:2], num_tracks=7), data.truth)
        made(Shallow, same, plane).sources()


def test_user_without_embedded_tracks(ten_rows: SplitData, plane: np.ndarray, fit: Callable[..., Any]) -> None:
    plane[3] = np.nan
    data = replace(ten_rows, train=ten_rows.train.without_items(np.isnan(plane).any(axis=1)))
    model = made(Shallow, data, plane)
    fit(model, 1)
    assert model.recommend(np.array([3]), 3)[0].tolist() == [[-1, -1, -1]]
    assert np.isnan(model.user_vectors()[3]).all() and np.isfinite(model.user_vectors()[:3]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_dim": "double"}, "hidden_dim=double is invalid; must be a whole number from 0 to 1,000,000 or same"),
        ({"sample": "track"}, "must be item or user"),
        ({"l2_on": "some"}, "must be all or batch"),
        ({"neg_samples": 0}, "neg_samples=0 is invalid"),
        ({"batch_size": 0}, "batch_size=0 is invalid"),
        ({"l2": -1}, "l2=-1 is invalid"),
        ({"user_freeze": True, "hidden_dim": 0}, "nothing to learn"),
    ],
)
def test_bad_settings(ten_rows: SplitData, plane: np.ndarray, options: dict[str, Any], message: str) -> None:
    with pytest.raises(MusicrecError, match=message):
        made(Shallow, ten_rows, plane, **options)


def test_directions_and_their_gradient_are_those_of_torch() -> None:
    vectors = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    vectors[3] = 0
    vectors.requires_grad_()
    net = ShallowNet(EmbeddingTable(torch.ones(1, 5), True), EmbeddingTable(torch.ones(1, 5), True), 0)
    upstream = torch.randn(7, 5, generator=torch.Generator().manual_seed(1))
    found, expected = net.project(vectors), F.normalize(vectors, eps=1e-8)
    assert torch.allclose(found, expected)
    own, theirs = (torch.autograd.grad(out, vectors, upstream)[0] for out in (found, expected))
    assert torch.allclose(own, theirs, rtol=1e-4, atol=1e-6)
