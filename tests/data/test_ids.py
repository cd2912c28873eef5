"""Ids are text, whatever they look like: they come through prepare.py and back as they were."""

from pathlib import Path

import pandas as pd
import pytest

from musicrec.data.prepare import prepare
from musicrec.data.source import DataSource
from musicrec.workspace import TrackIndex, Workspace
from tests.data.made_log import flat

IDS = {
    "numbers with zeros": ["7", "07", "007", "7.0", "+7", "-7"],
    "words": ["true", "null", "NaN", "None", "1e5", "inf"],
    "letter case": ["a", "A", "ß", "ss", "İ", "i"],
    "signs": ["a,b", "a\tb", 'a"b', "a'b", "a b", '"'],
    "line breaks": ["a\nb", "a\r\nb", "\n", "a\n", "b\n\nc", "c"],
    "other directions": ["\u202eabc", "\u200fabc", "abc", "a\u200bbc", "שלום", "العربية"],
    "long": ["x" * 300, "x" * 299, "é" * 300, "🎵" * 100, "x" * 301, "y"],
    "paths": ["../x", "/etc/passwd", "a/b", "a//b", ".", "C:\\x"],
    "beyond 64 bits": ["9223372036854775807", "9223372036854775808", "-9223372036854775808", "0", "00", "1"],
}


@pytest.mark.parametrize("kind", IDS)
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_ids_come_back_as_they_were(tmp_path: Path, kind: str, delimiter: str) -> None:
    ids = IDS[kind]
    played = [(user, ids[(row + day) % 6], f"2020-01-0{day + 1}") for row, user in enumerate(ids) for day in range(6)]
    frame = pd.DataFrame(played, columns=["user_id", "track_id", "timestamp"])
    path = tmp_path / "log.csv"
    frame.to_csv(path, index=False, sep=delimiter)
    workspace = Workspace(tmp_path / "w")
    prepare(flat(DataSource, plays=path, split="leave_one_out"), workspace)
    tracks = TrackIndex.load(workspace.track_index)
    assert tracks.ids == sorted(ids)
    plays = pd.read_parquet(workspace.plays)
    found = {(user, tracks.ids[idx], str(at.date())) for user, idx, at in plays.itertuples(index=False)}
    assert found == set(played)
    for name in ("train", "val", "test"):
        assert set(pd.read_parquet(workspace.split(name)).user_id) == set(ids)


def test_plain_integers_are_numbers_and_sorted_as_such(tmp_path: Path) -> None:
    users = ["10", "9", "-1", "2", "0", "100"]
    path = tmp_path / "log.csv"
    played = [(user, (row + day) % 6, f"2020-01-0{day + 1}") for row, user in enumerate(users) for day in range(6)]
    pd.DataFrame(played, columns=["user_id", "track_id", "timestamp"]).to_csv(path, index=False)
    workspace = Workspace(tmp_path / "w")
    prepare(flat(DataSource, plays=path, split="leave_one_out"), workspace)
    assert pd.read_parquet(workspace.plays).user_id.drop_duplicates().tolist() == [-1, 0, 2, 9, 10, 100]
