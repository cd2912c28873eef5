"""Split files as training and evaluation read them."""

from pathlib import Path

import pandas as pd
import pytest

from musicrec.data.split_files import PAIR, read_split
from musicrec.errors import MusicrecError
from musicrec.files import write_parquet
from musicrec.workspace import TrackIndex

FRAME = pd.DataFrame({"user_id": ["a", "b"], "track_id": [0, 1], "timestamp": pd.Timestamp("2020-01-01"), "count": 1})
TRACKS = TrackIndex(["x", "y"])


def test_columns_and_track_index(tmp_path: Path) -> None:
    path = tmp_path / "test.pqt"
    write_parquet(FRAME.assign(more=1), path, TRACKS.stamp())
    assert list(read_split(path, TRACKS)) == ["user_id", "track_id", "timestamp", "count"]
    assert list(read_split(path, columns=PAIR, optional=["count"])) == ["user_id", "track_id", "count"]
    assert read_split(path, columns=PAIR).to_numpy().tolist() == [["a", 0], ["b", 1]]
    with pytest.raises(MusicrecError, match=r"another trackid_sorted.csv .* python prepare.py"):
        read_split(path, TrackIndex(["y", "x"]))


def test_foreign_files(tmp_path: Path) -> None:
    path = tmp_path / "test.pqt"
    FRAME[["user_id", "track_id"]].to_parquet(path)
    assert list(read_split(path, TRACKS, PAIR, optional=["count"])) == ["user_id", "track_id"]
    with pytest.raises(MusicrecError, match=r"lacks the column timestamp, count; .* python prepare.py"):
        read_split(path)


def test_unreadable_files(tmp_path: Path) -> None:
    path = tmp_path / "test.pqt"
    with pytest.raises(MusicrecError, match=r"test.pqt is missing: make it with python prepare.py"):
        read_split(path)
    path.write_bytes(b"PAR1")
    with pytest.raises(MusicrecError, match=r"test.pqt cannot be read \(.+\); make it again: python prepare.py"):
        read_split(path)
