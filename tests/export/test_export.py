"""evaluate.py export=…: each format read by hand, the way back by data=split_files and preds/, resuming, mistakes."""

from __future__ import annotations

import logging
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from omegaconf import DictConfig

from musicrec import stages
from musicrec.errors import MusicrecError
from musicrec.files import read_json, write_parquet
from musicrec.workspace import TrackIndex, Workspace

NAMES = ("train", "val", "test")
RECBOLE = {"train": "train", "val": "valid", "test": "test"}
COLUMNS = ["user_id", "track_id", "timestamp", "count"]
PLAYS = {
    "train": [("b", 4, "2020-01-01", 1), ("b", 2, "2020-01-02 00:00:00.25", 3), ("é\t\"x'", 2, "2020-01-05", 2)],
    "val": [("b", 5, "2020-02-01", 1)],
    "test": [("é\t\"x'", 4, "2020-02-03", 1), ("c", 2, "2020-02-04", 7)],
}
VECTORS = np.array([[9, 9], [9, 9], [1, 2], [9, 9], [np.nan, np.nan], [5, 8]], dtype=np.float32)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Returns a workspace of three users and six tracks, three of which are played; track 4 has no vector."""
    workspace = Workspace(tmp_path / "workspace")
    index = TrackIndex([f"t{row}" for row in range(6)])
    index.save(workspace.track_index)
    for name, rows in PLAYS.items():
        frame = pd.DataFrame(rows, columns=COLUMNS)
        frame["timestamp"] = pd.to_datetime(frame["timestamp"], format="ISO8601")
        write_parquet(frame, workspace.split(name), index.stamp())
    np.save(tmp_path / "vectors.npy", VECTORS)
    return workspace.root


Export = Callable[..., Path]


@pytest.fixture
def export(compose: Callable[..., DictConfig], root: Path, tmp_path: Path) -> Export:
    """Returns a function that exports the workspace for a framework and returns the folder."""

    def exported(framework: str, *overrides: str) -> Path:
        words = ["data=custom", "data.name=plays", f"export={framework}"]
        if not any(word.startswith("embedding=") for word in overrides):
            words += ["embedding=precomputed", "embedding.name=mine", "embedding.ids=index"]
            words += [f"embedding.path={tmp_path}/vectors.npy"]
        stages.evaluate(compose(*words, *overrides))
        return root / "export" / framework

    return exported


def seconds(name: str) -> list[float]:
    return [pd.Timestamp(time).timestamp() for _, _, time, _ in PLAYS[name]]


def test_recbole(export: Export) -> None:
    folder = export("recbole")
    numbers = {"b": 0, "c": 1, "é\t\"x'": 2}, {2: 0, 4: 1, 5: 2}
    for name in NAMES:
        lines = (folder / "plays" / f"plays.{RECBOLE[name]}.inter").read_text().splitlines()
        assert lines[0] == "user_id:token\titem_id:token\tcount:float\ttimestamp:float"
        expected = [
            (numbers[0][user], numbers[1][track], count, time)
            for (user, track, _, count), time in zip(PLAYS[name], seconds(name), strict=True)
        ]
        found = [tuple(map(float, line.split("\t"))) for line in lines[1:]]
        assert found == sorted(expected, key=lambda row: (row[0], row[3]))
    assert (folder / "plays" / "plays.itememb").read_text() == "iid:token\titem_emb:float_seq\n0\t1.0 2.0\n2\t5.0 8.0\n"
    settings = yaml.safe_load((folder / "recbole.yaml").read_text())
    assert settings["benchmark_filename"] == ["train", "valid", "test"]
    assert settings["preload_weight"] == {"iid": "item_emb"} and settings["load_col"]["itememb"] == ["iid", "item_emb"]


def test_mmrec(export: Export) -> None:
    folder = export("mmrec")
    table = pd.read_csv(folder / "plays" / "plays.inter", sep="\t")
    assert list(table.columns) == ["userID", "itemID", "rating", "timestamp", "x_label"]
    assert table.x_label.value_counts().to_dict() == {0: 3, 1: 1, 2: 2}
    held_out = set(zip(table.userID, table.itemID, table.x_label, strict=True))
    assert {(0, 2, 1), (1, 0, 2), (2, 1, 2)} <= held_out
    vectors = np.load(folder / "plays" / "image_feat.npy")
    # A row for each of 0 .. max(itemID), as MMRec demands; what has no vector gets the mean of the others.
    np.testing.assert_array_equal(vectors, np.array([[1, 2], [3, 5], [5, 8]], dtype=np.float32))
    items = pd.read_csv(folder / "plays" / "i_id_mapping.csv", sep="\t")
    assert items.to_dict("list") == {"track_id": ["t2", "t4", "t5"], "itemID": [0, 1, 2]}
    users = pd.read_csv(folder / "plays" / "u_id_mapping.csv", sep="\t")
    assert users.to_dict("list") == {"user_id": ["b", "c", "é\t\"x'"], "userID": [0, 1, 2]}
    settings = yaml.safe_load((folder / "plays.yaml").read_text())
    assert settings["inter_file_name"] == "plays.inter" and settings["field_separator"] == "\t"


def test_cornac(export: Export) -> None:
    folder = export("cornac")
    train = pd.read_csv(folder / "train.csv")
    assert train.to_dict("list") == {
        "user": [0, 0, 2],
        "item": [1, 0, 0],
        "rating": [1, 1, 1],
        "timestamp": [1577836800.0, 1577923200.25, 1578182400.0],
    }
    assert np.load(folder / "features.npy").tolist() == [[1, 2], [3, 5], [5, 8]]
    assert pd.read_parquet(folder / "items.pqt").to_dict("list") == {
        "item": [0, 1, 2],
        "item_id": [2, 4, 5],
        "track_id": ["t2", "t4", "t5"],
    }
    assert pd.read_parquet(folder / "users.pqt").user_id.tolist() == ["b", "c", "é\t\"x'"]


@pytest.mark.parametrize("framework", ["recbole", "mmrec"])
def test_what_is_exported_reads_back_as_the_same_splits(
    export: Export, compose: Callable[..., DictConfig], root: Path, framework: str, tmp_path: Path
) -> None:
    base = export(framework) / "plays"
    words = ["data=split_files", "data.name=back", f"paths.root={tmp_path}/back"]
    if framework == "recbole":
        words += [f"data.{name}={base}/plays.{RECBOLE[name]}.inter" for name in NAMES]
    else:
        words += [f"data.plays={base}/plays.inter", "data.split=column", "data.split_column=x_label"]
        words += ["data.split_values={train:0,val:1,test:2}"]
    stages.prepare(compose(*words))
    users = pd.read_parquet(base.parent / "users.pqt")["user_id"]
    tracks = pd.read_parquet(base.parent / "items.pqt")["item_id"]
    for name in NAMES:
        expected = pd.read_parquet(root / "data" / f"{name}.pqt")
        found = pd.read_parquet(tmp_path / "back" / "data" / f"{name}.pqt")
        found = found.assign(user_id=users[found.user_id].to_numpy(), track_id=tracks[found.track_id].to_numpy())
        columns = ["user_id", "track_id", "timestamp", *(["count"] if framework == "recbole" else [])]
        pair = ["user_id", "track_id"]
        pd.testing.assert_frame_equal(
            found[columns].sort_values(pair, ignore_index=True),
            expected[columns].sort_values(pair, ignore_index=True),
            check_dtype=False,
        )


def test_what_is_up_to_date_stays(export: Export, root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        folder = export("cornac")
        assert "3 train, 1 val, 2 test rows, 3 items, vectors of mine; run it with: python" in caplog.messages[-1]
        before = (folder / "export.json").stat().st_mtime_ns
        export("cornac")
        assert "is up to date; run it with" in caplog.messages[-1]
        assert (folder / "export.json").stat().st_mtime_ns == before
    (folder / "val.csv").unlink()
    export("cornac")
    assert (folder / "val.csv").is_file()
    (folder / "export.json").unlink()  # as after a kill
    (folder / "train.csv").write_text("half")
    export("cornac")
    assert len(pd.read_csv(folder / "train.csv")) == 3
    (folder / "export.json").write_text("{")
    assert read_json(export("cornac") / "export.json")["embedding"] == "mine"
    frame = pd.read_parquet(root / "data" / "train.pqt")
    write_parquet(frame.head(2), root / "data" / "train.pqt", TrackIndex.load(root / "trackid_sorted.csv").stamp())
    assert len(pd.read_csv(export("cornac") / "train.csv")) == 2
    scaled = export("cornac", "embedding.transform=l2")
    np.testing.assert_allclose(np.linalg.norm(np.load(scaled / "features.npy")[[0, 2]], axis=1), 1, rtol=1e-6)


def test_without_vectors(export: Export) -> None:
    for framework in ("recbole", "mmrec", "cornac"):
        folder = export(framework, "embedding=none")
        assert not [path for path in folder.rglob("*") if path.suffix in (".npy", ".itememb")]
        assert read_json(folder / "export.json")["embedding"] is None


def test_cold_tracks_are_left_out(export: Export, root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "data" / "test.pqt").rename(root / "data" / "hot_test.pqt")
    frame = pd.DataFrame([("b", 0, pd.Timestamp("2020-03-01"), 1)], columns=COLUMNS)
    write_parquet(frame, root / "data" / "cold_test.pqt", TrackIndex.load(root / "trackid_sorted.csv").stamp())
    folder = export("cornac")
    assert "cold_test is left out: the frameworks know no tracks beyond those of train" in caplog.text
    assert len(pd.read_csv(folder / "test.csv")) == 2
    assert pd.read_parquet(folder / "items.pqt").item_id.tolist() == [2, 4, 5]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["export=spotlight"], "export=spotlight is invalid; must be recbole, mmrec, cornac or null"),
        (["export=[recbole]"], "export=.* is invalid; must be recbole, mmrec, cornac or null"),
        (["embedding=musicnn"], "musicnn.npy is missing: .*; or export the splits alone with embedding=none"),
    ],
)
def test_what_is_refused(export: Export, overrides: list[str], message: str) -> None:
    with pytest.raises(MusicrecError, match=message):
        export("recbole", *overrides)


def test_splits_that_are_missing_are_named(export: Export, root: Path) -> None:
    (root / "data" / "train.pqt").unlink()
    with pytest.raises(MusicrecError, match="train.pqt is missing: make it with python prepare.py"):
        export("mmrec")
    (root / "trackid_sorted.csv").unlink()
    with pytest.raises(MusicrecError, match="trackid_sorted.csv is missing: make it with python prepare.py"):
        export("mmrec")


# What of MMRec its script uses, in miniature: after each epoch val and test are evaluated; the second is the best.
QUICK_START = """
import torch
from utils.topk_evaluator import TopKEvaluator

class Data:
    def __init__(self, *users):
        self.users = torch.tensor(users)
    def get_eval_users(self):
        return self.users

def quick_start(model, dataset, config_dict, save_model):
    assert (model, dataset, save_model) == ("BM3", "plays", False)
    assert config_dict["inter_file_name"] == "plays.inter" and config_dict["topk"] == [3] and config_dict["epochs"] == 3
    valid, test = Data(0), Data(2, 1)
    evaluator = TopKEvaluator({"valid_metric": "Recall@20"})
    for score in (0.1, 0.3, 0.2):
        evaluator.evaluate([torch.tensor([[2, 1]])], valid, score)
        first = [2, 1] if score == 0.3 else [1, 0]
        evaluator.evaluate([torch.tensor([first]), torch.tensor([[0, 1]])], test, 0.9)
"""
EVALUATOR = """
class TopKEvaluator:
    def __init__(self, config):
        self.config = config
    def evaluate(self, lists, data, score):
        return {"recall@20": score}
"""


def test_lists_of_mmrec_come_back(
    export: Export, root: Path, compose: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder, utils = export("mmrec"), tmp_path / "MMRec" / "src" / "utils"
    utils.mkdir(parents=True)
    (utils / "__init__.py").touch()
    (utils / "quick_start.py").write_text(QUICK_START)
    (utils / "topk_evaluator.py").write_text(EVALUATOR)
    monkeypatch.setattr(sys, "argv", ["run_mmrec.py", str(tmp_path / "MMRec"), "BM3", "epochs=3"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(folder / "run_mmrec.py"), run_name="__main__")
    monkeypatch.chdir(tmp_path)
    found = pd.read_parquet(root / "preds" / "mmrec_BM3.pqt")
    assert found[["user_id", "item_id", "rank", "split"]].values.tolist() == [
        ["b", 5, 1, "val"],  # 4 is left out: b played it in train
        ["é\t\"x'", 5, 1, "test"],
        ["é\t\"x'", 4, 2, "test"],
        ["c", 2, 1, "test"],
        ["c", 4, 2, "test"],
    ]
    stages.evaluate(compose("data=custom", "data.name=plays", "eval.k=2", "logger=none"))
    [row] = pd.read_csv(root / "comparison.csv").to_dict("records")
    # c has track 2 on rank 1, the other has track 4 on rank 2.
    assert row["run"] == "mmrec_BM3" and row["MRR@2"] == pytest.approx((1 + 1 / 2) / 2)


def test_recbole_reads_it(export: Export, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    pytest.importorskip("recbole")
    folder = export("recbole")
    arguments: list[Any] = ["run_recbole.py", "Pop", "epochs=1"]
    monkeypatch.setattr(sys, "argv", arguments)
    runpy.run_path(str(folder / "run_recbole.py"), run_name="__main__")
    assert (root / "preds" / "recbole_Pop.pqt").is_file()
