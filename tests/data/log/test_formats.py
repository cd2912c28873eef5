"""Formats of listeners' sites, track ids of several columns, quoted line breaks at block borders, matching of names."""

import bz2
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from musicrec.data.log import blocks as log_blocks
from musicrec.data.log.formats import LogColumns
from musicrec.data.log.read import open_log, read_log
from musicrec.data.prepare import prepare
from musicrec.data.source import DataSource
from musicrec.errors import MusicrecError
from musicrec.workspace import TrackIndex, Workspace
from tests.data.made_log import flat, some_log

AUTO = LogColumns("user_id", "track_id", "timestamp", format="auto")


def texts(ids: np.ndarray | pa.DictionaryArray) -> list[str]:
    return [str(value) for value in ids.tolist()] if isinstance(ids, np.ndarray) else ids.to_pylist()


def read(path: Path, columns: LogColumns = AUTO) -> tuple[list[tuple[str, ...]], dict[int, str]]:
    """Returns the good rows as tuples, and the reasons of the bad ones by line."""
    rows: list[tuple[str, ...]] = []
    bad: dict[int, str] = {}
    for batch in read_log(path, columns, workers=2):
        times = [str(pd.Timestamp(at)) for at in batch.timestamps]
        rows += zip(texts(batch.users), batch.tracks.to_pylist(), times, strict=True)
        bad |= {row.line: row.reason for row in batch.bad}
    return rows, bad


def written(tmp_path: Path, content: bytes | str, name: str = "log") -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


EXPECTED = [
    ("me", "Björk - Hyperballad", "2018-03-06 10:24:00"),
    ("me", 'Weird, "Al" - Eat It', "2018-03-16 09:05:00"),
]
QUOTED = '"Weird, ""Al"""'


@pytest.mark.parametrize(
    "text",
    [
        # lastfm.ghan.nl
        '"uts","utc_time","artist","artist_mbid","album","album_mbid","track","track_mbid"\n'
        '"1520331840","06 Mar 2018, 10:24","Björk","","Post","","Hyperballad","1"\n'
        f'"1521191100","16 Mar 2018, 09:05",{QUOTED},"","","","Eat It",""\n',
        # benjaminbenben/lastfm-to-csv: no header
        f"Björk,Post,Hyperballad,06 Mar 2018 10:24\n{QUOTED},,Eat It,16 Mar 2018 09:05\n",
        f"Artist,Album,Song,Date\nBjörk,Post,Hyperballad,6 Mar 2018 10:24\n{QUOTED},,Eat It,2018-03-16 09:05\n",
        f"Scrobble Time,Track Name,Artist Name\n2018-03-06T10:24:00Z,Hyperballad,Björk\n1521191100,Eat It,{QUOTED}\n",
    ],
)
@pytest.mark.parametrize("name", ["auto", "lastfm"])
def test_lastfm_exports(tmp_path: Path, text: str, name: str) -> None:
    path = written(tmp_path, text)
    assert read(path, LogColumns("user_id", "track_id", "timestamp", format=name)) == (EXPECTED, {})
    with open_log(path, AUTO) as opened:
        assert opened.by_name


def test_lastfm_of_several_users_and_bad_rows(tmp_path: Path) -> None:
    text = "username,artist,title,time\nann,A,x,1520331840\nbob,,y,1520331840\nbob,B,,1520331840\n"
    text += "bob,B,y,later\nbob,B\n"
    rows, bad = read(written(tmp_path, text))
    assert rows == [("ann", "A - x", "2018-03-06 10:24:00")]
    assert "'later'" in bad.pop(5)
    assert bad == {3: "no track id", 4: "no track id", 6: "2 columns instead of 4"}
    with pytest.raises(MusicrecError, match="no column for the artist .*first line is: user_id, name"):
        read(written(tmp_path, "user_id,name\n"), LogColumns("user_id", "track_id", "timestamp", format="lastfm"))


@pytest.mark.parametrize("name", ["auto", "lastfm_1k"])
def test_lastfm_1k(tmp_path: Path, name: str) -> None:
    text = (
        'user_000001\t2009-05-04T23:08:57Z\tf1b1cf71\tDeep "Dish\t\tFuck Me Im Famous\n'
        "user_000002\t2009-05-04T13:54:10Z\ta7f7df4a\t坂本龍一\t1a2b\tComposition\n"
        "user_000002\t2009-05-04T13:54:10Z\t\t\t\t\n"
    )
    rows, bad = read(written(tmp_path, text), LogColumns("user_id", "track_id", "timestamp", format=name))
    assert rows == [
        ("user_000001", 'Deep "Dish - Fuck Me Im Famous', "2009-05-04 23:08:57"),
        ("user_000002", "坂本龍一 - Composition", "2009-05-04 13:54:10"),
    ]
    assert bad == {3: "no track id"}


def test_lastfm_1k_of_another_shape(tmp_path: Path) -> None:
    columns = LogColumns("user_id", "track_id", "timestamp", format="lastfm_1k")
    with pytest.raises(MusicrecError, match="has 2 columns; data.format=lastfm_1k has 6"):
        read(written(tmp_path, "a\tb\n"), columns)


NAMES = '{"artist_name": "A", "track_name": "x"%s}'
LISTEN = '{"user_name": "ann", "listened_at": 1520331840, "track_metadata": ' + NAMES + "}\n"


def test_listenbrainz(tmp_path: Path) -> None:
    clean = LISTEN % "" + LISTEN % ', "additional_info": {"recording_mbid": "1", "tags": []}, "release_name": null'
    row = ("ann", "A - x", "2018-03-06 10:24:00")
    assert read(written(tmp_path, clean)) == ([row, row], {})
    assert read(written(tmp_path, bz2.compress(clean.encode()))) == ([row, row], {})
    odd = (
        clean.encode()
        + b'{"listened_at": "2018-03-06T10:24:00", "track_metadata": {"artist_name": "A", "track_name": "x"}}\n'
        b'\n[1]\n{"user_name"\n{"user_id": 7, "timestamp": 1520331840, "artist_name": "B", "track_name": "y"}\n'
        b'{"user_name": "ann", "listened_at": -0.5, "track_metadata": {"artist_name": "A", "track_name": "x"}}\n'
        b'{"user_name": "ann", "listened_at": 1, "track_metadata": {"artist_name": "A"}}\n\xff\n'
    )
    rows, bad = read(written(tmp_path, odd))
    assert rows == [row, row, ("me", "A - x", row[2]), ("7", "B - y", row[2])]
    assert list(bad) == [5, 6, 8, 9, 10]
    assert (bad[5], bad[9], bad[10]) == ("the line is not a JSON object", "no track id", "the line is not UTF-8")


def test_track_id_of_several_columns(tmp_path: Path) -> None:
    columns = LogColumns("u", "{artist}/{ album }/{title}!", "at", format="auto")
    path = written(tmp_path, "u\tat\tartist\t album \ttitle\n1\t2019-01-01\tA\tB\tC\n1\t2019-01-01\tA\t\tC\n")
    with pytest.raises(MusicrecError, match="no column ' album '"):
        read(path, columns)
    columns = LogColumns("u", "{artist}/{album}/{title}!", "at", format="auto")
    assert read(path, columns) == ([("1", "A/B/C!", "2019-01-01 00:00:00")], {3: "no track id"})
    frame = pd.DataFrame({"u": [1], "artist": ["A"], "album": ["B"], "title": ["C"], "at": ["2019-01-01"]})
    frame.to_parquet(tmp_path / "log.parquet")
    assert read(tmp_path / "log.parquet", columns)[0][0][1] == "A/B/C!"


@pytest.mark.parametrize("size", [40, 64, 100, 333])
def test_quoted_line_breaks_at_block_borders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(log_blocks, "BLOCK_BYTES", size)
    random = np.random.default_rng(size)
    tracks = random.choice(["a", "b\nc", "d\n\n", '"\ne', "f"], 200)
    rows = [(f"{row % 7}", track, "2019-01-01 00:00:00") for row, track in enumerate(tracks)]
    path = tmp_path / "log.csv"
    pd.DataFrame(rows, columns=["user_id", "track_id", "timestamp"]).to_csv(path, index=False)
    assert read(path) == (rows, {})


def test_quotes_that_do_not_pair_up_cost_only_their_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_blocks, "BLOCK_BYTES", 200)
    lines = [f"{row},t{row},2019-01-01\n" for row in range(100)]
    lines[40] = '40,5" disc,2019-01-01\n'
    rows, bad = read(written(tmp_path, "user_id,track_id,timestamp\n" + "".join(lines)))
    assert len(rows) == 100 and not bad


def test_own_scrobbles_and_a_folder_of_music(tmp_path: Path) -> None:
    for name in ("Björk/Post/02 Hyperballad.flac", "Björk/Post/07 Isobel.flac", "Air - La Femme d'Argent.mp3"):
        (tmp_path / "music" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "music" / name).write_bytes(b"not looked into")
    text = "artist,album,track,date\nBjörk,Post,Hyperballad,06 Mar 2018 10:24\n"
    text += "Air,Moon Safari,La femme d’argent,10 May 2018 10:24\n"
    text += "Air,,Sexy Boy,10 May 2018 10:29\nBjörk,Post,Isobel,01 Mar 2018 10:24\n"
    workspace = Workspace(tmp_path / "workspace")
    report = prepare(
        flat(DataSource, "mine", audio_dir=tmp_path / "music", plays=written(tmp_path, text), split="hot_cold"),
        workspace,
    )
    assert (report.plays.unknown_tracks, report.plays.unknown_plays) == (1, 1)
    assert report.unknown_tracks is not None
    assert report.unknown_tracks.read_text() == "trackid,plays\nAir - Sexy Boy,1\n"
    splits = [pd.read_parquet(workspace.split(name)) for name in ("train", "cold_test")]
    assert [split.track_id.tolist() for split in splits] == [[1, 2], [0]]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["2019-03-01T10:00 a 7", "2019-03-01T11:00 b 8"], "user ids .*'2019-03-01T10:00', look like timestamps"),
        (["7 2019-03-01T10:00 8"], "track ids of .* look like timestamps; are columns swapped"),
        (["2019 7 a", "2019 7 b"], "all rows are bad, .*are data.user_column, .*right"),
        (["a 1 2019-03-01", "b 2 2019-03-01"], "the user 'a' is one; are data.user_column and .* swapped"),
        (["1 A 2019-03-01", "2 B 2019-03-01"], "2 of them differ from known ones only in letter case"),
    ],
)  # fmt: skip
def test_swapped_columns(tmp_path: Path, lines: list[str], message: str) -> None:
    workspace = Workspace(tmp_path / "workspace")
    TrackIndex(list("abc")).save(workspace.track_index)
    with pytest.raises(MusicrecError, match=message) as caught:
        prepare(flat(DataSource, plays=some_log(tmp_path / "log.tsv", lines)), workspace)
    assert "\n" not in str(caught.value)
    assert not workspace.plays.exists()


def test_ids_that_differ_in_case_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    played = {"1": "abcA", "2": "Aabc"}
    lines = [f"{user} {track} 2019-03-0{day}" for user in played for day, track in enumerate(played[user], start=1)]
    path = some_log(tmp_path / "log.tsv", lines)
    prepare(flat(DataSource, plays=path, split="leave_one_out"), Workspace(tmp_path / "w"))
    assert "1 track ids differ from another one only in letter case ('A' and 'a')" in caplog.text


@pytest.mark.parametrize("cut", [5, 11, 23])
def test_half_written_log_loses_its_last_row_only(tmp_path: Path, cut: int) -> None:
    text = "user_id\ttrack_id\ttimestamp\n" + "1\ttrack\t2019-03-01 10:00:00\n" * 9
    rows, bad = read(written(tmp_path, text[:-cut]))
    assert len(rows) == 8
    assert list(bad) == [10]


def test_truncated_bz2_leaves_the_workspace_as_it_was(tmp_path: Path) -> None:
    lines = [f"{user} {track} 2019-03-0{day}" for user in "12" for day, track in enumerate("abc", start=1)]
    path = some_log(tmp_path / "log.tsv", lines)
    path.write_bytes(bz2.compress(path.read_bytes())[:-7])
    with pytest.raises(MusicrecError, match="truncated or corrupt"):
        prepare(flat(DataSource, plays=path), Workspace(tmp_path / "w"))
    assert not [path for path in (tmp_path / "w").rglob("*") if path.is_file()]


SEQUENCES = LogColumns("user_id", "track_id", "timestamp", format="sequences")


def test_sequences_keep_the_order_of_the_words(tmp_path: Path) -> None:
    rows, bad = read(written(tmp_path, "u1 7 3 3\nu2 5\n\nu1 9\nu3\n"), SEQUENCES)
    assert [(user, track) for user, track, _ in rows] == [
        ("u1", "7"),
        ("u1", "3"),
        ("u1", "3"),
        ("u2", "5"),
        ("u1", "9"),
    ]
    times = [time for _, _, time in rows]
    assert times == sorted(set(times)), "later words have later times"
    assert bad == {5: "a user without an item"}


def test_lines_of_pairs_are_sequences_too(tmp_path: Path) -> None:
    rows, _ = read(written(tmp_path, "1 4\n1 2\n2 4\n"), SEQUENCES)
    assert [(user, track) for user, track, _ in rows] == [("1", "4"), ("1", "2"), ("2", "4")]


def test_a_table_is_not_taken_for_sequences(tmp_path: Path) -> None:
    with pytest.raises(MusicrecError, match="does not have data.format=sequences"):
        read(written(tmp_path, "user,track\n1,2\n"), SEQUENCES)


def test_sequences_leave_one_out(tmp_path: Path) -> None:
    log = written(tmp_path, "1 10 11 12 13\n2 11 10\n3 13 12 11\n")
    source = flat(DataSource, "some", plays=log, format="sequences", split="leave_one_out")
    workspace = Workspace(tmp_path / "workspace")
    prepare(source, workspace)
    tracks = TrackIndex.load(workspace.track_index)
    held_out = {
        name: {
            user: tracks.ids[track]
            for user, track in pd.read_parquet(workspace.split(name))[["user_id", "track_id"]].to_numpy().tolist()
        }
        for name in ("val", "test")
    }
    assert held_out == {"val": {1: "12", 3: "12"}, "test": {1: "13", 3: "11"}}


@pytest.mark.parametrize(
    "header",
    [
        "user_id:token\titem_id:token\trating:float\ttimestamp:float",  # RecBole
        "userID\titemID\trating\ttimestamp",  # MMRec
        "user_id:token\ttrack_id:token\tgenre:token_seq\ttimestamp:float",
    ],
)
def test_inter_files(tmp_path: Path, header: str) -> None:
    rows, bad = read(written(tmp_path, f"{header}\n7\ta1\t5\t1520331840\n08\ta2\t1\t1520331841\n", "x.inter"))
    assert rows == [("7", "a1", "2018-03-06 10:24:00"), ("08", "a2", "2018-03-06 10:24:01")]
    assert not bad


def test_a_guess_with_two_readings_asks(tmp_path: Path) -> None:
    path = written(tmp_path, "user_id,item_id,song_id,timestamp\n1,2,3,1520331840\n")
    with pytest.raises(MusicrecError, match="several that could be meant: item_id, song_id; .*data.track_column="):
        read(path)
