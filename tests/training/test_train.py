"""train.py's orchestration on a workspace of four users and seven tracks."""

import logging
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import DictConfig, OmegaConf

from musicrec import stages
from musicrec.errors import MusicrecError
from musicrec.files import parquet_metadata, read_json, write_parquet
from musicrec.training.run_name import run_name

SMALL = (
    "data=custom",
    "embedding=random",
    "embedding.dim=6",
    "trainer=cpu",
    "trainer.max_epochs=2",
    "logger=csv",
    "eval.k=2",
    "eval.top_k=3",
)


@pytest.mark.parametrize("recommender", ["knn", "shallow", "bert"])
def test_a_run_leaves_every_file_of_the_contract(
    compose: Callable[..., DictConfig], tiny_workspace: Path, recommender: str
) -> None:
    cfg = compose(*SMALL, f"recommender={recommender}")
    name = run_name(cfg)
    score = stages.train(cfg)
    assert name.startswith(f"{recommender}_random_")

    predictions = pd.read_parquet(tiny_workspace / "preds" / f"{name}.pqt")
    assert list(predictions.columns) == ["user_id", "item_id", "rank", "score"]
    train = pd.read_parquet(tiny_workspace / "data" / "train.pqt")
    seen = set(zip(train.user_id, train.track_id, strict=True))
    assert not seen & set(zip(predictions.user_id, predictions.item_id, strict=True))
    assert set(predictions.item_id) <= set(train.track_id)
    assert sorted(predictions.user_id.unique()) == [1, 2, 3, 4]
    for _, rows in predictions.groupby("user_id"):
        assert rows["rank"].tolist() == [1, 2, 3]
        assert rows["score"].is_monotonic_decreasing

    metadata = parquet_metadata(tiny_workspace / "preds" / f"{name}.pqt")
    assert (metadata["recommender"], metadata["embedding"], metadata["size"], metadata["seed"]) == (
        recommender,
        "random",
        6,
        0,
    )
    columns = ["HitRate@2", "MRR@2", "Precision@2", "Recall@2", "NDCG@2"]
    for split in ("val", "test"):
        per_user = pd.read_parquet(tiny_workspace / "metrics" / f"{name}_{split}.pqt")
        assert list(per_user.columns) == ["user_id", *columns]
        table = pd.read_csv(tiny_workspace / "metrics" / f"{name}_{split}.csv", index_col=0)
        assert list(table.index) == ["mean", "conf"]
        np.testing.assert_allclose(table.loc["mean"], per_user[columns].mean())
    assert score == pytest.approx(pd.read_parquet(tiny_workspace / "metrics" / f"{name}_val.pqt")["NDCG@2"].mean())

    items = np.load(tiny_workspace / "model_embeddings" / f"{name}_items.npy")
    users = np.load(tiny_workspace / "model_embeddings" / f"{name}_users.npy")
    assert len(items) == 7
    assert len(users) == 4
    assert pd.read_csv(tiny_workspace / "model_embeddings" / f"{name}_users.csv").user_id.tolist() == [1, 2, 3, 4]
    first = predictions.groupby("user_id").first()
    scores = [users[row] @ items[item] for row, item in enumerate(first.item_id)]
    np.testing.assert_allclose(scores, first.score, rtol=1e-5, atol=1e-6)

    checkpoints = sorted(path.name for path in (tiny_workspace / "checkpoints").rglob("*.ckpt"))
    assert checkpoints == ([] if recommender == "knn" else [f"{name}_best.ckpt", f"{name}_last.ckpt"])
    assert (tiny_workspace / "runs" / name / "config.yaml").is_file()
    history = pd.read_csv(tiny_workspace / "runs" / name / "metrics.csv")
    assert "test/NDCG@2" in history
    assert recommender == "knn" or history["train/loss"].count() == 2


def test_a_finished_run_is_not_done_again(
    compose: Callable[..., DictConfig], tiny_workspace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first = stages.train(compose(*SMALL))
    predictions = next((tiny_workspace / "preds").glob("*.pqt"))
    made = predictions.stat().st_mtime_ns
    assert stages.train(compose(*SMALL)) == first
    assert "is already finished; set overwrite=true to rerun it" in caplog.text
    assert predictions.stat().st_mtime_ns == made
    stages.train(compose(*SMALL, "overwrite=true"))
    assert predictions.stat().st_mtime_ns > made


def test_a_run_restarts_when_the_data_changed(
    compose: Callable[..., DictConfig], tiny_workspace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stages.train(compose(*SMALL))
    test = tiny_workspace / "data" / "test.pqt"
    frame = pd.read_parquet(test)
    frame["count"] += 1
    write_parquet(frame, test, parquet_metadata(test))
    stages.train(compose(*SMALL))
    assert "was trained on different data or a different embedding; restarting" in caplog.text


def test_an_explicit_name_with_other_settings_is_refused(
    compose: Callable[..., DictConfig], tiny_workspace: Path
) -> None:
    stages.train(compose(*SMALL, "run_name=mine"))
    with pytest.raises(
        MusicrecError, match=r"run 'mine' exists with other settings \(.*seed: 0 -> 1\).*overwrite=true"
    ):
        stages.train(compose(*SMALL, "run_name=mine", "seed=1"))
    stages.train(compose(*SMALL, "run_name=mine", "seed=1", "overwrite=true"))


def test_missing_inputs_name_the_command(compose: Callable[..., DictConfig], tiny_workspace: Path) -> None:
    with pytest.raises(MusicrecError, match=r"python extract\.py.*embedding=musicnn"):
        stages.train(compose(*SMALL[:1], "embedding=musicnn"))
    (tiny_workspace / "data" / "train.pqt").unlink()
    with pytest.raises(MusicrecError, match=r"train\.pqt is missing.*python prepare\.py"):
        stages.train(compose(*SMALL))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_tracks_without_an_embedding_are_never_recommended_but_stay_in_the_truth(
    compose: Callable[..., DictConfig], tiny_workspace: Path, value: float, caplog: pytest.LogCaptureFixture
) -> None:
    table = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
    table[4, 1:] = value
    np.save(tiny_workspace / "own.npy", table)
    ids = pd.read_csv(tiny_workspace / "trackid_sorted.csv").trackid
    (tiny_workspace / "own.txt").write_text("\n".join(ids))
    own = f"embedding.checkpoint={tiny_workspace}/own.npy"
    cfg = compose("data=custom", "embedding=precomputed", own, "logger=none")
    stages.train(cfg)
    name = run_name(cfg)
    predictions = pd.read_parquet(tiny_workspace / "preds" / f"{name}.pqt")
    assert 4 not in set(predictions.item_id)
    assert f"1 vectors with NaN or infinite values were left out: {ids[4]}" in caplog.text
    truth = pd.concat(pd.read_parquet(tiny_workspace / "data" / f"{split}.pqt") for split in ("val", "test"))
    assert 4 in set(truth.track_id)
    scored = sum(len(pd.read_parquet(tiny_workspace / "metrics" / f"{name}_{split}.pqt")) for split in ("val", "test"))
    assert scored == 4
    assert np.isnan(np.load(tiny_workspace / "model_embeddings" / f"{name}_items.npy")[4]).all()


def test_a_run_leaves_its_configuration_as_it_was(compose: Callable[..., DictConfig], tiny_workspace: Path) -> None:
    cfg = compose(*SMALL, "recommender=shallow")
    stages.train(cfg)
    assert cfg == compose(*SMALL, "recommender=shallow")
    written = OmegaConf.load(tiny_workspace / "runs" / run_name(cfg) / "config.yaml")
    assert written.run_name == run_name(cfg)


def test_callbacks_are_added_and_removed_by_configuration(
    compose: Callable[..., DictConfig], tiny_workspace: Path
) -> None:
    own = ("_target_=pytorch_lightning.callbacks.EarlyStopping", "monitor=train/loss", "stopping_threshold=1000")
    added = tuple(f"+callbacks.own.{setting}" for setting in own)
    impatient = ("recommender=shallow", "recommender.lr=10.0", "trainer.max_epochs=30", "recommender.patience=1")
    lengths = {}
    for name, changes in {"default": (), "added": added, "removed": ("~callbacks.early_stopping",)}.items():
        stages.train(compose(*SMALL, *impatient, f"run_name={name}", *changes))
        history = pd.read_csv(tiny_workspace / "runs" / name / "metrics.csv")
        lengths[name] = int(history["train/loss"].count())
        assert history["lr-Adam"].notna().any()
    assert lengths["removed"] == 30
    assert 1 < lengths["default"] < 30
    assert lengths["added"] == 1


def test_the_run_record_says_what_it_was_made_from(compose: Callable[..., DictConfig], tiny_workspace: Path) -> None:
    cfg = compose(*SMALL)
    stages.train(cfg)
    record = read_json(tiny_workspace / "runs" / run_name(cfg) / "run.json")
    assert record["status"] == "finished"
    assert set(record["inputs"]["splits"]) == {"train", "val", "test"}
    assert record["settings"]["embedding"]["dim"] == 6


@pytest.mark.parametrize("recommender", ["popularity", "itemknn", "ials", "ease", "elsa"])
def test_a_recommender_without_audio_reads_no_embedding(
    compose: Callable[..., DictConfig], tiny_workspace: Path, caplog: pytest.LogCaptureFixture, recommender: str
) -> None:
    caplog.set_level(logging.INFO)
    # musicnn, the default, has not been extracted: nothing reads it.
    base = ("data=custom", "trainer=cpu", "logger=csv", "eval.k=2", f"recommender={recommender}")
    cfg = compose(*base)
    score = stages.train(cfg)
    name = run_name(cfg)
    assert re.fullmatch(rf"{recommender}_s0_[0-9a-f]{{8}}", name)
    info = parquet_metadata(tiny_workspace / "preds" / f"{name}.pqt")
    assert (info["table"], info["embedding"], info.get("size")) == ("baselines", "", None)
    assert OmegaConf.load(tiny_workspace / "runs" / name / "config.yaml").embedding.name == "none"
    for embedding in ("random", "none"):
        caplog.clear()
        again = compose(*base, f"embedding={embedding}")
        assert run_name(again) == name
        assert stages.train(again) == score
        assert f"{name} is already finished" in caplog.text
    assert len(list((tiny_workspace / "preds").glob("*.pqt"))) == 1


def test_no_embedding_is_refused_where_one_is_needed(compose: Callable[..., DictConfig], tiny_workspace: Path) -> None:
    with pytest.raises(MusicrecError, match="KNN needs an embedding: choose one, embedding=musicnn"):
        stages.train(compose("data=custom", "embedding=none"))
    with pytest.raises(MusicrecError, match="embedding=none has no vectors: there is nothing to extract"):
        stages.extract(compose("data=custom", "embedding=none"))


@pytest.mark.parametrize("recommender", ["popularity", "elsa"])
def test_a_cold_split_gives_recommenders_without_audio_no_cold_track(
    compose: Callable[..., DictConfig], tiny_workspace: Path, recommender: str
) -> None:
    data = tiny_workspace / "data"
    pairs = pd.read_parquet(data / "test.pqt")
    metadata = parquet_metadata(data / "train.pqt")
    metadata["settings"] = {**metadata["settings"], "split": "hot_cold"}
    cold = pairs.assign(track_id=6)
    train = pd.read_parquet(data / "train.pqt")
    for name, frame in {
        "train": train[train.track_id != 6],
        "val": pd.read_parquet(data / "val.pqt"),
        "hot_test": pairs[pairs.track_id != 6],
        "cold_test": cold,
    }.items():
        write_parquet(frame, data / f"{name}.pqt", metadata)
    (data / "test.pqt").unlink()
    cfg = compose("data=custom", "trainer=cpu", "logger=csv", "eval.k=2", f"recommender={recommender}")
    stages.train(cfg)
    predictions = pd.read_parquet(tiny_workspace / "preds" / f"{run_name(cfg)}.pqt")
    hot = predictions[predictions.item_id != 6].groupby("user_id")["rank"].max()
    cold_rows = predictions[predictions.item_id == 6]
    assert (cold_rows["rank"] > cold_rows.user_id.map(hot)).all()
    assert len(hot) > 0


def test_a_transformed_run_is_another_run_that_says_what_was_done(
    compose: Callable[..., DictConfig], tiny_workspace: Path
) -> None:
    plain = compose(*SMALL)
    control = compose(*SMALL, "embedding.transform=zscore", "embedding.pca=2", "embedding.shuffle=true")
    for cfg in (plain, control):
        stages.train(cfg)
    first, second = (parquet_metadata(tiny_workspace / "preds" / f"{run_name(cfg)}.pqt") for cfg in (plain, control))
    assert (first["embedding"], first["size"]) == ("random", 6)
    assert (second["embedding"], second["size"]) == ("random", 2)
    assert second["settings"]["embedding"]["shuffle"] is True
    assert first["inputs"] == second["inputs"]  # of the stored embedding: both read the same
    stages.evaluate(plain)
    assert set(pd.read_csv(tiny_workspace / "cosine.csv").embedding) == {"random", "random zscore pca2 shuffled"}
