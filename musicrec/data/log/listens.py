"""Parsing plays written as JSON objects, one per line: ListenBrainz listens, Spotify's streaming history, and others.

https://listenbrainz.readthedocs.io/en/latest/users/json.html
https://support.spotify.com/us/article/understanding-your-data/
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pa_json

from musicrec.data.log.formats import Layout
from musicrec.data.log.text import count_lines
from musicrec.data.log.values import BadRow, LogBatch, check_rows, shown_line

_USER = ("user_name", "username", "user_id", "user")
_ARTIST = ("artist_name", "master_metadata_album_artist_name", "artistName", "artist")
_TRACK = ("track_name", "master_metadata_track_name", "trackName", "track", "title", "name")
_TIME = ("listened_at", "ts", "endTime", "timestamp", "uts", "date", "played_at", "time")
_PLAYED = ("ms_played", "msPlayed")
# Keys of Spotify's entries that are not music.
_OTHER_MEDIA = ("episode_name", "spotify_episode_uri", "audiobook_title", "audiobook_uri")
NOT_MUSIC = "podcasts, videos and audiobooks"


def parse_clean_json(block: bytes | bytearray, layout: Layout, lines: int) -> LogBatch | None:
    """Returns the rows of a block in which each of its lines is a listen in ListenBrainz' own form, otherwise None."""
    if b"ms" in block and (b'"ms_played"' in block or b'"msPlayed"' in block):
        return None
    columns = _columns(block, layout.nobody)
    if columns is None or len(columns[0]) != lines:
        return None
    batch, reasons = check_rows(layout.assembled(columns))
    return None if reasons else batch


def parse_json(block: bytes, layout: Layout, first_line: int) -> LogBatch:
    """Returns the rows of a block of whole lines, bad ones set apart."""
    batch = parse_clean_json(block, layout, count_lines(block))
    if batch is not None:
        return batch
    nobody = layout.nobody
    lines = block.split(b"\n")[:-1]
    rows, faults = [], {}
    left_out: Counter[str] = Counter()
    for index, line in enumerate(lines):
        if line.strip():
            try:
                entry = _entry(line)
                if why := _not_a_play(entry, layout.min_played_seconds):
                    left_out[why] += 1
                else:
                    rows.append((index, *_listen(entry, nobody)))
            except ValueError as error:
                faults[index] = str(error)
    columns = [pa.array([row[column] for row in rows], pa.string()) for column in range(1, 5)]
    batch, reasons = check_rows(layout.assembled(columns))
    faults |= {rows[row][0]: reason for row, reason in reasons.items()}
    batch.bad = [BadRow(first_line + index, faults[index], shown_line(lines[index])) for index in sorted(faults)]
    batch.left_out = left_out
    return batch


def _columns(block: bytes | bytearray, nobody: str) -> list[pa.Array] | None:
    """Returns user, artist, track and time of listens in ListenBrainz' own form, None if a line differs from it."""
    names = pa.struct([("artist_name", pa.string()), ("track_name", pa.string())])
    schema = pa.schema([("user_name", pa.string()), ("listened_at", pa.float64()), ("track_metadata", names)])
    try:
        table = pa_json.read_json(
            pa.BufferReader(block),
            read_options=pa_json.ReadOptions(use_threads=False, block_size=len(block) + 1),
            parse_options=pa_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        ).combine_chunks()
    except pa.ArrowInvalid:
        return None
    user, time, metadata = (table.column(name).combine_chunks() for name in schema.names)
    if time.null_count or metadata.null_count or (user.null_count and user.null_count < len(user)):
        return None
    users = pa.array([nobody] * len(user), pa.string()) if user.null_count else user
    return [users, pc.struct_field(metadata, 0), pc.struct_field(metadata, 1), time]


def _entry(line: bytes) -> dict[str, Any]:
    """Returns the object of a line.

    Raises:
        ValueError: if it is none; the message is the reason for the list of rejected rows.
    """
    try:
        entry = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise ValueError("the line is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"the line is not JSON ({error.msg})") from None
    except RecursionError:
        raise ValueError("the line is nested too deeply") from None
    if not isinstance(entry, dict):
        raise ValueError("the line is not a JSON object")
    return entry


def _not_a_play(entry: dict[str, Any], min_played_seconds: float) -> str | None:
    """Returns what an entry is instead of a play of a track, None if it is one."""
    played = next((entry[key] for key in _PLAYED if key in entry), None)
    if played is None:
        return None
    if not _first(entry, *_TRACK) and (
        any(entry.get(key) for key in _OTHER_MEDIA) or entry.get("master_metadata_track_name", 0) is None
    ):
        return NOT_MUSIC
    if isinstance(played, (int, float)) and played < 1000 * min_played_seconds:
        return f"plays shorter than {min_played_seconds:g} s (data.min_played_seconds)"
    return None


def _listen(entry: dict[str, Any], nobody: str) -> tuple[str, str, str, str]:
    """Returns user, artist, track and time of an entry; '' for what is missing."""
    metadata = entry.get("track_metadata")
    names = metadata if isinstance(metadata, dict) else entry
    user = _first(entry, *_USER) or nobody
    return user, _first(names, *_ARTIST), _first(names, *_TRACK), _first(entry, *_TIME)


def _first(values: dict[str, Any], *keys: str) -> str:
    """Returns the first value that is present, as text; '' if none is.

    Last.fm's own answers nest names and times: {"#text": …}, {"name": …}, {"uts": …}.
    """
    for key in keys:
        value = values.get(key)
        if isinstance(value, dict):
            value = next((value[inner] for inner in ("uts", "#text", "name") if value.get(inner)), None)
        if value not in (None, "") and not isinstance(value, (list, bool)):
            return str(value)
    return ""
