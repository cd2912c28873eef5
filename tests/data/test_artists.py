"""The file of artists: formats, unknown ids, refusals."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from musicrec.data import artists as artists_module
from musicrec.data.artists import load_artists, write_artists
from musicrec.errors import MusicrecError
from musicrec.workspace import TrackIndex, Workspace
from tests.data.made_yambda import write_mapping

TRACKS = TrackIndex(["1", "b", "c", "10"])


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
def test_artists_by_track_idx(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    frame = pd.DataFrame({"artist": ["X, Y", "Z", "X, Y", "", "W"], "item_id": ["10", "b", "1", "c", "elsewhere"]})
    path = tmp_path / f"artists.{kind}"
    if kind == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if kind == "tsv" else ",")
    workspace = Workspace(tmp_path)
    write_artists(path, workspace, TRACKS)
    artists = load_artists(workspace, len(TRACKS))
    assert artists is not None and artists.known.tolist() == [True, True, False, True]
    assert artists.tracks.tolist() == [0, 1, 3] and artists.artists.tolist() == [0, 1, 0]
    assert "1 of the 4 tracks of" in caplog.text and "are not in the track index; see" in caplog.text
    assert "1 tracks of the index have no artist" in caplog.text
    assert (workspace.data_dir / "unknown_artists.csv").read_text() == "trackid,artist\nelsewhere,W\n"
    write_artists(None, workspace, TRACKS)
    assert load_artists(workspace, len(TRACKS)) is None


@pytest.mark.parametrize("kind", ["artist", "album"])
def test_yambda_has_numbers_and_several_artists(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(artists_module, "_MOST_LISTED", 2)
    path = write_mapping(tmp_path, kind, [(8, 10), (9, 1), (7, 10), (8, 10), (5, 44), (5, 45), (5, 46)])
    workspace = Workspace(tmp_path)
    write_artists(path, workspace, TRACKS)
    artists = load_artists(workspace, len(TRACKS))
    assert artists is not None and artists.matrix.toarray().tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 1, 1]]
    assert (workspace.data_dir / "artists.csv").read_text() == "idx,artist\n0,9\n3,8\n3,7\n"
    assert "3 of the 5 tracks of" in caplog.text and "(the first 2 rows)" in caplog.text
    assert (workspace.data_dir / "unknown_artists.csv").read_text() == "trackid,artist\n44,5\n45,5\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("track_id,artist\nx,A\n", "none of its 1 track ids .*'x'.* is in trackid_sorted.csv"),
        ("track,by\nb,A\n", "has the columns track, by; it must have a column track_id"),
        (None, "does not exist; it must have"),
    ],
)
def test_refusals(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "artists.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(MusicrecError, match=message):
        write_artists(path, Workspace(tmp_path), TRACKS)


def test_a_file_for_another_index(tmp_path: Path) -> None:
    path = tmp_path / "given.csv"
    path.write_text("track_id,artist\n10,A\n")
    write_artists(path, Workspace(tmp_path), TRACKS)
    with pytest.raises(MusicrecError, match="does not fit the track index"):
        load_artists(Workspace(tmp_path), 3)
