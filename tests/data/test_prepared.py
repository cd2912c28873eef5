"""Splits are used with the settings they were made with, or refused; they are identified by the log's content."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import DictConfig

from musicrec import stages
from musicrec.data.log import content_hash as hashing
from musicrec.data.log.content_hash import content_hash
from musicrec.data.prepare import is_prepared, prepare
from musicrec.data.prepared import as_prepared
from musicrec.data.source import DataSource
from musicrec.errors import MusicrecError
from musicrec.files import read_json
from musicrec.workspace import Workspace
from tests.data.made_log import flat

PREPARED = ("data=custom", "data.start=2019-02-20", "data.test=2020-02-20")
KNN = ("embedding=random", "embedding.dim=6", "recommender=knn", "logger=none", "trainer=cpu")


@pytest.fixture
def log(tiny_workspace: Path) -> Path:
    return tiny_workspace.parent / "log.tsv"


def record(root: Path) -> dict[str, object]:
    (path,) = root.glob("runs/*/run.json")
    return dict(read_json(path))


def test_other_settings_than_those_of_the_splits_are_refused_by_name(
    compose: Callable[..., DictConfig], tiny_workspace: Path
) -> None:
    changes = ("data.test=2020-01-10", "data.split=hot_cold", "data.min_user_plays=50")
    with pytest.raises(MusicrecError) as refused:
        stages.train(compose("data=custom", *KNN, *changes))
    for difference in (
        "data.test=2020-02-20 (now 2020-01-10)",
        "data.split=temporal (now hot_cold)",
        "data.min_user_plays=0 (now 50)",
        "python prepare.py data=custom",
    ):
        assert difference in str(refused.value)
    assert not list(tiny_workspace.glob("runs/*"))
    assert stages.train(compose(*PREPARED, *KNN)) is not None


def test_settings_that_are_not_stated_follow_the_splits_and_the_record_says_so(
    compose: Callable[..., DictConfig], tiny_workspace: Path
) -> None:
    stages.train(compose("data=custom", *KNN))
    data = record(tiny_workspace)["settings"]["data"]  # type: ignore[index]
    assert (data["split"], data["start"], data["test"]) == ("temporal", "2019-02-20", "2020-02-20")


def test_the_demo_world_is_not_split_again_behind_the_back_of_other_runs(
    compose: Callable[..., DictConfig], tmp_path: Path
) -> None:
    small = ("data=demo", "data.tracks_per_style=2", "data.listeners=60", *KNN)
    stages.train(compose(*small))
    train = tmp_path / "workspace" / "data" / "train.pqt"
    before = train.read_bytes()
    with pytest.raises(MusicrecError, match=r"data.split=temporal \(now leave_one_out\)"):
        stages.train(compose(*small, "data.split=leave_one_out"))
    assert train.read_bytes() == before
    stages.prepare(compose(*small, "data.split=leave_one_out"))
    stages.train(compose(*small, "recommender=knn"))
    assert (tmp_path / "workspace" / "data" / "train.pqt").read_bytes() != before


def test_another_log_is_refused(compose: Callable[..., DictConfig], tiny_workspace: Path, log: Path) -> None:
    stages.train(compose(*PREPARED, *KNN, f"data.plays={log}"))
    log.write_text(log.read_text() + "1\tt1\t2020-02-22 10:00:00\n")
    message = f"a listening log of other content than data.plays={log} has now: .*; for other data choose another data"
    with pytest.raises(MusicrecError, match=message):
        stages.train(compose(*PREPARED, *KNN, f"data.plays={log}"))


def test_a_touched_copied_or_moved_log_is_the_same(tiny_workspace: Path, log: Path, tmp_path: Path) -> None:
    def source(path: Path) -> DataSource:
        return flat(DataSource, "tiny", plays=path, start="2019-02-20", test="2020-02-20")

    before = {path.name: path.read_bytes() for path in (tiny_workspace / "data").iterdir()}
    os.utime(log, (0, 0))
    moved = tmp_path / "elsewhere" / "log.tsv"
    moved.parent.mkdir()
    shutil.copy(log, moved)
    shutil.move(tiny_workspace, tmp_path / "moved")
    workspace = Workspace(tmp_path / "moved")
    for path in (log, moved):
        assert is_prepared(source(path), workspace)
        assert prepare(source(path), workspace).made == ()
    assert {path.name: path.read_bytes() for path in workspace.data_dir.iterdir()} == before


def test_a_hash_is_remembered_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, remembered = tmp_path / "log", tmp_path / "hashes.json"
    path.write_text("abc")
    first = content_hash(path, remembered)
    assert first == "cf4ab791c62b8d2b2109c90275287816", "BLAKE2b, 16 bytes"
    monkeypatch.setattr(hashing.hashlib, "file_digest", None)
    assert content_hash(path, remembered) == first
    monkeypatch.undo()
    path.write_text("abd")
    os.utime(path, (1, 1))
    assert content_hash(path, remembered) != first
    for damaged in ("", "[]", "{", json.dumps({str(path): 3}), json.dumps({str(path): [3, 1, None]})):
        remembered.write_text(damaged)
        assert len(content_hash(path, remembered)) == 32


def test_files_of_other_programs_are_not_compared(tiny_workspace: Path) -> None:
    train = tiny_workspace / "data" / "train.pqt"
    pd.read_parquet(train).to_parquet(train)
    source = flat(DataSource, "tiny", split="hot_cold")
    assert as_prepared(source, Workspace(tiny_workspace), {"split"})[1] == {}
