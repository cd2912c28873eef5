"""train.py and evaluate.py on the other splits: hot_cold and leave_one_out have lists for each split."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import DictConfig

from musicrec import stages
from musicrec.data.interactions import SplitData
from musicrec.data.prepare import prepare
from musicrec.data.source import DataSource
from musicrec.embeddings.configure import make_embedding
from musicrec.errors import MusicrecError
from musicrec.evaluation.comparison import compare
from musicrec.evaluation.cutoffs import Cutoffs
from musicrec.training.given import Given
from musicrec.training.run_name import run_name
from musicrec.workspace import TrackIndex, Workspace
from tests.data.made_log import flat

QUICK = ("trainer=cpu", "trainer.max_epochs=1", "logger=none")
SMALL = (*QUICK, "data=custom", "embedding=random", "embedding.dim=6", "eval.k=2", "eval.top_k=4")

# They know the tracks of training only.
WITHOUT_AUDIO = ["popularity", "itemknn", "ials", "ease", "elsa", "bert", "sasrec"]


def prepared(tmp_path: Path, split: str, users: int = 12) -> Workspace:
    """Returns a workspace of users with five tracks of nine in training, then a known one and sometimes a new one."""
    rows = [
        (user, f"t{(user + 2 * step) % 9}", f"2019-03-0{step + 1}") for user in range(1, users + 1) for step in range(5)
    ]
    rows += [(user, f"t{(user + 1) % 9}", "2020-02-21") for user in range(1, users + 1)]
    rows += [(user, f"new{user % 2}", "2020-02-22") for user in range(1, users + 1) if user % 3 == 0]
    log = tmp_path / "log.csv"
    pd.DataFrame(rows, columns=["user_id", "track_id", "timestamp"]).to_csv(log, index=False)
    workspace = Workspace(tmp_path / "workspace")
    prepare(flat(DataSource, "tiny", plays=log, split=split, start="2019-02-20", test="2020-02-20"), workspace)
    return workspace


def trained(
    compose: Callable[..., DictConfig], workspace: Workspace, recommender: str, *options: str
) -> tuple[str, pd.DataFrame]:
    """Returns the name and the predictions of a run."""
    cfg = compose(*SMALL, f"recommender={recommender}", *options)
    stages.train(cfg)
    return run_name(cfg), pd.read_parquet(workspace.predictions(run_name(cfg)))


@pytest.mark.parametrize(
    "options",
    [("knn",), ("shallow",), ("bert", "recommender.head=tied"), ("shallow", "recommender.cold_in_training=true")],
    ids=" ".join,
)
def test_hot_cold(compose: Callable[..., DictConfig], tmp_path: Path, options: tuple[str, ...]) -> None:
    workspace = prepared(tmp_path, "hot_cold")
    name, predictions = trained(compose, workspace, *options)
    splits = {split: pd.read_parquet(workspace.split(split)) for split in ("train", "val", "hot_test", "cold_test")}
    pools = {"val": "train", "hot_test": "train", "cold_test": "cold_test"}
    assert set(predictions.split) == set(pools)
    for split, pool in pools.items():
        lists = predictions[predictions.split == split]
        assert set(lists.user_id) == set(splits[split].user_id)
        assert set(lists.item_id) <= set(splits[pool].track_id)
        assert len(pd.read_parquet(workspace.metrics(name, split))) == splits[split].user_id.nunique() > 0
    # Two cold tracks: each list holds both, the best first.
    cold = predictions[predictions.split == "cold_test"]
    assert (cold.groupby("user_id").item_id.nunique() == 2).all() and cold["rank"].tolist() == [1, 2] * (len(cold) // 2)
    stages.evaluate(compose(*SMALL, "eval.k={hot_test:2,cold_test:1}"))
    table = pd.read_csv(workspace.root / "comparison.csv").set_index("split")
    assert table["NDCG@2"].notna().tolist() == [True, False] and table["NDCG@1"].notna().tolist() == [False, True]
    chance = pd.read_csv(workspace.root / "chance.csv").set_index("split")
    assert chance.loc["cold_test", "HitRate@1"] == 0.5


def test_the_control_shuffles_cold_tracks_among_themselves(compose: Callable[..., DictConfig], tmp_path: Path) -> None:
    workspace = prepared(tmp_path, "hot_cold")
    tracks = TrackIndex.load(workspace.track_index)
    data = SplitData.load(workspace, tracks)
    groups = [np.unique(data.train.items), data.cold]

    def rows(shuffle: str, seed: int) -> list[list[list[float]]]:
        cfg = compose(*SMALL, "recommender=knn", f"embedding.shuffle={shuffle}", f"seed={seed}")
        given = Given.of(cfg, workspace, tracks, data, make_embedding(cfg.embedding))
        return [given.vectors[group].tolist() for group in groups]

    seeds = range(5)
    real, apart, together = ([rows(shuffle, seed) for seed in seeds] for shuffle in ("false", "true", "all"))
    for part in (0, 1):
        assert all(sorted(one[part]) == sorted(other[part]) for one, other in zip(real, apart, strict=True))
        assert any(one[part] != other[part] for one, other in zip(real, apart, strict=True))
        assert any(sorted(one[part]) != sorted(other[part]) for one, other in zip(real, together, strict=True))
    assert all(
        sorted([*one[0], *one[1]]) == sorted([*other[0], *other[1]]) for one, other in zip(real, together, strict=True)
    )


def test_mixed_lists(compose: Callable[..., DictConfig], tmp_path: Path) -> None:
    workspace = prepared(tmp_path, "hot_cold")
    _, predictions = trained(compose, workspace, "knn", "data.candidates=mixed", "eval.top_k=50")
    train, cold = (set(pd.read_parquet(workspace.split(split)).track_id) for split in ("train", "cold_test"))
    assert "split" not in predictions and set(predictions.item_id) == train | cold
    with pytest.raises(MusicrecError, match="data.candidates=both is invalid; must be separate or mixed"):
        trained(compose, workspace, "knn", "data.candidates=both")


def test_a_recommender_without_cold_lists_says_so(
    compose: Callable[..., DictConfig], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    workspace = prepared(tmp_path, "hot_cold")
    name, predictions = trained(compose, workspace, "bert")
    assert set(predictions.split) == {"val", "hot_test"} and not workspace.metrics(name, "cold_test").exists()
    line = "BERT4Rec cannot recommend cold tracks (its linear head has outputs for the tracks of training only; use "
    assert line + "recommender.head=tied): there are no lists for cold_test" in caplog.text
    trained(compose, workspace, "knn")
    stages.evaluate(compose(*SMALL))
    assert (workspace.root / "bert.csv").is_file() and not (workspace.root / "bert_cold.csv").exists()
    assert (workspace.root / "cosine_cold.csv").is_file()


@pytest.mark.parametrize("recommender", WITHOUT_AUDIO)
@pytest.mark.parametrize("candidates", ["separate", "mixed"])
def test_a_recommender_without_audio_has_lists_of_train_tracks_only(
    compose: Callable[..., DictConfig],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    recommender: str,
    candidates: str,
) -> None:
    workspace = prepared(tmp_path, "hot_cold")
    cfg = compose(
        *QUICK, "data=custom", "embedding=none", f"recommender={recommender}", f"data.candidates={candidates}"
    )
    stages.train(cfg)
    name = run_name(cfg)
    predictions = pd.read_parquet(workspace.predictions(name))
    assert set(predictions.split) == {"val", "hot_test"}
    train = set(pd.read_parquet(workspace.split("train")).track_id)
    assert set(predictions.item_id) <= train and (predictions.groupby(["split", "user_id"]).size() == 4).all()
    assert not workspace.metrics(name, "cold_test").exists() and workspace.metrics(name, "hot_test").exists()
    lines = [record.getMessage() for record in caplog.records if "cannot recommend cold tracks" in record.getMessage()]
    assert len(lines) == 1 and lines[0].endswith("there are no lists for cold_test")


@pytest.mark.parametrize("recommender", WITHOUT_AUDIO)
def test_a_user_without_train_rows_counts_as_a_miss(
    compose: Callable[..., DictConfig], tmp_path: Path, recommender: str
) -> None:
    """User 7 is in test only; and the catalogue of five tracks is smaller than eval.k and eval.top_k."""
    lines = [f"{user}\tt{(user + step) % 5}\t0" for user in range(1, 5) for step in range(3)]
    lines += [f"{user}\tt{(user + 3) % 5}\t1" for user in range(1, 5)]
    lines += [f"{user}\tt{(user + 4) % 5}\t2" for user in (1, 2, 3, 4, 7)]
    plays = tmp_path / "given.tsv"
    plays.write_text("\n".join(["userID\titemID\tpart", *lines]) + "\n")
    options = [
        *("data=split_files", f"data.plays={plays}", "data.split=column", "data.split_column=part"),
        *("data.split_values={train:0,val:1,test:2}", "data.timestamp_column=null"),
    ]
    cfg = compose(*options, *QUICK, "embedding=none", f"recommender={recommender}", "data.make_missing=true")
    stages.train(cfg)
    workspace, name = Workspace(tmp_path / "workspace"), run_name(cfg)
    lists = pd.read_parquet(workspace.predictions(name))
    assert sorted(lists.user_id.unique()) == [1, 2, 3, 4] and (lists.groupby("user_id").size() == 2).all()
    scores = pd.read_parquet(workspace.metrics(name, "test"))
    # Two tracks are left for each of the others, one of them the held-out one.
    assert scores["user_id"].tolist() == [1, 2, 3, 4, 7] and scores["Recall@50"].tolist() == [1, 1, 1, 1, 0]
    assert (scores[scores["user_id"] == 7].drop(columns="user_id") == 0).all(axis=None)


@pytest.mark.parametrize("recommender", ["knn", "shallow", "bert"])
def test_leave_one_out(compose: Callable[..., DictConfig], tmp_path: Path, recommender: str) -> None:
    workspace = prepared(tmp_path, "leave_one_out")
    name, predictions = trained(compose, workspace, recommender)
    assert list(predictions.columns) == ["user_id", "item_id", "rank", "score", "split"]
    train, val = (pd.read_parquet(workspace.split(split)) for split in ("train", "val"))
    given = {"val": train, "test": pd.concat([train, val])}
    for split, seen in given.items():
        lists = predictions[predictions.split == split]
        assert sorted(lists.user_id.unique()) == list(range(1, 13))
        known = set(zip(seen.user_id, seen.track_id, strict=True))
        assert not known & set(zip(lists.user_id, lists.item_id, strict=True))
        assert set(lists.item_id) <= set(train.track_id)
        assert len(pd.read_parquet(workspace.metrics(name, split))) == 12
    stages.evaluate(compose(*SMALL))
    assert (workspace.root / "comparison.csv").is_file()


@pytest.mark.parametrize("options", [("knn",), ("bert", "recommender.head=tied")], ids=" ".join)
def test_one_listener(compose: Callable[..., DictConfig], tmp_path: Path, options: tuple[str, ...]) -> None:
    workspace = prepared(tmp_path, "hot_cold", users=1)
    name, predictions = trained(compose, workspace, *options)
    assert len(predictions) == 1
    assert pd.read_parquet(workspace.metrics(name, "cold_test"))["HitRate@2"].tolist() == [1.0]
    stages.evaluate(compose(*SMALL))
    assert (workspace.root / "comparison.csv").is_file()


@pytest.mark.parametrize("options", [("knn",), ("popularity",), ("bert",)], ids=" ".join)
@pytest.mark.parametrize("repeat", [False, True])
def test_global_temporal(
    compose: Callable[..., DictConfig], tmp_path: Path, options: tuple[str, ...], repeat: bool
) -> None:
    workspace = windowed(tmp_path)
    flags = ("data.split=global_temporal", "data.gap=1h", "data.val_window=1d", *(["eval.repeat=true"] * repeat))
    name, predictions = trained(compose, workspace, *options, "eval.top_k=9", "eval.k=9", *flags)
    train, test = (pd.read_parquet(workspace.split(split)) for split in ("train", "test"))
    known = set(zip(train.user_id, train.track_id, strict=True))
    listed = set(zip(predictions.user_id, predictions.item_id, strict=True))
    # With repeats the lists of nine hold all nine tracks of train, otherwise the four that the user has not played.
    assert predictions.groupby("user_id").size().tolist() == [9 if repeat else 4] * 12
    assert bool(known & listed) is repeat and "new" not in predictions.item_id.to_numpy()
    truth = test if repeat else test[[pair not in known for pair in zip(test.user_id, test.track_id, strict=True)]]
    scores = pd.read_parquet(workspace.metrics(name, "test"))
    assert sorted(scores.user_id) == sorted(truth.user_id.unique())
    # Half of a user's tracks are new to the world: they stay in the truth, and nobody can hit them.
    hits = truth[truth.track_id.isin(train.track_id)].groupby("user_id").size().reindex(scores.user_id, fill_value=0)
    sizes = truth.groupby("user_id").size().reindex(scores.user_id)
    assert scores["Recall@9"].to_numpy() == pytest.approx((hits / sizes).to_numpy())
    stages.evaluate(compose(*SMALL, "eval.k=9", "eval.pooled_ndcg=true"))  # follows the runs
    row = pd.read_csv(workspace.root / "comparison.csv").iloc[0]
    assert row["Recall@9"] == pytest.approx(scores["Recall@9"].mean()) and row["NDCG@9 pooled"] > 0
    chance = pd.read_csv(workspace.root / "chance.csv").iloc[0]
    assert chance["Recall@9"] == pytest.approx(row["Recall@9"])  # the list is the catalogue


def windowed(tmp_path: Path) -> Workspace:
    """Returns a workspace of users with five tracks of nine in train, who play one of them, another and a new one."""
    rows = [(user, f"t{(user + 2 * step) % 9}", f"2019-03-0{step + 1}") for user in range(1, 13) for step in range(5)]
    for day in ("2019-03-11", "2019-03-11T12:00"):
        rows += [(user, track, day) for user in range(1, 13) for track in (f"t{user % 9}", f"t{(user + 1) % 9}", "new")]
    log = tmp_path / "log.csv"
    pd.DataFrame(rows, columns=["user_id", "track_id", "timestamp"]).to_csv(log, index=False)
    workspace = Workspace(tmp_path / "workspace")
    windows = {"split": "global_temporal", "val_window": "1d", "gap": "1h"}
    prepare(flat(DataSource, "tiny", plays=log, start="auto", test="2019-03-11T12:00", **windows), workspace)
    return workspace


def cold_world(tmp_path: Path, cold_tracks: int) -> Workspace:
    """Returns a hot_cold workspace of twelve users with five of nine tracks in train, and new tracks for each user."""
    rows = [(user, f"t{(user + 2 * step) % 9}", f"2019-03-0{step + 1}") for user in range(1, 13) for step in range(5)]
    rows += [(user, f"t{(user + 1) % 9}", "2020-02-21") for user in range(1, 13)]
    if cold_tracks:
        rows += [(user, f"new{(user * step) % cold_tracks}", "2020-02-22") for user in range(1, 9) for step in (1, 3)]
    log = tmp_path / "log.csv"
    pd.DataFrame(rows, columns=["user_id", "track_id", "timestamp"]).to_csv(log, index=False)
    workspace = Workspace(tmp_path / "workspace")
    prepare(flat(DataSource, "tiny", plays=log, split="hot_cold", test="2020-02-20"), workspace)
    return workspace


def test_cold_lists_equal_a_ranking_in_pandas(
    compose: Callable[..., DictConfig], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """KNN's cold lists, their metrics and the chance level, from the vectors and split files alone."""
    workspace = cold_world(tmp_path, cold_tracks=7)
    ids = TrackIndex.load(workspace.track_index).ids
    vectors = np.random.default_rng(0).normal(size=(len(ids), 6)).astype(np.float32)
    np.savez(tmp_path / "mine.npz", ids=np.array(ids), vectors=vectors)
    options = ("data=custom", "trainer=cpu", "logger=none", "recommender=knn", "eval.k={hot_test:3,cold_test:3}")
    cfg = compose(*options, "embedding=precomputed", f"embedding.path={tmp_path}/mine.npz")
    stages.train(cfg)
    name = run_name(cfg)
    predictions = pd.read_parquet(workspace.predictions(name))
    train, cold = (pd.read_parquet(workspace.split(split)) for split in ("train", "cold_test"))
    pool = np.unique(cold.track_id)
    scores = pd.read_parquet(workspace.metrics(name, "cold_test")).set_index("user_id").to_dict("index")
    assert len(pool) == 7 and list(scores) == list(range(1, 9))
    for user, own in cold.groupby("user_id"):
        taste = vectors[train.track_id[train.user_id == user]].mean(axis=0)
        cosine = vectors[pool] @ taste / np.linalg.norm(vectors[pool], axis=1)
        ranked = pd.Series(cosine, pool).sort_values(ascending=False).index
        lists = predictions[(predictions.user_id == user) & (predictions.split == "cold_test")]
        assert lists.sort_values("rank").item_id.tolist() == ranked.tolist()
        gain = [1 / math.log2(place + 2) for place, track in enumerate(ranked[:3]) if track in set(own.track_id)]
        ideal = sum(1 / math.log2(place + 2) for place in range(min(len(own), 3)))
        assert scores[user]["NDCG@3"] == pytest.approx(sum(gain) / ideal)
        assert scores[user]["Recall@3"] == pytest.approx(len(gain) / len(own))
    compare(workspace, Cutoffs.of({"hot_test": 3, "cold_test": 20}))
    assert "(cold_test) are shorter, at most 7; only 7 tracks may be recommended there; choose" in caplog.text
    assert "choose eval.k={cold_test:7} or less" in caplog.text
    chance = pd.read_csv(workspace.root / "chance.csv").set_index("split").loc["cold_test"]
    assert chance["Recall@20"] == chance["HitRate@20"] == 1  # the list is the whole pool


def test_no_cold_track_at_all(
    compose: Callable[..., DictConfig], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    workspace = cold_world(tmp_path, cold_tracks=0)
    assert "no held-out track is cold; cold_test is empty" in caplog.text
    name, predictions = trained(compose, workspace, "knn")
    assert "cold_test" not in set(predictions.get("split", [])) and not workspace.metrics(name, "cold_test").exists()
    assert compare(workspace, Cutoffs.of({"hot_test": 2, "cold_test": 20})).splits == ["hot_test"]
    assert not (workspace.root / "cosine_cold.csv").exists()


@pytest.mark.parametrize("option", ["eval.repeat=yes", "eval.repeat=1", "eval.pooled_ndcg=no", "eval.pooled_ndcg=null"])
def test_switches_of_the_protocol(compose: Callable[..., DictConfig], option: str) -> None:
    key, value = option.split("=")
    for stage in (stages.train, stages.evaluate):
        with pytest.raises(MusicrecError, match=f"{key}=.*{value}.* is invalid; must be true"):
            stage(compose(*SMALL, "recommender=knn", option))
