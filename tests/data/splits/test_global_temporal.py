"""global_temporal: row for row an independent pandas implementation; Yambda's dates; what is refused."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from musicrec.data.interactions import SplitData
from musicrec.data.prepare import prepare
from musicrec.data.prepared import as_prepared
from musicrec.errors import MusicrecError
from musicrec.evaluation.truth import load_truth
from musicrec.workspace import TrackIndex, Workspace
from tests.data.made_log import made_log, save, some_log, source
from tests.data.split_reference import global_temporal_split

NAMES = ("train", "val", "test")
# The plays of the log lie on the edges of all windows, a microsecond before and after them, too.
EDGES = ("2020-01-18", "2020-01-19", "2020-02-18", "2020-02-19", "2020-02-20", "2020-03-20")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def log_of(seed: int, **kinds: bool) -> pd.DataFrame:
    """Returns a log with plays on the edges of the windows."""
    log = made_log(seed, **kinds)
    moved = log.index[log.index % 5 == 0]
    edges = [pd.Timestamp(edge) + pd.Timedelta(microseconds=shift) for edge in EDGES for shift in (-1, 0, 1)]
    log.loc[moved, "timestamp"] = [edges[row % len(edges)] for row in range(len(moved))]
    return log


@pytest.mark.parametrize(
    ("start", "end", "val", "gap"),
    [
        ("auto", None, "720h", "24h"),
        ("2019-06-01", "2020-03-20", "720h", "24h"),
        ("auto", "2020-03-20", "0", "48h"),
        ("auto", None, "720h", "0"),
    ],
)
@pytest.mark.parametrize(("strings", "counts"), [(False, True), (True, False)])
def test_equals_the_reference(
    tmp_path: Path, workspace: Workspace, start: str, end: str | None, val: str, gap: str, strings: bool, counts: bool
) -> None:
    log = log_of(3, strings=strings, counts=counts)
    track_ids = sorted(log.track_id.unique())[5:][::-1]
    TrackIndex(track_ids).save(workspace.track_index)
    options = {"start": start, "test": "2020-02-20", "end": end, "val_window": val, "gap": gap}
    report = prepare(source(save(log, tmp_path / "log.tsv"), split="global_temporal", **options), workspace)
    first = None if start == "auto" else start
    expected = global_temporal_split(log, track_ids, first, pd.Timestamp("2020-02-20"), end, val, gap)
    for name, frame in zip(NAMES, expected, strict=True):
        assert len(frame) > 100 or (name == "val" and val == "0")
        found = pd.read_parquet(workspace.split(name))
        pd.testing.assert_frame_equal(found, frame, obj=name, check_dtype=len(frame) > 0)
    assert report.statistics["rows"].tolist() == [len(frame) for frame in expected]
    # Users unseen in train are gone; tracks unseen in train and pairs of train are not.
    train, _, test = expected
    assert set(test.user_id) <= set(train.user_id) and not set(test.track_id) <= set(train.track_id)
    pairs = [set(zip(frame.user_id, frame.track_id, strict=True)) for frame in (train, test)]
    assert pairs[0] & pairs[1]


def test_dates_of_yambda(tmp_path: Path, workspace: Workspace) -> None:
    """The benchmark: train before 25,823,600 s (25,911,800 s without val), test from 25,913,600 s on."""
    edges = [25_823_600, 25_825_400, 25_911_800, 25_913_600]
    times = [0, *(edge + shift for edge in edges for shift in (-1, 0)), 26_000_000]
    lines = [f"1 t{time} {time}" for time in times]
    path = some_log(tmp_path / "log.tsv", lines)
    found: dict[str, list[list[int]]] = {}
    for val in ("1d", "0"):
        prepare(source(path, split="global_temporal", start="auto", test="auto", val_window=val), workspace)
        tracks = TrackIndex.load(workspace.track_index).ids
        frames = (pd.read_parquet(workspace.split(name)) for name in NAMES)
        found[val] = [sorted(int(tracks[track][1:]) for track in frame.track_id) for frame in frames]
    assert found["1d"] == [times[:2], times[4:6], times[8:]]
    assert found["0"] == [times[:6], [], times[8:]]


def test_repeats_count_on_request(tmp_path: Path, workspace: Workspace) -> None:
    lines = ["1 a 2020-01-01", "1 b 2020-01-01", "2 b 2020-01-01", "1 a 2020-01-09", "1 a 2020-01-10"]
    path = some_log(tmp_path / "log.tsv", [*lines, "1 c 2020-01-09", "2 b 2020-01-09", "3 a 2020-01-09"])
    settings = {"split": "global_temporal", "start": "auto", "test": "2020-01-09", "val_window": "1d"}
    prepare(source(path, **settings), workspace)
    stored = pd.read_parquet(workspace.split("test"))
    assert stored[["user_id", "track_id", "count"]].values.tolist() == [[1, 0, 2], [1, 2, 1], [2, 1, 1]]
    tracks = TrackIndex.load(workspace.track_index)
    kept = {True: [[1, 0], [1, 2], [2, 1]], False: [[1, 2]]}
    for repeat, pairs in kept.items():
        data = SplitData.load(workspace, tracks, repeat=repeat)
        assert data.repeat is repeat and data.truth["val"].empty
        assert data.truth["test"][["user_id", "track_id"]].values.tolist() == pairs
        assert load_truth(workspace, repeat)["test"][["user_id", "track_id"]].values.tolist() == pairs


def test_train_follows_the_windows_of_the_splits(tmp_path: Path, workspace: Workspace) -> None:
    path = some_log(tmp_path / "log.tsv", ["1 a 2020-01-01", "1 b 2020-01-09"])
    prepared = source(path, split="global_temporal", start="auto", test="2020-01-09", val_window="2d", gap="1h")
    prepare(prepared, workspace)
    followed, different = as_prepared(source(path), workspace, stated=())
    assert followed.splits.split == "global_temporal"
    assert {key: different[key] for key in ("val_window", "gap")} == {"val_window": "2d", "gap": "1h"}
    with pytest.raises(MusicrecError, match=r"was prepared with data.gap=1h \(now 30min\): train with"):
        as_prepared(source(path), workspace, stated={"gap"})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"val_window": "yes"}, "data.val_window='yes' is invalid; must be a duration such as 30min, 12h, 1d or 2w"),
        ({"gap": 5}, "data.gap=5 is invalid"),
        ({"start": "2020-01-06", "val_window": "3d"}, "must be before the end of train .2020-01-05 23:00:00."),
        ({"end": "2020-01-08"}, "data.test .* must be before data.end"),
        ({"test": "2020-01-20"}, "no user of train plays anything from data.test=2020-01-20"),
        ({"test": "2020-01-02"}, "no play is before 2019-12-31 23:00"),
        ({"test": "auto", "end": "2019-01-01"}, "data.end=2019-01-01 leaves no plays"),
    ],
)
def test_refused(tmp_path: Path, workspace: Workspace, settings: dict[str, Any], message: str) -> None:
    path = some_log(tmp_path / "log.tsv", ["1 a 2020-01-01", "1 b 2020-01-09"])
    options = {"split": "global_temporal", "start": "auto", "test": "2020-01-09"} | settings
    with pytest.raises(MusicrecError, match=message) as caught:
        prepare(source(path, **options), workspace)
    assert "\n" not in str(caught.value)
