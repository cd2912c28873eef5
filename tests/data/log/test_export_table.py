"""The table of exports in docs/data.md: a made file in exactly the form of each row goes through prepare.py."""

from __future__ import annotations

import bz2
import gzip
import json
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from omegaconf import DictConfig

from musicrec import cli, stages
from musicrec.config import config_dir
from musicrec.workspace import TrackIndex, Workspace

DOCUMENT = config_dir().parent / "docs" / "data.md"
AT = 1_230_768_000  # 2009-01-01
# Tracks as artist, album, title; each is played once, a minute after the one before it.
PLAYED = [("Deep Dish", "Æ", "Flash; dance, \u201clive\u201d"), ("Röyksopp", "", "x/y"), ("坂本龍一", "B", 'The "Z"'),
          ("P.O.D.", "C", "d'é"), ("A", "D", "Ü")]  # fmt: skip
NAMES = [f"{artist} - {title}" for artist, _, title in PLAYED]
TIMES = [AT + 60 * index for index in range(len(PLAYED))]
ISO = [str(pd.Timestamp(time, unit="s")) for time in TIMES]
DATES = [f"{pd.Timestamp(time, unit='s'):%d %b %Y %H:%M}" for time in TIMES]
ROWS = [(*names, time, index) for index, (names, time) in enumerate(zip(PLAYED, TIMES, strict=True))]

Write = Callable[[Path], Path]
# Row of the table -> forms of it, each with how it is written, its user and its tracks.
CASES: dict[str, list[tuple[str, Write, str, list[str]]]] = {}


def case(row: str, form: str, write: Write, user: str = "me", tracks: Iterable[str] = NAMES) -> None:
    CASES.setdefault(row, []).append((form, write, user, list(tracks)))


def text(name: str, content: str | bytes) -> Write:
    """Returns what writes one file."""

    def write(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def archive(name: str, members: dict[str, str], unpacked: bool = False) -> Write:
    """Returns what writes an archive, or the folder of its files."""

    def write(folder: Path) -> Path:
        path = folder / name
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for member, content in members.items():
                file.writestr(member, content)
            if unpacked:
                file.extractall(path.with_suffix(""))
        return path.with_suffix("") if unpacked else path

    return write


def csv(rows: Iterable[Iterable[object]], delimiter: str = ",", header: str = "", quoted: bool = True) -> str:
    """Returns a table; quotation marks within a value are doubled."""

    def written(cell: object) -> str:
        return '"{}"'.format(str(cell).replace('"', '""')) if quoted else str(cell)

    lines = [delimiter.join(map(written, row)) for row in rows]
    return "".join(line + "\n" for line in ([header] if header else []) + lines)


IDS = ["3", "10", "7", "1193", "0"]
ONION = "user_id\ttrack_id\ttimestamp\n" + "".join(
    f"user_000008\t{track}\t{time}\n" for track, time in zip(("0009A5aVgCKqvPQV", "b", "c", "d", "e"), ISO, strict=True)
)
case("Music4All-Onion", "as published", text("userid_trackid_timestamp.tsv.bz2", bz2.compress(ONION.encode())),
     "user_000008", ["0009A5aVgCKqvPQV", "b", "c", "d", "e"])  # fmt: skip
case("Music4All-Onion", "unpacked", text("userid_trackid_timestamp.tsv", ONION), "user_000008",
     ["0009A5aVgCKqvPQV", "b", "c", "d", "e"])  # fmt: skip
case("Last.fm-1K", "as published", text(
    "userid-timestamp-artid-artname-traid-traname.tsv",
    "".join(f"user_000001\t{pd.Timestamp(time, unit='s'):%Y-%m-%dT%H:%M:%SZ}\tf1b1cf71\t{artist}\t\t{title}\n"
            for artist, _, title, time, _ in ROWS)), "user_000001")  # fmt: skip


def listen(artist: str, album: str, title: str, time: float) -> dict[str, Any]:
    metadata = {"artist_name": artist, "track_name": title, "release_name": album, "mbid_mapping": None}
    metadata["additional_info"] = {"duration_ms": 1000, "tags": [], "media_player": "x"}  # type: ignore[assignment]
    return {"inserted_at": time + 9, "listened_at": time, "recording_msid": "0", "track_metadata": metadata}


LISTENS = [listen(*row[:4]) for row in ROWS]
LINES = [json.dumps(play) + "\n" for play in LISTENS]
TODAY = {
    "user.json": '{"user_id": 1, "username": "ann"}',
    "feedback.jsonl": '{"recording_msid": "1", "score": 1}\n',
    "pinned_recording.jsonl": "",
    "listens/2009/1.jsonl": "".join(LINES[:2]),
    "listens/2009/10.jsonl": "".join(LINES[2:]),
}
ROW = "ListenBrainz, export of today"
case(ROW, "zip", archive("listenbrainz_ann_1700000000.zip", TODAY), "ann")
case(ROW, "folder", archive("listenbrainz_ann.zip", TODAY, unpacked=True))
case(ROW, "one of its files", text("1.jsonl", "".join(LINES)))
OLD = [play | {"user_name": "ann", "listened_at": int(play["listened_at"])} for play in LISTENS]
ROW = "ListenBrainz, older export"
case(ROW, "array", text("ann_lb-2020-01-01.json", json.dumps(OLD)), "ann")
case(ROW, "array over lines", text("ann.json", json.dumps(OLD, indent=4, ensure_ascii=False)), "ann")
case(ROW, "object per line", text("ann.jsonl", "".join(json.dumps(play) + "\n" for play in OLD)), "ann")

ROW = "Last.fm by lastfm.ghan.nl, lastfm-to-csv and others"
GHAN = "uts,utc_time,artist,artist_mbid,album,album_mbid,track,track_mbid"
case(ROW, "lastfm.ghan.nl", text("recenttracks-ann-1700000000.csv", csv(
    ((time, date, artist, "", album, "", title, "")
     for (artist, album, title, time, _), date in zip(ROWS, DATES, strict=True)), header=GHAN)))  # fmt: skip
LASTFM = [(artist, album, title, date) for (artist, album, title, _, _), date in zip(ROWS, DATES, strict=True)]
case(ROW, "lastfm-to-csv", text("ann.csv", csv(LASTFM)))
case(ROW, "lastfm-to-csv while a song plays", text("ann.csv", csv([("A", "D", "Ü", ""), *LASTFM])))
case(ROW, "with a header", text("ann.csv", csv(LASTFM, header="Artist,Album,Track,Date")))
case(ROW, "tab-separated", text("ann.tsv", csv(LASTFM, "\t", "artist\talbum\ttitle\ttimestamp", quoted=False)))
ROW = "Last.fm by lastfmstats.com"
case(ROW, "CSV", text("lastfmstats-ann.csv", csv(
    ((artist, album, "", title, 1000 * time) for artist, album, title, time, _ in ROWS), ";",
    '"Artist";"Album";"AlbumId";"Track";"Date#ann"')), "ann")  # fmt: skip
case(ROW, "JSON", text("lastfmstats-ann.json", json.dumps({"username": "ann", "scrobbles": [
    {"track": title, "artist": artist, "album": album, "albumId": "", "date": 1000 * time}
    for artist, album, title, time, _ in ROWS]})), "ann")  # fmt: skip
NOW = {"artist": {"mbid": "", "#text": "A"}, "name": "x", "@attr": {"nowplaying": "true"}, "date": None}
case("Last.fm's own answers", "one page", text("recent.json", json.dumps({"recenttracks": {"track": [NOW, *(
    {"artist": {"mbid": "", "#text": artist}, "name": title, "album": {"#text": album},
     "date": {"uts": str(time), "#text": date}}
    for (artist, album, title, time, _), date in zip(ROWS, DATES, strict=True))],
    "@attr": {"user": "ann", "page": "1", "total": "5"}}})))  # fmt: skip

EXTENDED = [
    {"ts": f"{pd.Timestamp(time, unit='s'):%Y-%m-%dT%H:%M:%SZ}", "username": "me", "platform": "ios",
     "ms_played": 31_000, "master_metadata_track_name": title, "master_metadata_album_artist_name": artist,
     "master_metadata_album_album_name": album, "spotify_track_uri": "spotify:track:1", "episode_name": None,
     "episode_show_name": None, "spotify_episode_uri": None, "skipped": False, "offline_timestamp": 1000 * time}
    for artist, album, title, time, _ in ROWS
]  # fmt: skip
OTHERS = [EXTENDED[0] | {"ms_played": 2000}, EXTENDED[0] | {"master_metadata_track_name": None, "episode_name": "e"}]
ROW = "Spotify, extended history"
HISTORY = {
    "Spotify Extended Streaming History/Streaming_History_Audio_2009_0.json": json.dumps(EXTENDED[:3] + OTHERS),
    "Spotify Extended Streaming History/Streaming_History_Audio_2009-2010_1.json": json.dumps(EXTENDED[3:]),
    "Spotify Extended Streaming History/Streaming_History_Video_2009.json": json.dumps(EXTENDED[:1]),
    "Spotify Extended Streaming History/ReadMeFirst_ExtendedStreamingHistory.pdf": "%PDF",
}
case(ROW, "zip", archive("my_spotify_data.zip", HISTORY))
case(ROW, "folder", archive("my_spotify_data.zip", HISTORY, unpacked=True))
case(ROW, "one file", text("Streaming_History_Audio_2009.json", json.dumps(EXTENDED + OTHERS)))
case(ROW, "older names", archive("my_spotify_data.zip", {
    "MyData/endsong_0.json": json.dumps(EXTENDED[:2]), "MyData/endsong_1.json": json.dumps(EXTENDED[2:])}))  # fmt: skip
ACCOUNT = [
    {"endTime": f"{pd.Timestamp(time, unit='s'):%Y-%m-%d %H:%M}", "artistName": artist, "trackName": title,
     "msPlayed": 31_000}
    for artist, _, title, time, _ in ROWS
]  # fmt: skip
ROW = "Spotify, account data"
for name in ("StreamingHistory0.json", "StreamingHistory_music_0.json"):
    case(ROW, name, text(name, json.dumps(ACCOUNT, indent=2)))
case(ROW, "zip", archive("my_spotify_data.zip", {
    "MyData/StreamingHistory_music_0.json": json.dumps(ACCOUNT), "MyData/Userdata.json": "{}",
    "MyData/StreamingHistory_podcast_0.json": "[]", "MyData/YourLibrary.json": "{}"}))  # fmt: skip

RATED = [(196, track, 1 + index % 5, time) for index, (track, time) in enumerate(zip(IDS, TIMES, strict=True))]
ROW = "MovieLens"
case(ROW, "u.data", text("u.data", csv(RATED, "\t", quoted=False)), "196", IDS)
case(ROW, "ratings.dat", text("ratings.dat", csv(RATED, "::", quoted=False)), "196", IDS)
case(ROW, "ratings.csv", text("ratings.csv", csv(RATED, ",", "userId,movieId,rating,timestamp", False)), "196", IDS)
case(ROW, "ratings.csv without a header", text("ratings.csv", csv(RATED, quoted=False)), "196", IDS)
case(ROW, "u.data in its archive", archive("ml.zip", {
    "ml-100k/u.data": csv(RATED, "\t", quoted=False), "ml-100k/u.item": "1|x|", "ml-100k/README": "x"}),
    "196", IDS)  # fmt: skip
ASINS = ["B004A9SDD8", "0001", "B1", "000B", "B01"]
AMAZON = [("A1N4O8VOJZTDVB", asin, "3.0", time) for asin, time in zip(ASINS, TIMES, strict=True)]
case("Amazon reviews", "as published", text("ratings_Digital_Music.csv", csv(AMAZON, quoted=False)),
     "A1N4O8VOJZTDVB", ASINS)  # fmt: skip
case("Amazon reviews", "with a header, milliseconds, .gz", text("Digital_Music.csv.gz", gzip.compress(csv(
    ((user, asin, rating, 1000 * time) for user, asin, rating, time in AMAZON), ",",
    "user_id,parent_asin,rating,timestamp", False).encode())), "A1N4O8VOJZTDVB", ASINS)  # fmt: skip
ROW = "RecBole, MMRec"
case(ROW, "RecBole", text("ml.inter", csv(((user, track, rating, f"{time}.0") for user, track, rating, time in RATED),
     "\t", "user_id:token\titem_id:token\trating:float\ttimestamp:float", False)), "196", IDS)  # fmt: skip
case(ROW, "MMRec", text("baby.inter", csv(((user, track, rating, time, 0) for user, track, rating, time in RATED),
     "\t", "userID\titemID\trating\ttimestamp\tx_label", False)), "196", IDS)  # fmt: skip
SEQUENCES = {"7": IDS, "12": IDS[::-1]}
case("sequences", "user item item …", text("Beauty.txt", "".join(
    f"{user} {' '.join(tracks)}\n" for user, tracks in SEQUENCES.items())), "7", IDS)  # fmt: skip
case("sequences", "user item", text("Beauty.txt", "".join(
    f"{user} {track}\n" for user, tracks in SEQUENCES.items() for track in tracks)), "7", IDS)  # fmt: skip
case("any other", "custom columns", text("x.csv", csv(RATED, ";", "user_id;track_id;rating;timestamp")), "196", IDS)


def table() -> dict[str, str]:
    """Returns the option of each row of the document's table."""
    lines = DOCUMENT.read_text(encoding="utf-8").split("| what you have |")[1].splitlines()[2:]
    rows = [line.strip("| ").split(" | ") for line in lines[: lines.index("")]]
    return {row[0]: row[2].split("`")[1] for row in rows}


def test_each_row_is_tried_and_each_case_is_a_row() -> None:
    assert list(CASES) == list(table())


@pytest.mark.parametrize(
    ("row", "form"), [(row, form) for row, forms in CASES.items() for form, *_ in forms], ids=lambda value: str(value)
)
def test_prepare_reads_it(tmp_path: Path, compose: Callable[..., DictConfig], row: str, form: str) -> None:
    [(_, write, user, tracks)] = [one for one in CASES[row] if one[0] == form]
    path = write(tmp_path)
    # The last of the five plays is held out.
    split = ["data.split=hot_cold", f"data.test='{ISO[-1]}'", "data.end=null"] if row != "sequences" else []
    cli.run(stages.prepare, compose(*table()[row].split(), f"data.plays='{path}'", *split))
    workspace = Workspace(tmp_path / "workspace")
    plays, index = pd.read_parquet(workspace.plays).sort_values("timestamp"), TrackIndex.load(workspace.track_index)
    assert sorted(index.ids) == sorted(tracks)
    if row == "sequences":
        for name, items in SEQUENCES.items():
            assert [index.ids[track] for track in plays.track_id[plays.user_id == int(name)]] == items
        return
    assert [index.ids[track] for track in plays.track_id] == tracks
    assert {str(one) for one in plays.user_id} == {user}
    assert [str(time) for time in plays.timestamp] == ISO
    splits = {name: len(pd.read_parquet(workspace.split(name))) for name in ("train", "cold_test")}
    assert splits == {"train": 4, "cold_test": 1}
