"""hot_cold, leave_one_out and the filters: row for row the references; what they refuse; what they leave behind."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from musicrec.data.interactions import SplitData
from musicrec.data.prepare import is_prepared, prepare
from musicrec.errors import MusicrecError
from musicrec.files import write_parquet
from musicrec.workspace import TrackIndex, Workspace
from tests.data.made_log import END, SMALL, START, TEST, made_log, save, some_log, source
from tests.data.split_reference import core, hot_cold_split, leave_one_out_split, temporal_split

HOT_COLD = ("train", "val", "hot_test", "cold_test")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def equal(workspace: Workspace, names: Sequence[str], reference: list[pd.DataFrame], at_least: int = 20) -> None:
    for name, expected in zip(names, reference, strict=True):
        assert len(expected) >= at_least
        pd.testing.assert_frame_equal(pd.read_parquet(workspace.split(name)), expected, obj=name)
    assert {path.stem for path in workspace.data_dir.glob("*.pqt")} == set(names)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("strings", [False, True])
@pytest.mark.parametrize("counts", [False, True])
def test_hot_cold_equals_the_reference(
    tmp_path: Path, workspace: Workspace, seed: int, strings: bool, counts: bool
) -> None:
    log = made_log(seed, strings=strings, counts=counts)
    new = (log.timestamp >= TEST) & (log.index % 4 == 0)
    log["track_id"] = log.track_id.where(~new, "new " + log.track_id)
    track_ids = sorted(log.track_id.unique())[5:][::-1]
    TrackIndex(track_ids).save(workspace.track_index)
    report = prepare(source(save(log, tmp_path / "log.tsv"), split="hot_cold", start="2020-06-01"), workspace)
    equal(workspace, HOT_COLD, hot_cold_split(log, track_ids, TEST), at_least=9)
    assert report.period.startswith("train from 2019-02-20 00:00:00, held out from 2020-02-20 00:00:00, ")
    assert report.period.endswith("plays from 2020-03-20 00:00:00 on are dropped")


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("strings", [False, True])
@pytest.mark.parametrize("counts", [False, True])
def test_leave_one_out_equals_the_reference(
    tmp_path: Path, workspace: Workspace, seed: int, strings: bool, counts: bool
) -> None:
    log = made_log(seed, strings=strings, counts=counts)
    track_ids = sorted(log.track_id.unique())[::-1][5:]
    TrackIndex(track_ids).save(workspace.track_index)
    path = save(log, tmp_path / "log.tsv")
    prepare(source(path, split="leave_one_out", start="auto", test="auto"), workspace)
    equal(workspace, ("train", "val", "test"), leave_one_out_split(log, track_ids))
    prepare(source(path, split="leave_one_out", end=END), workspace)
    inside = log[(log.timestamp >= START) & (log.timestamp < END)]
    equal(workspace, ("train", "val", "test"), leave_one_out_split(inside, track_ids))


@pytest.mark.parametrize(("users", "tracks"), [(12, 0), (0, 30), (15, 40)])
def test_core_equals_the_reference(tmp_path: Path, workspace: Workspace, users: int, tracks: int) -> None:
    log = made_log(4, strings=False, counts=True)
    track_ids = sorted(log.track_id.unique())[3:]
    TrackIndex(track_ids).save(workspace.track_index)
    path = save(log, tmp_path / "log.tsv")
    prepare(source(path, min_user_plays=users, min_track_plays=tracks, end=END), workspace)
    passed = core(log[log.track_id.isin(track_ids)], START, END, users, tracks)
    assert len(passed) < len(log[log.track_id.isin(track_ids)])
    equal(workspace, ("train", "val", "test"), temporal_split(passed, track_ids, START, TEST, END))


@pytest.mark.parametrize(("sample", "kept"), [(20, 20), (0.25, 22), (10_000, 87)])
def test_item_sample(tmp_path: Path, workspace: Workspace, sample: float | None, kept: int) -> None:
    log = made_log(4, strings=False, counts=False)
    path = save(log, tmp_path / "log.tsv")
    prepare(source(path, item_sample=sample, split="leave_one_out", start="auto"), workspace)
    frames = [pd.read_parquet(workspace.split(name)) for name in ("train", "val", "test")]
    tracks = sorted(set(pd.concat(frames).track_id))
    assert len(tracks) == kept
    ids = [TrackIndex.load(workspace.track_index).ids[track] for track in tracks]
    passed = log[log.track_id.isin(ids)]
    equal(workspace, ("train", "val", "test"), leave_one_out_split(passed, sorted(log.track_id.unique())), at_least=1)
    again = Workspace(tmp_path / "again")
    prepare(source(path, item_sample=sample, split="leave_one_out", start="auto"), again)
    pd.testing.assert_frame_equal(pd.read_parquet(again.split("train")), frames[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_user_plays": 10}, "no user passes data.min_user_plays=10"),
        ({"min_track_plays": 9}, "no user passes .*data.min_track_plays=9"),
        ({"split": "hot_cold", "test": "2021-03-01"}, "no play is within data.start=2020-03-01.*data.end=2021-04-01"),
        ({"split": "leave_one_out", "start": "2020-01-01"}, "no user has 3 tracks"),
        ({"split": "leave_one_out", "start": "2022-01-01"}, "no play is within"),
    ],
)
def test_nothing_left(tmp_path: Path, workspace: Workspace, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(MusicrecError, match=message) as caught:
        prepare(source(some_log(tmp_path / "log.tsv", SMALL), **settings), workspace)
    assert "\n" not in str(caught.value)
    assert "2019-03-01 00:00:00 to 2020-02-2" in str(caught.value)


def test_one_user_is_test(tmp_path: Path, workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    prepare(source(some_log(tmp_path / "log.tsv", SMALL), end="2020-02-22"), workspace)
    assert "only one user (1) has held-out plays" in caplog.text
    data = SplitData.load(workspace, TrackIndex.load(workspace.track_index))
    assert data.truth["val"].empty
    assert data.truth["test"][["user_id", "track_id"]].values.tolist() == [[1, 0]]


def test_one_listener_has_cold_tracks_only(tmp_path: Path, workspace: Workspace) -> None:
    lines = ["1 a 2019-03-01", "1 b 2019-03-02", "1 c 2019-03-03", "1 d 2020-02-21", "1 a 2020-02-22"]
    path = some_log(tmp_path / "log.tsv", lines)
    for split in ("temporal", "leave_one_out"):
        with pytest.raises(MusicrecError, match="data.split=hot_cold holds out the new tracks"):
            prepare(source(path, split=split), workspace)
    prepare(source(path, split="hot_cold"), workspace)
    frames = {name: pd.read_parquet(workspace.split(name)).track_id.tolist() for name in HOT_COLD}
    assert frames == {"train": [0, 1, 2], "val": [], "hot_test": [], "cold_test": [3]}


def test_another_split_leaves_no_old_files(tmp_path: Path, workspace: Workspace) -> None:
    path = save(made_log(0, strings=False, counts=False), tmp_path / "log.tsv")
    temporal = source(path)
    assert not is_prepared(temporal, workspace)
    prepare(temporal, workspace)
    assert is_prepared(temporal, workspace)
    tracks = TrackIndex.load(workspace.track_index)
    assert SplitData.load(workspace, tracks).split == "temporal"
    hot_cold = source(path, split="hot_cold")
    assert not is_prepared(hot_cold, workspace)
    prepare(hot_cold, workspace)
    assert not workspace.split("test").exists()
    assert is_prepared(hot_cold, workspace) and not is_prepared(temporal, workspace)
    with pytest.raises(MusicrecError):
        prepare(source(path, test="2030-01-01"), workspace)
    assert is_prepared(hot_cold, workspace)
    prepare(temporal, workspace)
    assert {path.stem for path in workspace.data_dir.glob("*.pqt")} == {"train", "val", "test"}


def test_cold_tracks_are_apart_from_those_of_train(tmp_path: Path, workspace: Workspace) -> None:
    path = save(made_log(0, strings=False, counts=False), tmp_path / "log.tsv")
    prepare(source(path, split="hot_cold"), workspace)
    data = SplitData.load(workspace, TrackIndex.load(workspace.track_index))
    train, cold = (set(pd.read_parquet(workspace.split(name)).track_id) for name in ("train", "cold_test"))
    assert list(data.truth) == ["val", "hot_test", "cold_test"]
    assert cold and not train & cold
    assert (data.train.candidates.tolist(), data.cold.tolist()) == (sorted(train), sorted(cold))
    assert [data.pool(name) for name in data.truth] == ["warm", "warm", "cold"]
    mixed = SplitData.load(workspace, TrackIndex.load(workspace.track_index), "mixed")
    assert [mixed.pool(name) for name in mixed.truth] == ["all"] * 3
    without = data.without_items(np.isin(np.arange(data.train.num_tracks), sorted(cold)[:1]))
    assert without.cold.tolist() == sorted(cold)[1:]
    assert data.history("cold_test") is data.train


def test_published_files_without_metadata_are_read(workspace: Workspace) -> None:
    """Those of the 2026 study have none."""
    frame = pd.DataFrame(
        {"user_id": [1, 2], "track_id": [0, 1], "timestamp": pd.to_datetime(["2019-01-01"] * 2), "count": [1, 1]}
    )
    for name in HOT_COLD:
        write_parquet(frame.assign(track_id=2) if name == "cold_test" else frame, workspace.split(name))
    data = SplitData.load(workspace, TrackIndex(list("abc")))
    assert (data.split, data.train.candidates.tolist(), data.cold.tolist()) == ("hot_cold", [0, 1], [2])


def test_cold_tracks_that_are_in_train(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    frame = pd.DataFrame(
        {"user_id": [1, 2], "track_id": [0, 1], "timestamp": pd.to_datetime(["2019-01-01"] * 2), "count": [1, 1]}
    )
    for name in HOT_COLD:
        write_parquet(frame.assign(track_id=[1, 2]) if name == "cold_test" else frame, workspace.split(name))
    data = SplitData.load(workspace, TrackIndex(list("abc")))
    assert data.cold.tolist() == [2]
    assert "1 of the 2 tracks of" in caplog.text and "are in train, so they are not cold" in caplog.text


def test_history_of_leave_one_out(tmp_path: Path, workspace: Workspace) -> None:
    lines = ["1 a 2019-03-04", "1 b 2019-03-05", "1 c 2019-03-06", "1 d 2019-03-07", "2 c 2019-03-01", "2 d 2019-03-02"]
    lines += ["2 a 2019-03-03", "2 e 2019-03-04", "3 d 2019-03-01"]
    prepare(source(some_log(tmp_path / "log.tsv", lines), split="leave_one_out"), workspace)
    data = SplitData.load(workspace, TrackIndex.load(workspace.track_index))
    assert data.sequential
    assert data.history("val") is data.train
    test = data.history("test")
    assert test.user_ids.tolist() == [1, 2, 3]
    assert [part.tolist() for part in np.split(test.items, test.offsets[1:-1])] == [[0, 1, 2], [2, 3, 0], [3]]
    assert test.candidates.tolist() == [0, 1, 2, 3]
    missing = np.zeros(5, bool)
    missing[2] = True
    without = data.without_items(missing)
    assert without.history("test").items.tolist() == [0, 1, 3, 0, 3]
    assert len(without.truth["val"]) == 2
