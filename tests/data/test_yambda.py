"""Yambda from its published files to tables: both layouts, all events, against plain pandas."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import DictConfig

from musicrec import stages
from musicrec.data.yambda import YambdaEvents
from musicrec.errors import MusicrecError
from musicrec.evaluation.comparison import compare
from musicrec.workspace import TrackIndex, Workspace
from tests.data.made_yambda import (
    DAY,
    LAST,
    made_likes,
    made_listens,
    write_events,
    write_mapping,
    write_multi_event,
    write_vectors,
)

NAMES = ("train", "val", "test")
TEST, GAP = LAST - DAY, 1800


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Returns a folder as published: listens and likes in both layouts, and all events in one file."""
    root = tmp_path / "yambda"
    listens, likes = made_listens(), made_likes()
    write_events(root, "50m", "listens", listens)
    write_events(root, "50m", "likes", likes)
    write_multi_event(root, "50m", listens, likes)
    return root


def expected(events: pd.DataFrame, val: bool = True) -> dict[str, list[tuple[int, int, int]]]:
    """Returns sorted (uid, item_id, count) of each split, as the benchmark's rules say."""
    times = events["timestamp"]
    train_end = TEST - GAP - (DAY + GAP if val else 0)
    parts = {
        "train": events[times < train_end],
        "val": events[(times >= TEST - GAP - DAY) & (times < TEST - GAP)] if val else events[:0],
        "test": events[times >= TEST],
    }
    users = set(parts["train"]["uid"])
    counts = {name: part[part["uid"].isin(users)].groupby(["uid", "item_id"]).size() for name, part in parts.items()}
    return {name: sorted(rows.reset_index().itertuples(index=False, name=None)) for name, rows in counts.items()}


def found(workspace: Workspace) -> dict[str, list[tuple[int, int, int]]]:
    ids = np.array(TrackIndex.load(workspace.track_index).ids).astype(int)
    rows = {}
    for name in NAMES:
        frame = pd.read_parquet(workspace.split(name))
        rows[name] = sorted(zip(frame["user_id"], ids[frame["track_id"]].tolist(), frame["count"], strict=True))
    return rows


@pytest.mark.parametrize("plays", ["", "sequential/50m/listens.parquet", "flat/50m/multi_event.parquet"])
def test_listens(compose: Callable[..., DictConfig], tmp_path: Path, published: Path, plays: str) -> None:
    workspace = Workspace(tmp_path / "workspace")
    stages.prepare(compose("data=yambda", f"data.plays={published / plays}"))
    listens = made_listens()
    enough = listens[listens["played_ratio_pct"] >= 50]
    ids = TrackIndex.load(workspace.track_index).ids
    assert ids == sorted(ids, key=int) != sorted(ids)
    assert found(workspace) == expected(enough) and min(map(len, expected(enough).values())) > 30
    stages.prepare(compose("data=yambda", f"data.plays={published / plays}", "data.min_played=0", "data.val_window=0"))
    assert found(workspace) == expected(listens, val=False)


@pytest.mark.parametrize("plays", ["", "flat/50m/multi_event.parquet"])
def test_likes(compose: Callable[..., DictConfig], tmp_path: Path, published: Path, plays: str) -> None:
    stages.prepare(compose("data=yambda", f"data.plays={published / plays}", "data.events=likes"))
    assert found(Workspace(tmp_path / "workspace")) == expected(made_likes())


def test_from_prepare_to_tables(compose: Callable[..., DictConfig], tmp_path: Path, published: Path) -> None:
    """KNN on the published vectors against NumPy: heard tracks stay in the lists, unseen ones in the truth."""
    listens = made_listens()
    listens = listens[listens["played_ratio_pct"] >= 50]
    items = np.sort(listens["item_id"].unique())
    vectors = write_vectors(published, items)
    artists = write_mapping(published, "artist", [(item % 5, item) for item in items] + [(9, int(items[0]))])
    options = ("experiment=yambda", f"data.plays={published}", f"data.artists={artists}", "logger=none", "trainer=cpu")
    stages.prepare(compose(*options))
    train = (*options, f"embedding.checkpoint={published}", "recommender=knn", "run_name=knn_yambda", "eval.k=10")
    stages.train(compose(*train))
    workspace = Workspace(tmp_path / "workspace")
    lists = pd.read_parquet(workspace.predictions("knn_yambda"))
    splits = expected(listens)
    known = np.array(sorted({item for _, item, _ in splits["train"]}))
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    dcg, ideal, ratios = [], [], []
    for user in sorted({user for user, _, _ in splits["test"]}):
        history = [item for owner, item, _ in splits["train"] if owner == user]
        taste = vectors[np.searchsorted(items, history)].mean(axis=0)
        ranked = known[np.argsort(-units[np.searchsorted(items, known)] @ taste, kind="stable")]
        own = lists[lists["user_id"] == user].sort_values("rank")["item_id"]
        ids = np.array(TrackIndex.load(workspace.track_index).ids).astype(int)
        assert ids[own].tolist()[:10] == ranked[:10].tolist() and len(own) == min(100, len(known))
        truth = {item: count for owner, item, count in splits["test"] if owner == user}
        discounts = 1 / np.log2(np.arange(2, 12))
        dcg.append(discounts[np.isin(ranked[:10], list(truth))].sum())
        ideal.append(discounts[: sum(truth.values())].sum())
        ratios.append(dcg[-1] / discounts[: len(truth)].sum())
    compare(workspace, 10, pooled=True)  # follows the run, which repeats
    row = pd.read_csv(workspace.root / "cosine.csv").iloc[0]
    assert row["NDCG@10"] == pytest.approx(np.mean(ratios)) and np.mean(dcg) > 0
    assert row["NDCG@10 pooled"] == pytest.approx(np.mean(dcg) / np.mean(ideal))
    groups = pd.read_csv(workspace.root / "artists.csv")
    assert set(groups["artist"]) <= {"known", "new"} and len(groups)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["data.events=skips"], "data.events=skips is invalid; must be one of: listens, likes, dislikes"),
        (["data.min_played=half"], "data.min_played=half is invalid; must be a percentage of 0 or more"),
        (["data.min_played=0.5"], "data.min_played=0.5 is invalid; must be a percentage: 50 is half a track"),
        (["data.size=5b"], "has no flat/5b/listens.parquet .data.size, data.events.; it has flat/50m/likes.parquet"),
        (["data.plays=null"], "data=yambda_50m_listens needs a listening log; set data.plays=FILE"),
        (["data.plays={}/flat/50m/likes.parquet"], "has no column 'played_ratio_pct', which data.min_played=50 needs"),
    ],
)
def test_refused(compose: Callable[..., DictConfig], published: Path, options: list[str], message: str) -> None:
    with pytest.raises(MusicrecError, match=message) as caught:
        given = [option.replace("{}", str(published)) for option in options]
        stages.prepare(compose("data=yambda", f"data.plays={published}", *given))
    assert "\n" not in str(caught.value)


def test_shares_of_more_than_the_whole() -> None:
    assert YambdaEvents(min_played=100).min_played == 100  # players seek back, so ratios exceed 100
