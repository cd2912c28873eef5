"""`assert_recommender_contract`: what every recommender promises, whatever it computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from musicrec.data.interactions import Interactions, SplitData
from musicrec.recommenders.base import Inputs, Needs, Recommender, VectorRecommender
from musicrec.recommenders.knn import KNN
from musicrec.recommenders.trained import TrainedRecommender, Training
from tests.recommenders.conftest import rows

USERS, TRACKS = 41, 36
Make = Callable[[Inputs], Recommender]


def world() -> tuple[SplitData, np.ndarray]:
    """Returns a split and embeddings (36, 6): track 35 is the only one of user 40 and has no embedding, nor has 34.

    Tracks 10 to 15 are one clip six times, so that equal scores occur.
    """
    rng = np.random.default_rng(11)
    train, val = [], []
    for user in range(USERS - 1):
        tracks = rng.permutation(TRACKS - 1)
        length = int(rng.integers(3, 20))
        train += [(user, int(track), day, 1 + day % 4) for day, track in enumerate(tracks[:length])]
        val += [(user, int(track), 400 + day, 1) for day, track in enumerate(tracks[length : length + 12]) if user < 9]
    train.append((USERS - 1, TRACKS - 1, 3, 2))
    table = rng.normal(size=(TRACKS, 6)).astype(np.float32)
    table[10:16] = table[10]
    table[-2:] = np.nan
    truth = {"val": rows(*val), "test": rows(*val)[:0]}
    data = SplitData(Interactions.from_frame(rows(*train), TRACKS), truth)
    return data.without_items(np.isnan(table[:, 0])), table


def inputs(seed: int = 3, **changes: Any) -> Inputs:
    """Returns what `make` is called with; the rate is high enough to fall and be resumed."""
    data, table = world()
    plateau = partial(torch.optim.lr_scheduler.ReduceLROnPlateau, patience=0)
    training = Training(partial(torch.optim.Adam, lr=0.05), plateau)
    return Inputs(**{"data": data, "item_embeddings": table, "seed": seed, "training": training, **changes})


def assert_recommender_contract(make: Make, folder: Path) -> None:
    """Asserts all of it.

    Args:
        make: makes the recommender, small enough to train for some epochs in a second.
        folder: for checkpoints.
    """
    assert_names(make)
    assert_lists(make)
    assert_users_and_tracks_without_audio(make)
    assert_new_listeners(make)
    assert_blocks_do_not_matter(make)
    assert_seeds(make)
    assert_devices(make)
    assert_cold_tracks(make, folder)
    model = make(inputs())
    if isinstance(model, VectorRecommender):
        assert_vectors_are_the_scores(model)
    if model.trainable:
        assert_training_resumes_exactly(make, folder)


def assert_names(make: Make) -> None:
    """The class says how tables and plots call it, and what it reads."""
    model = make(inputs())
    kind = type(model)
    assert kind.title and kind.needs in get_args(Needs)
    assert kind.table is None or kind.table == Path(kind.table).stem
    assert kind.trainable == isinstance(model, TrainedRecommender)
    if kind.needs != "audio":
        assert make(inputs(item_embeddings=None)).recommend(np.arange(3), 2)[0].shape == (3, 2)


def assert_lists(make: Make) -> None:
    """Lists are sorted, without what the user played, equal scores by lower track; the longest list holds all."""
    model = make(inputs())
    train = model.data.train
    for k in (5, TRACKS + 4):
        ids, scores = model.recommend(np.arange(USERS), k)
        assert ids.shape == scores.shape == (USERS, k) and ids.dtype == np.int64 and scores.dtype == np.float32
        assert (scores[:, 1:] <= scores[:, :-1]).all()
        assert np.array_equal(ids < 0, np.isneginf(scores))
        tied = (scores[:, 1:] == scores[:, :-1]) & (ids[:, 1:] >= 0)
        assert (ids[:, 1:] > ids[:, :-1])[tied].all()
        for user in range(USERS):
            listed = ids[user][ids[user] >= 0]
            played = train.items[train.users == user]
            assert len(set(listed.tolist())) == len(listed) and np.isin(listed, train.candidates).all()
            assert not set(listed.tolist()) & set(played.tolist())
            if k > TRACKS and len(played):
                assert len(listed) == len(train.candidates) - len(played)
    assert model.recommend(np.array([], dtype=np.int64), 3)[0].shape == (0, 3)
    assert (
        model.recommend(np.array([7, 2, 7]), 5)[0].tolist()
        == model.recommend(np.arange(USERS), 5)[0][[7, 2, 7]].tolist()
    )
    other = Interactions.from_frame(rows(*((user, 4, 1, 1) for user in range(USERS))), TRACKS)
    assert 4 not in model.recommend(np.arange(USERS), TRACKS, other)[0]


def assert_users_and_tracks_without_audio(make: Make) -> None:
    """A user without history gets an empty list; a track without an embedding is in none."""
    model = make(inputs())
    ids, scores = model.recommend(np.arange(USERS), TRACKS)
    assert (ids[USERS - 1] == -1).all() and np.isneginf(scores[USERS - 1]).all()
    assert not np.isin(ids, [TRACKS - 2, TRACKS - 1]).any()
    assert (ids[: USERS - 1, 0] >= 0).all()
    if isinstance(model, VectorRecommender):
        assert np.isnan(model.user_vectors()[USERS - 1]).all() and np.isfinite(model.user_vectors()[: USERS - 1]).all()
        assert np.isnan(model.item_vectors()[-2:]).all() and np.isfinite(model.item_vectors()[:-2]).all()


def of_one(train: Interactions, items: np.ndarray) -> Interactions:
    """Returns the history of somebody who is not in train and played some tracks, one after the other."""
    zeros, days = np.zeros(len(items), dtype=np.int64), np.arange(len(items)).astype("timedelta64[D]")
    timestamps = train.timestamps.max() + days
    user_ids = np.array(["somebody"], dtype=object)
    return replace(train, user_ids=user_ids, users=zeros, items=items, counts=zeros + 1, timestamps=timestamps)


def assert_new_listeners(make: Make) -> None:
    """Somebody who is not in train gets the list of a user with the same history, or the recommender says why not."""
    model = make(inputs())
    if model.listener_obstacle is not None:
        assert isinstance(model.listener_obstacle, str)
        return
    train = model.data.train
    for user in (0, 17):
        ids, scores = model.recommend(np.zeros(1, dtype=np.int64), 6, of_one(train, train.items[train.users == user]))
        expected_ids, expected = model.recommend(np.array([user]), 6)
        assert ids.tolist() == expected_ids.tolist()
        np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)


def assert_blocks_do_not_matter(make: Make) -> None:
    """Lists do not depend on how many users are asked for at once, nor on the memory of the search."""
    model = make(inputs())
    whole = model.recommend(np.arange(USERS), 8)
    narrow = model.retriever()
    narrow.block_bytes = 1
    single = model.recommend(np.arange(USERS), 8, retriever=narrow)
    np.testing.assert_array_equal(single[0], whole[0])
    if isinstance(model, VectorRecommender):
        np.testing.assert_array_equal(single[1], whole[1])
    np.testing.assert_allclose(single[1], whole[1], rtol=1e-5, atol=1e-6)
    retriever = model.retriever()
    parts = [model.recommend(users, 8, retriever=retriever) for users in np.array_split(np.arange(USERS), 6)]
    np.testing.assert_array_equal(np.concatenate([ids for ids, _ in parts]), whole[0])
    np.testing.assert_allclose(np.concatenate([scores for _, scores in parts]), whole[1], rtol=1e-5, atol=1e-6)


def assert_seeds(make: Make) -> None:
    """The seed alone decides, whatever was drawn before, and the global generator and the mode stay as they were."""
    torch.manual_seed(1)
    first = make(inputs())
    torch.manual_seed(2)
    before = torch.get_rng_state()
    second = make(inputs()).train()
    lists = [model.recommend(np.arange(USERS), 6) for model in (first, second)]
    assert second.training
    assert torch.equal(torch.get_rng_state(), before)
    for index in (0, 1):
        np.testing.assert_array_equal(lists[0][index], lists[1][index])
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, second.state_dict()[name])


def assert_devices(make: Make) -> None:
    """On another device the lists are the same up to rounding, and what is encoded stays there."""
    expected = make(inputs()).recommend(np.arange(USERS), 6)
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        model = make(inputs()).to(device)
        assert model.retriever().device.type == model.home.type
        scores = model.recommend(np.arange(USERS), 6)[1]
        np.testing.assert_allclose(scores, expected[1], rtol=1e-3, atol=1e-4)
        if isinstance(model, VectorRecommender):
            with model.inference():
                encoded = model.encode_users(np.arange(3), model.data.train), model.encode_items()
            assert all(part.device == model.home and part.dtype == torch.float32 for part in encoded)


def cold_world() -> tuple[SplitData, np.ndarray]:
    """Returns four crowds of ten users who each play six of eight tracks of their own, and five cold tracks, 32 to 36.

    Cold tracks 32 to 35 sound exactly as one track of each crowd, and 36 is a mixture of all.
    """
    rng = np.random.default_rng(5)
    train, val = [], []
    for user in range(40):
        tracks = 8 * (user % 4) + np.concatenate([[0], 1 + rng.permutation(7)])
        train += [(user, int(track), day, 1) for day, track in enumerate(tracks[:6])]
        val += [(user, int(track), 400 + day, 1) for day, track in enumerate(tracks[6:])]
    centres = np.eye(4, 8) * 4
    table = np.repeat(centres, 8, axis=0) + 0.3 * rng.normal(size=(32, 8))
    table = np.concatenate([table, table[::8], centres.mean(axis=0, keepdims=True)]).astype(np.float32)
    truth = {
        "val": rows(*val),
        "hot_test": rows(*val),
        "cold_test": rows(*((u, 32 + u % 4, 500, 1) for u in range(40))),
    }
    return SplitData(Interactions.from_frame(rows(*train), 37), truth, "hot_cold", np.arange(32, 37)), table


def assert_cold_tracks(make: Make, folder: Path) -> None:
    """Training does not know cold tracks; who recommends them puts one that sounds as a loved track on top."""
    data, table = cold_world()
    training = Training(partial(torch.optim.Adam, lr=0.01), scheduler=None)
    model = make(inputs(data=data, item_embeddings=table, training=training))
    assert model.candidates.tolist() == list(range(32)) and model.cold.tolist() == list(range(32, 37))
    no_cold = replace(data, cold=np.empty(0, dtype=np.int64))
    without = make(inputs(data=no_cold, item_embeddings=table, training=training))
    shapes = [{name: part.shape for name, part in each.named_parameters()} for each in (model, without)]
    assert shapes[0] == shapes[1]
    if isinstance(model, TrainedRecommender):
        assert isinstance(without, TrainedRecommender)
        fit(model, folder / "with_cold", epochs=40)
        fit(without, folder / "without_cold", epochs=40)
        for name, weight in without.named_parameters():
            assert torch.equal(weight, dict(model.named_parameters())[name])
    users = np.arange(40)
    warm = model.recommend(users, 40)[0]
    assert set(warm[warm >= 0].tolist()) <= set(range(32))
    np.testing.assert_array_equal(warm, without.recommend(users, 40)[0])
    assert_cold_tracks_are_heard(model)
    if model.cold_obstacle is not None:
        return
    cold, scores = model.recommend(users, 6, retriever=model.retriever(pool="cold"))
    assert cold[:, 0].tolist() == [32 + user % 4 for user in users]
    assert (cold[:, 5] == -1).all() and all(set(row) == set(range(32, 37)) for row in cold[:, :5].tolist())
    mixed, mixed_scores = model.recommend(users, 40, retriever=model.retriever(pool="all"))
    for row in range(0, 40, 7):
        expected = dict(zip(cold[row, :5].tolist(), scores[row, :5].tolist(), strict=True))
        found = dict(zip(mixed[row].tolist(), mixed_scores[row].tolist(), strict=True))
        assert {track: found[track] for track in expected} == expected
        assert set(mixed[row].tolist()) - {-1} == set(warm[row].tolist()) - {-1} | set(expected)
    if isinstance(model, VectorRecommender):
        assert np.isfinite(model.item_vectors()).all()


def assert_cold_tracks_are_heard(model: Recommender) -> None:
    """In a history a cold track counts as one of train that sounds the same, or the recommender says why not.

    Args:
        model: of `cold_world`.
    """
    alone, pair, warm = (of_one(model.data.train, np.array(items)) for items in ([32], [9, 32], [9, 0]))
    if model.heard_obstacle is not None:
        assert isinstance(model.heard_obstacle, str)
        return
    assert isinstance(model, VectorRecommender)
    somebody = np.zeros(1, dtype=np.int64)
    with model.inference():
        expected = model.encode_users(somebody, warm)
        learnt = any(name.endswith("items.weight") or "ids." in name for name, _ in model.named_parameters())
        # Learnt vectors of tracks differ from what cold ones have; an average has a part that cold tracks lack.
        if not learnt and model.table != "bimodal_average":
            torch.testing.assert_close(model.encode_users(somebody, pair), expected)
        assert not torch.allclose(model.encode_users(somebody, alone), expected)
    assert model.recommend(somebody, 40, alone)[0][0, 0] == 0 or not isinstance(model, KNN)


def assert_vectors_are_the_scores(model: VectorRecommender) -> None:
    """The stored vectors reproduce the scores of the lists."""
    users, items = model.user_vectors(), model.item_vectors()
    assert users.dtype == items.dtype == np.float32
    assert len(users) == USERS and len(items) == TRACKS and users.shape[1] == items.shape[1]
    ids, scores = model.recommend(np.arange(USERS - 1), 4)
    products = np.einsum("ud,ukd->uk", users[:-1].astype(float), np.nan_to_num(items)[ids].astype(float))
    np.testing.assert_allclose(scores[ids >= 0], products[ids >= 0], rtol=1e-5, atol=1e-6)


def assert_training_resumes_exactly(make: Make, folder: Path) -> None:
    """Stopped and resumed, training ends with the same weights and lists; more epochs or another seed change them."""

    def fitted(name: str, epochs: int, resume: str | None = None, seed: int = 3) -> TrainedRecommender:
        model = make(inputs(seed))
        assert isinstance(model, TrainedRecommender) and model.monitor_mode in ("min", "max")
        trainer = fit(model, folder / name, epochs, resume)
        assert model.monitor in trainer.callback_metrics
        return model

    whole, part = fitted("whole", 4), fitted("part", 2)
    rest = fitted("rest", 4, str(folder / "part" / "last.ckpt"))
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, rest.state_dict()[name])
    lists = [model.recommend(np.arange(USERS), 6) for model in (whole, rest, part)]
    for index in (0, 1):
        np.testing.assert_array_equal(lists[0][index], lists[1][index])
    assert not np.array_equal(lists[0][1], lists[2][1])
    other = fitted("other", 2, seed=4).recommend(np.arange(USERS), 6)
    assert not np.array_equal(other[1], lists[2][1])


def fit(model: TrainedRecommender, folder: Path, epochs: int, resume: str | None = None) -> pl.Trainer:
    """Trains a model on the CPU, with checkpoints in `folder`, and returns the trainer."""
    checkpoint = ModelCheckpoint(folder, monitor=model.monitor, mode=model.monitor_mode, save_last=True)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[checkpoint],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, datamodule=model.datamodule(), ckpt_path=resume, weights_only=True)
    return trainer
