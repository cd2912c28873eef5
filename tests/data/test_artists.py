"""The file of artists: formats, unknown ids, refusals."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from musicrec.data import artists as artists_module
from musicrec.data.artists import load_artists, write_artists
from musicrec.data.prepare import prepare
from musicrec.data.source import DataSource
from musicrec.errors import MusicrecError
from musicrec.workspace import TrackIndex, Workspace
from tests.data.made_log import flat
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


ROWS = [
    ("1", "Song A", "X", "2019-03-01"),
    ("1", "Song B", "", "2019-03-02"),
    ("2", "Song A", "X", "2019-03-01"),
    ("2", "Song C", "Ü, Y", "2020-03-01"),
    ("1", "Song A", "Z", "2020-03-02"),
]


def log_with_artists(path: Path, kind: str) -> Path:
    frame = pd.DataFrame(ROWS, columns=["user_id", "track_id", "by", "timestamp"])
    if kind == "parquet":
        frame.replace("", None).to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if kind == "tsv" else ",")
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet", "bad row"])
def test_a_column_of_the_log(tmp_path: Path, kind: str) -> None:
    path = log_with_artists(tmp_path / "log", kind)
    if kind == "bad row":  # the block is then read again, value by value
        path.write_text(path.read_text() + "2,Song C,W,no time\n")
    workspace = Workspace(tmp_path / "workspace")
    made = flat(DataSource, "mine", plays=path, artist_column="by", split="leave_one_out")
    with pytest.raises(MusicrecError, match="no user has 3 tracks"):
        prepare(made, workspace)
    written = (workspace.data_dir / "artists.csv").read_text()
    assert written == 'idx,artist\n0,X\n0,Z\n2,"Ü, Y"\n'
    # It is read again where the list was lost, and gone where nobody asks for it.
    (workspace.data_dir / "artists.csv").unlink()
    temporal = flat(DataSource, "mine", plays=path, artist_column="by", split="hot_cold", test="2020-02-20")
    prepare(temporal, workspace)
    assert (workspace.data_dir / "artists.csv").read_text() == written
    prepare(flat(DataSource, "mine", plays=path, split="hot_cold", test="2020-02-20"), workspace)
    assert not (workspace.data_dir / "artists.csv").exists()


def test_a_column_that_composes_the_track_id(tmp_path: Path) -> None:
    path = log_with_artists(tmp_path / "log", "csv")
    workspace = Workspace(tmp_path / "workspace")
    names = {"track_column": "{by} - {track_id}", "artist_column": "by"}
    prepare(flat(DataSource, "mine", plays=path, split="hot_cold", test="2020-02-20", **names), workspace)
    assert TrackIndex.load(workspace.track_index).ids == ["X - Song A", "Z - Song A", "Ü, Y - Song C"]
    assert (workspace.data_dir / "artists.csv").read_text() == 'idx,artist\n0,X\n1,Z\n2,"Ü, Y"\n'


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"artist_column": "artist"}, "has no column 'artist'; its columns are: .*Set data.artist_column=NAME"),
        ({"artist_column": "user_id"}, "one column of .* is used for two purposes"),
        ({"artist_column": "by", "artists": "x.csv"}, "data.artists and data.artist_column both say"),
        ({"artist_column": "by", "format": "lastfm_1k"}, "data.format=lastfm_1k has 6"),
    ],
)
def test_refused_columns(tmp_path: Path, options: dict[str, str], message: str) -> None:
    path = log_with_artists(tmp_path / "log", "csv")
    with pytest.raises(MusicrecError, match=message) as caught:
        prepare(flat(DataSource, "mine", plays=path, **options), Workspace(tmp_path / "workspace"))
    assert "\n" not in str(caught.value)


def test_formats_without_columns(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a x y z\nb x z\n")
    made = flat(DataSource, "mine", plays=tmp_path / "log", format="sequences", artist_column="by")
    with pytest.raises(MusicrecError, match="has no column 'by' .data.artist_column.: only tables with named columns"):
        prepare(made, Workspace(tmp_path / "workspace"))


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
