"""Every row of docs/data.md's table of exports, read from a made file in exactly that form."""

import gzip
import json
import logging
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from musicrec.data.log.formats import LogColumns, LogSettings
from musicrec.data.log.read import open_log
from musicrec.data.prepare import prepare
from musicrec.data.source import DataSource
from musicrec.errors import MusicrecError
from musicrec.workspace import Workspace
from tests.data.log.test_formats import read, written
from tests.data.made_log import flat

AUTO = LogColumns("user_id", "track_id", "timestamp", format="auto")
AT = 1577836800
DAY = "2020-01-01 00:00:00"
NEXT = "2020-01-01 00:00:01"

LISTEN = {"listened_at": AT, "track_metadata": {"artist_name": "A", "track_name": "x"}}
SPOTIFY = {
    "ts": "2020-01-01T00:00:00Z",
    "platform": "ios",
    "ms_played": 180000,
    "master_metadata_track_name": "x",
    "master_metadata_album_artist_name": "A",
    "master_metadata_album_album_name": "al",
    "episode_name": None,
    "spotify_episode_uri": None,
}
PODCAST = SPOTIFY | {
    "master_metadata_track_name": None,
    "master_metadata_album_artist_name": None,
    "episode_name": "e",
}
ACCOUNT = {"endTime": "2020-01-01 00:00", "artistName": "A", "trackName": "x", "msPlayed": 180000}


@pytest.mark.parametrize(
    "write", [json.dumps, lambda plays: json.dumps(plays, indent=2), lambda plays: "\ufeff" + json.dumps(plays)]
)
@pytest.mark.parametrize(
    "play",
    [
        LISTEN,
        LISTEN | {"listened_at": float(AT)},
        SPOTIFY,
        ACCOUNT,
        {"timestamp": AT} | {"track_metadata": LISTEN["track_metadata"]},
    ],
)
@pytest.mark.parametrize("name", ["auto", "listenbrainz", "spotify"])
def test_arrays(tmp_path: Path, write: Callable[..., str], play: dict[str, object], name: str) -> None:
    path = written(tmp_path, write([play] * 3), "plays.json")
    columns = LogColumns("user_id", "track_id", "timestamp", format=name)
    assert read(path, columns) == ([("me", "A - x", DAY)] * 3, {})


def test_arrays_longer_than_a_chunk_keep_every_entry(tmp_path: Path) -> None:
    plays = [LISTEN | {"listened_at": AT + index, "note": "é" * (index % 50)} for index in range(20_000)]
    rows, bad = read(written(tmp_path, gzip.compress(json.dumps(plays, ensure_ascii=False).encode())))
    assert len(rows) == 20_000 and not bad
    assert rows[-1][2] == "2020-01-01 05:33:19"


def test_cut_off_and_damaged_arrays(tmp_path: Path) -> None:
    text = json.dumps([LISTEN] * 3)
    rows, bad = read(written(tmp_path, text[:-20]))
    assert len(rows) == 2 and list(bad) == [3]
    with pytest.raises(MusicrecError, match="entry 2 is not JSON"):
        read(written(tmp_path, json.dumps([LISTEN])[:-1] + ", oops" + "x" * (2 << 20)))
    with pytest.raises(MusicrecError, match="is empty"):
        read(written(tmp_path, "[]"))


def test_lastfmstats_json(tmp_path: Path) -> None:
    scrobbles = [{"track": "x", "artist": "A", "album": "", "albumId": "", "date": AT * 1000}] * 2
    for indent in (None, 2):
        path = written(tmp_path, json.dumps({"username": "ann", "scrobbles": scrobbles}, indent=indent))
        assert read(path) == ([("ann", "A - x", DAY)] * 2, {})


def test_answers_of_lastfm(tmp_path: Path) -> None:
    play = {"artist": {"#text": "A", "mbid": ""}, "name": "x", "date": {"uts": str(AT), "#text": "01 Jan 2020, 00:00"}}
    now = {"artist": {"#text": "A", "mbid": ""}, "name": "x", "@attr": {"nowplaying": "true"}}
    rows, bad = read(written(tmp_path, json.dumps({"recenttracks": {"track": [now, play]}})))
    assert rows == [("me", "A - x", DAY)]
    assert list(bad) == [1]


def archive(path: Path, members: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in members.items():
            file.writestr(name, text)
    return path


def test_listenbrainz_archive(tmp_path: Path) -> None:
    line = json.dumps(LISTEN | {"listened_at": AT + 0.5}) + "\n"
    members = {
        "listens/2020/10.jsonl": json.dumps(LISTEN | {"listened_at": AT + 1}) + "\n",
        "listens/2020/9.jsonl": line * 2,
        "feedback.jsonl": '{"recording_mbid": "1", "score": 1}\n',
        "pinned_recording.jsonl": "{}\n",
    }
    times = ["2020-01-01 00:00:00.500000"] * 2 + [NEXT]
    path = archive(tmp_path / "listenbrainz.zip", members)
    assert read(path) == ([("me", "A - x", time) for time in times], {})
    path = archive(tmp_path / "of_ann.zip", members | {"user.json": '{"user_id": 1, "username": "ann"}'})
    assert {row[0] for row in read(path)[0]} == {"ann"}
    with zipfile.ZipFile(path) as file:
        file.extractall(tmp_path / "folder")
    assert len(read(tmp_path / "folder")[0]) == 3


def test_spotify_archive_and_short_plays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plays = [
        SPOTIFY,
        PODCAST,
        SPOTIFY | {"ms_played": 29999},
        SPOTIFY | {"ts": "2020-01-01T00:00:01Z", "ms_played": 30000},
    ]
    members = {
        "Spotify Extended Streaming History/Streaming_History_Audio_2019-2020_0.json": json.dumps(plays),
        "Spotify Extended Streaming History/Streaming_History_Video_2020.json": json.dumps([SPOTIFY]),
        "Spotify Extended Streaming History/ReadMeFirst.pdf": "%PDF",
    }
    path = archive(tmp_path / "my_spotify_data.zip", members)
    rows, bad = read(path)
    assert [row[2] for row in rows] == [DAY, DAY, NEXT] and not bad
    rows, bad = read(path, LogColumns("user_id", "track_id", "timestamp", format="spotify", min_played_seconds=30))
    assert [row[2] for row in rows] == [DAY, NEXT] and not bad
    caplog.set_level(logging.INFO)
    source = flat(DataSource, plays=path, min_played_seconds=30, split="leave_one_out")
    with pytest.raises(MusicrecError, match="split is empty"):
        prepare(source, Workspace(tmp_path / "w"))
    assert "1 entries left out: podcasts, videos and audiobooks" in caplog.text
    assert "1 entries left out: plays shorter than 30 s (data.min_played_seconds)" in caplog.text


def test_several_files_a_folder_and_a_pattern(tmp_path: Path) -> None:
    for index in range(11):
        played = [SPOTIFY | {"ts": f"2020-01-01T00:00:{index:02}Z"}]
        written(tmp_path, json.dumps(played), f"endsong_{index}.json")
    written(tmp_path, "{}", "Userdata.json")
    rows, _ = read(tmp_path)
    assert [row[2][-2:] for row in rows] == [f"{index:02}" for index in range(11)]
    assert len(read(tmp_path / "endsong_*.json")[0]) == 11
    with open_log([tmp_path / "endsong_3.json", tmp_path / "endsong_1.json"], AUTO) as opened:
        assert [str(batch.timestamps[0])[-9:-7] for batch in opened.batches] == ["03", "01"]


def test_bad_rows_of_several_files_name_theirs(tmp_path: Path) -> None:
    header = "user_id,track_id,timestamp\n"
    for name in "ab":
        rows = [f"{user},{(user + day) % 3},2020-01-0{day}\n" for user in range(3) for day in range(1, 4)]
        written(tmp_path, header + f"{name},1,later\n" + "".join(rows), f"{name}.csv")
    workspace = Workspace(tmp_path / "w")
    report = prepare(flat(DataSource, plays=[tmp_path / "a.csv", tmp_path / "b.csv"], split="leave_one_out"), workspace)
    assert report.plays.rows == 18
    lines = (workspace.data_dir / "rejected_rows.csv").read_text().splitlines()
    assert lines[0] == "line,reason,text,file"
    assert [line.rpartition(",")[2] for line in lines[1:]] == [str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]


def test_a_folder_of_several_kinds_asks(tmp_path: Path) -> None:
    written(tmp_path, "x", "a.csv")
    written(tmp_path, "x", "b.tsv.gz")
    with pytest.raises(
        MusicrecError, match=r"a folder with several kinds of files \(a.csv, b.tsv.gz\); set data.plays"
    ):
        read(tmp_path)
    path = archive(tmp_path / "c.zip", {"u.data": "1\t2\t3\t881250949\n", "u.item": "x", "README": "x"})
    assert len(read(path)[0]) == 1


LASTFMSTATS = (
    '"Artist";"Album";"AlbumId";"Track";"Date#ann"\n"A";"al";"";"x; y";"1577836800000"\n'
    '"A";"";"";"z ""q""";"1577836801000"\n'
)


def test_lastfmstats(tmp_path: Path) -> None:
    assert read(written(tmp_path, LASTFMSTATS)) == ([("ann", "A - x; y", DAY), ("ann", 'A - z "q"', NEXT)], {})


@pytest.mark.parametrize("nothing", ["", "undefined", "Invalid date", "now playing"])
def test_lastfm_written_while_a_song_plays(tmp_path: Path, nothing: str) -> None:
    rows = "".join(f"A,al,x{index},01 Jan 2020 00:00\n" for index in range(3))
    found, bad = read(written(tmp_path, f"A,al,playing,{nothing}\n{rows}"))
    assert found == [("me", f"A - x{index}", DAY) for index in range(3)]
    assert list(bad) == [1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("196\t242\t3\t1577836800\n7\t0\t1\t1577836801\n", [("196", "242", DAY), ("7", "0", NEXT)]),  # u.data
        ("1::1193::5::1577836800\n1::661::3::1577836801\n", [("1", "1193", DAY), ("1", "661", NEXT)]),  # ratings.dat
        ("A1N4O8VOJZTDVB,B004A9SDD8,3.0,1577836800\nA2,0007,5.0,1577836801\n",  # Amazon
         [("A1N4O8VOJZTDVB", "B004A9SDD8", DAY), ("A2", "0007", NEXT)]),
        ("userId,movieId,rating,timestamp\n1,31,2.5,1577836800\n", [("1", "31", DAY)]),  # ml-latest
        ("5\tabc\t1577836800\n", [("5", "abc", DAY)]),
        ("1\t2\t4.5\t1577836800.0\n", [("1", "2", DAY)]),
    ],
)  # fmt: skip
def test_ratings(tmp_path: Path, text: str, expected: list[tuple[str, ...]], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    path = written(tmp_path, text)
    assert read(path) == (expected, {})
    [said] = [record.getMessage() for record in caplog.records]
    user, track, time = expected[0]
    assert f"its first row: user {user}, track {track!r}, {time.replace(' ', 'T')} UTC" in said
    if text.count("\t") != 2:
        assert read(path, LogColumns("user_id", "track_id", "timestamp", format="ratings")) == (expected, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Taylor Swift,Red,22,1577836800\n", "user, item, rating, time .*data.format=ratings.* or artist, album"),
        ("Some One\tx\t1577836800\n", "user, track, time or artist, track, time; .*data.columns="),
        (
            "user_id,item_id,artist,track,timestamp\n",
            "ids of tracks .* and names.*data.track_column=item_id or data.format",
        ),
        ("user_id,track_id,date,time\n", "several that could be meant: date, time.*data.timestamp_column="),
    ],
)
def test_two_readings_ask(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(MusicrecError, match=message):
        read(written(tmp_path, text))


def test_columns_without_a_header(tmp_path: Path) -> None:
    path = written(tmp_path, "B00,A1,5.0,1577836800\n")
    columns = LogColumns("user", "item", "at", format="auto", names=("item", "user", "rating", "at"))
    assert read(path, columns) == ([("A1", "B00", DAY)], {})
    with pytest.raises(MusicrecError, match="data.columns names 3 columns; .* has 4"):
        read(path, LogColumns("user", "item", "at", format="auto", names=("item", "user", "at")))
    with pytest.raises(MusicrecError, match="if the file has no header, name all columns"):
        read(written(tmp_path, "1,2,3,4,5,2020-01-01\n"))


@pytest.mark.parametrize("text", ["a" * 900_000, "a," * 400_000, '{"a": ' + "1" * 900_000, "x\ty\n" * 200_000])
def test_an_error_never_echoes_the_file(tmp_path: Path, text: str) -> None:
    source = flat(DataSource, plays=written(tmp_path, text))
    for name in ("auto", "lastfm", "ratings", "table", "spotify"):
        source.log = LogSettings(name)
        with pytest.raises(MusicrecError) as caught:
            prepare(source, Workspace(tmp_path / "w"))
        assert len(str(caught.value)) < 1500


def test_a_line_for_the_delimiter_and_blank_lines_first(tmp_path: Path) -> None:
    rows, bad = read(written(tmp_path, "\n\nsep=;\nuser_id;track_id;timestamp\n1;a, b;2020-01-01\n1;c\n"))
    assert rows == [("1", "a, b", DAY)]
    assert list(bad) == [6]


@pytest.mark.parametrize("text", ["1\t2\t3\t1577836800\n", "user_id,artist,track,timestamp\n1,A,x,1577836800\n"])
def test_columns_that_were_asked_for_are_not_guessed(tmp_path: Path, text: str) -> None:
    with pytest.raises(MusicrecError, match=r"no column '(user_id|singer)'.*Set data\.\w+_column=NAME"):
        read(written(tmp_path, text), LogColumns("user_id", "{singer} - {song}", "timestamp", format="auto"))
