"""Interactions on five rows by hand; SplitData's refusals."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from musicrec.data.interactions import Interactions, SplitData
from musicrec.errors import MusicrecError
from musicrec.files import write_parquet
from musicrec.workspace import TrackIndex, Workspace

FRAME = pd.DataFrame(
    {
        "user_id": ["b", "a", "a", "Z", "a"],
        "track_id": [3, 2, 0, 1, 3],
        "timestamp": pd.to_datetime(["2019-01-03", "2019-01-02", "2019-01-02", "2019-01-01", "2019-01-01"]),
        "count": [1, 2, 3, 4, 5],
    }
)
FRAME["timestamp"] = FRAME.timestamp.astype("datetime64[us]")


def test_from_frame_sorts_by_user_time_track() -> None:
    data = Interactions.from_frame(FRAME, 5)
    assert data.user_ids.tolist() == ["Z", "a", "b"]
    assert data.users.tolist() == [0, 1, 1, 1, 2]
    assert data.items.tolist() == [1, 3, 0, 2, 3]
    assert data.counts.tolist() == [4, 5, 3, 2, 1]
    assert data.offsets.tolist() == [0, 1, 4, 5]
    assert data.candidates.tolist() == [0, 1, 2, 3]
    assert (data.num_users, data.num_tracks, len(data)) == (3, 5, 5)
    assert [data.users.dtype, data.items.dtype, data.counts.dtype, data.timestamps.dtype] == [
        *[np.dtype(np.int64)] * 3,
        np.dtype("datetime64[us]"),
    ]


def test_integer_users_are_sorted_as_numbers() -> None:
    data = Interactions.from_frame(FRAME.assign(user_id=[10, 9, 9, 100, 9]), 5)
    assert data.user_ids.dtype == np.int64
    assert data.user_ids.tolist() == [9, 10, 100]


def test_user_index() -> None:
    integers = Interactions.from_frame(FRAME.assign(user_id=[30, 4, 4, 200, 4][: len(FRAME)]), 4)
    assert integers.user_index(np.array([200, 5, 4])).tolist() == [integers.num_users - 1, -1, 0]


def test_without_items_keeps_users() -> None:
    data = Interactions.from_frame(FRAME, 5).without_items(np.array([False, True, False, True, True]))
    assert data.user_ids.tolist() == ["Z", "a", "b"]
    assert data.items.tolist() == [0, 2]
    assert data.offsets.tolist() == [0, 0, 2, 2]
    assert data.candidates.tolist() == [0, 2]


def test_track_outside_the_index() -> None:
    with pytest.raises(MusicrecError, match="track idx 0 to 3, but the index has 3 tracks"):
        Interactions.from_frame(FRAME, 3)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path)
    for name in ("train", "val", "test"):
        write_parquet(FRAME, workspace.split(name), {**TRACKS.stamp(), "settings": {"test": 1}})
    return workspace


TRACKS = TrackIndex(list("abcd"))


def test_load(workspace: Workspace) -> None:
    data = SplitData.load(workspace, TRACKS.extended(["e"]))
    assert data.train.num_tracks == 5
    pd.testing.assert_frame_equal(data.truth["test"], FRAME)


def test_load_refuses(workspace: Workspace) -> None:
    with pytest.raises(MusicrecError, match=r"another trackid_sorted.csv .* python prepare.py"):
        SplitData.load(workspace, TrackIndex(list("bacd")))
    write_parquet(FRAME, workspace.split("val"), {**TRACKS.stamp(), "settings": {"test": 2}})
    with pytest.raises(MusicrecError, match="different settings .* python prepare.py"):
        SplitData.load(workspace, TRACKS)
    write_parquet(FRAME.drop(columns="count"), workspace.split("val"), TRACKS.stamp())
    with pytest.raises(MusicrecError, match=r"val.pqt lacks the column count; .* python prepare.py"):
        SplitData.load(workspace, TRACKS)
    workspace.split("val").write_bytes(b"PAR1")
    with pytest.raises(MusicrecError, match="val.pqt cannot be read"):
        SplitData.load(workspace, TRACKS)
    workspace.split("val").unlink()
    with pytest.raises(MusicrecError, match=r"val.pqt is missing: make it with python prepare.py"):
        SplitData.load(workspace, TRACKS)
