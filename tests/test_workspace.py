from pathlib import Path

import pytest

from musicrec.errors import MusicrecError
from musicrec.workspace import TrackIndex


def test_index_survives_a_round_trip_with_awkward_ids(tmp_path: Path) -> None:
    ids = ["a", 'comma, "quote"', "007", "ünï/cödé"]
    TrackIndex(ids).save(tmp_path / "index.csv")
    assert TrackIndex.load(tmp_path / "index.csv").ids == ids
    assert (tmp_path / "index.csv").read_text().splitlines()[:2] == ["idx,trackid", "0,a"]


def test_new_tracks_are_appended_never_inserted() -> None:
    index = TrackIndex(["m", "z"])
    longer = index.extended(["z", "b", "a"])
    assert longer.ids == ["m", "z", "a", "b"]
    assert index.extended(["m"]) is index


def test_a_file_made_before_tracks_were_appended_still_fits() -> None:
    index = TrackIndex(["m", "z"])
    stamp = index.stamp()
    index.extended(["a"]).check(stamp, Path("x.npy"), "python extract.py")
    with pytest.raises(MusicrecError, match=r"x\.npy was made with another .* python extract\.py"):
        TrackIndex(["z", "m", "a"]).check(stamp, Path("x.npy"), "python extract.py")
    with pytest.raises(MusicrecError, match="another trackid_sorted.csv"):
        TrackIndex(["m"]).check(stamp, Path("x.npy"), "python extract.py")
    TrackIndex(["other"]).check({}, Path("foreign.pqt"), "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trackid\na\n", "header idx,trackid"),
        ("idx,trackid\n0,a\n2,b\n", "line 3: expected idx 1"),
        ("idx,trackid\n0,a\n1,a\n", "1 duplicate track ids"),
    ],
)
def test_a_broken_index_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "index.csv").write_text(text)
    with pytest.raises(MusicrecError, match=message):
        TrackIndex.load(tmp_path / "index.csv")


def test_ids_with_line_breaks_survive_a_round_trip(tmp_path: Path) -> None:
    ids = ["a\rb", "a\r\nb", "\n", "\r", 'tab\t"quote', "\u202eright to left", "x" * 300, " blank "]
    TrackIndex(ids).save(tmp_path / "index.csv")
    assert TrackIndex.load(tmp_path / "index.csv").ids == ids
