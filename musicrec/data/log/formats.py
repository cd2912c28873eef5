"""Formats of text logs: tables with a header and the exports of Last.fm and ListenBrainz, and their columns."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from musicrec.errors import MusicrecError

AUTO = "auto"
DEFAULT_COUNT_COLUMN = "count"
TABLE, LASTFM_1K, LISTENBRAINZ, LASTFM = "table", "lastfm_1k", "listenbrainz", "lastfm"
SEQUENCES = "sequences"
FORMATS = (AUTO, TABLE, LASTFM_1K, LISTENBRAINZ, LASTFM, SEQUENCES)

# The user id of logs that name no user.
NOBODY = "me"
BY_NAME = "{artist} - {track}"

_FIELD = re.compile(r"\{([^{}]+)\}")
# RecBole's atomic files (https://recbole.io/docs/user_guide/data/atomic_files.html) have types in the header.
_TYPED = re.compile(r"[^:]+:(token|float|token_seq|float_seq)")
# Usual names of the columns, of logs, of RecBole's, MMRec's and Yambda's files.
_USUAL = {
    "user": ("user_id", "userID", "uid", "user"),
    "track": ("track_id", "item_id", "itemID", "track", "item"),
    "timestamp": ("timestamp", "time"),
}
_SEQUENCE_COLUMNS = ("user", "track", "timestamp")
_LISTENBRAINZ_COLUMNS = ("user", "artist", "track", "timestamp")
_LASTFM_1K_COLUMNS = ("user_id", "timestamp", "artist_id", "artist", "track_id", "track")
# Column names that Last.fm exporters use, most specific first.
_ALIASES = {
    "user": ("user_id", "user", "username", "user_name"),
    "artist": ("artist", "artist_name", "artistname"),
    "track": ("track", "track_name", "trackname", "title", "song", "track_title"),
    "timestamp": (
        *("uts", "timestamp", "unix_timestamp", "date", "utc_time", "time", "datetime", "played_at", "scrobble_time"),
    ),
}  # fmt: skip
_LASTFM_HEADERLESS = ("artist", "album", "track", "timestamp")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}|\d{1,2} [A-Z][a-z]{2} \d{4},? \d{2}:\d{2}|\d{9,13}$")


@dataclass(frozen=True)
class LogColumns:
    """Names of the columns to read.

    Attributes:
        user: column of user ids.
        track: column of track ids, or a text with the names of several columns in braces: {artist} - {title}.
        timestamp: column of times; None: there is none.
        count: column of plays per row; `auto` = the column `count` if there is one, None = each row is one play.
        format: one of FORMATS; `auto` = detected from the first line.
        label: column that says to which split a row belongs; None: there is none.

    In tables, `auto` for user, track or timestamp is the first of the usual names that the file has.
    """

    user: str
    track: str
    timestamp: str | None
    count: str | None = AUTO
    format: str = TABLE
    label: str | None = None


@dataclass(frozen=True)
class Layout:
    """How the lines of a log are read.

    Attributes:
        delimiter: between the cells of a line; empty if lines do not consist of cells.
        quoted: whether cells may be in quotation marks.
        names: names of all columns, in order.
        user: name of the column of users; None = all plays are of NOBODY.
        track: template of the track id, with names of columns in braces.
        timestamp: name of the column of times; None = rows are in order of time.
        count: name of the column of counts; None = each row is one play.
        headerless: whether the first line is a row.
        format: one of FORMATS without `auto`.
        label: name of the column of splits; None = there is none.
    """

    delimiter: str
    quoted: bool
    names: tuple[str, ...]
    user: str | None
    track: str
    timestamp: str | None
    count: str | None = None
    headerless: bool = False
    format: str = TABLE
    label: str | None = None

    @property
    def width(self) -> int:
        """Returns the number of columns."""
        return len(self.names)

    @property
    def fields(self) -> list[str]:
        """Returns the columns of which the track id is composed."""
        return _FIELD.findall(self.track)

    @property
    def wanted(self) -> list[str]:
        """Returns the columns to read: user, those of the track, timestamp, count, label."""
        named = [self.user, *self.fields, self.timestamp, self.count, self.label]
        return [name for name in named if name is not None]

    @property
    def positions(self) -> list[int]:
        """Returns the indices of the columns to read."""
        return [self.names.index(name) for name in self.wanted]

    @property
    def by_name(self) -> bool:
        """Returns whether track ids are composed of artist and title."""
        return len(self.fields) > 1

    def assembled(self, columns: Sequence[pa.Array]) -> list[pa.Array]:
        """Returns user, track, timestamp and, if the log has them, count and label, made of the `wanted` columns.

        A composed track id is empty if one of its parts is. Without a column of times all of them are 1970-01-01.
        """
        rest = list(columns)
        rows = len(rest[-1])
        if self.user is None:
            users = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), [NOBODY])
        else:
            users = rest.pop(0)
        fields = self.fields
        parts, rest = rest[: len(fields)], rest[len(fields) :]
        if self.timestamp is None:
            rest.insert(0, pa.array(np.zeros(rows, np.int64)))
        if self.track == f"{{{fields[0]}}}":
            return [users, parts[0], *rest]
        kind = pa.binary() if any(pa.types.is_binary(part.type) for part in parts) else pa.string()
        parts = [pc.fill_null(part.cast(kind), "") for part in parts]
        between = [pa.scalar(text, kind) for text in _FIELD.split(self.track)[::2]]
        pieces = [between[0]]
        for part, text in zip(parts, between[1:], strict=True):
            pieces += [part, text]
        tracks = pc.binary_join_element_wise(*pieces, pa.scalar("", kind))
        for part in parts:
            tracks = pc.if_else(pc.equal(pc.binary_length(part), 0), pa.scalar("", kind), tracks)
        return [users, tracks, *rest]


def layout_of(path: Path, first_line: bytes, columns: LogColumns, allowed: str) -> Layout:
    """Returns how a text log is read, judging by its first line.

    Args:
        path: the log, for messages.
        first_line: the first line.
        columns: the columns and the format that the user asked for.
        allowed: what a log may be, for messages.

    Raises:
        MusicrecError: if the line is not text, or a column is missing or occurs twice.
    """
    try:
        text = first_line.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise MusicrecError(f"the first line of {path} is not UTF-8 text; {allowed}") from error
    if "\0" in text:
        raise MusicrecError(f"the first line of {path} is not text; {allowed}")
    delimiter = "\t" if "\t" in text else ","
    # Names of artists and songs contain lone quotation marks. So quotation marks are ordinary characters in
    # tab-separated logs, unless the header shows that the writer quotes (R does).
    quoted = delimiter == "," or text.startswith('"')
    names = tuple(name.strip() for name in next(csv_rows(iter([text]), delimiter, quoted), []))
    if names and all(_TYPED.fullmatch(name) for name in names):
        names = tuple(name.partition(":")[0] for name in names)
    kind = _detected(text, names, columns) if columns.format == AUTO else columns.format
    if kind == LISTENBRAINZ:
        return Layout(
            "", False, _LISTENBRAINZ_COLUMNS, "user", BY_NAME, "timestamp", headerless=True, format=LISTENBRAINZ
        )
    if kind == SEQUENCES:
        if len(text.split()) < 2 or not {"\t", " "} & set(text):
            raise MusicrecError(
                f"the first line of {path} does not have data.format=sequences: a user and that user's items in order "
                "of time, separated by spaces"
            )
        return Layout("", False, _SEQUENCE_COLUMNS, "user", "{track}", "timestamp", headerless=True, format=SEQUENCES)
    if kind == LASTFM_1K:
        if len(names) != len(_LASTFM_1K_COLUMNS):
            raise MusicrecError(
                f"{path} has {len(names)} columns; data.format=lastfm_1k has {len(_LASTFM_1K_COLUMNS)} without a "
                "header: userid, timestamp, artid, artname, traid, traname"
            )
        return Layout("\t", False, _LASTFM_1K_COLUMNS, "user_id", BY_NAME, "timestamp", headerless=True)
    if kind == LASTFM:
        return _lastfm(path, names, delimiter, quoted, columns)
    return _table(path, names, delimiter, quoted, columns)


def _detected(text: str, names: tuple[str, ...], columns: LogColumns) -> str:
    """Returns the format of a log, detected from its first line."""
    if text.lstrip().startswith("{"):
        return LISTENBRAINZ
    known = set(_FIELD.findall(columns.track)) or {usual(names, "track", columns.track)}
    if known <= set(names):
        return TABLE
    if "\t" in text and len(names) == len(_LASTFM_1K_COLUMNS) and _DATE.match(names[1]):
        return LASTFM_1K
    if _alias(names, "artist") and _alias(names, "track") and _alias(names, "timestamp"):
        return LASTFM
    if len(names) == len(_LASTFM_HEADERLESS) and _DATE.match(names[-1]):
        return LASTFM
    return TABLE


def _lastfm(path: Path, names: tuple[str, ...], delimiter: str, quoted: bool, columns: LogColumns) -> Layout:
    headerless = len(names) == len(_LASTFM_HEADERLESS) and _DATE.match(names[-1]) is not None
    if headerless:
        names = _LASTFM_HEADERLESS
    found = {role: _alias(names, role) for role in _ALIASES}
    for role in ("artist", "track", "timestamp"):
        if found[role] is None:
            raise MusicrecError(
                f"{path} has no column for the {role} (data.format=lastfm allows {', '.join(_ALIASES[role])}); its "
                f"first line is: {', '.join(names)}. For other names use data.format=table with "
                "data.track_column='{artist} - {title}' and data.timestamp_column"
            )
    track = f"{{{found['artist']}}} - {{{found['track']}}}"
    timestamp = found["timestamp"]
    assert timestamp is not None
    user = columns.user if columns.user in names else found["user"]
    return Layout(delimiter, quoted, names, user, track, timestamp, headerless=headerless)


def _alias(names: Sequence[str], role: str) -> str | None:
    by_plain = {re.sub(r"[\s_-]+", "_", name.strip().lower()): name for name in reversed(names)}
    return next((by_plain[alias] for alias in _ALIASES[role] if alias in by_plain), None)


def _table(path: Path, names: tuple[str, ...], delimiter: str, quoted: bool, columns: LogColumns) -> Layout:
    user, track, timestamp, count = table_columns(path, names, columns)
    return Layout(delimiter, quoted, names, user, track, timestamp, count, label=columns.label)


def usual(names: Sequence[str], role: str, column: str) -> str:
    """Returns a column's name; for `auto` the first usual one that is there, or the most usual."""
    if column != AUTO:
        return column
    return next((name for name in _USUAL[role] if name in names), _USUAL[role][0])


def table_columns(path: Path, names: Sequence[str], columns: LogColumns) -> tuple[str, str, str | None, str | None]:
    """Returns the user column, the template of the track id, the timestamp column and the count column.

    Raises:
        MusicrecError: if a column is missing or occurs twice; the message has the columns found and the key to set.
    """
    user, track = usual(names, "user", columns.user), usual(names, "track", columns.track)
    fields = _FIELD.findall(track)
    wanted = [("user_column", user)]
    wanted += [("track_column", name) for name in fields or [track]]
    timestamp = columns.timestamp
    if timestamp == AUTO:  # rows without times are in order of time
        timestamp = next((name for name in _USUAL["timestamp"] if name in names), None)
    if timestamp is not None:
        wanted.append(("timestamp_column", timestamp))
    if columns.label is not None:
        wanted.append(("split_column", columns.label))
    count = columns.count
    if count == AUTO:
        count = DEFAULT_COUNT_COLUMN if DEFAULT_COUNT_COLUMN in names else None
    if count is not None:
        wanted.append(("count_column", count))
    found = ", ".join(names) or "nothing"
    for key, name in wanted:
        if name not in names:
            raise MusicrecError(f"{path} has no column {name!r}; its columns are: {found}. Set data.{key}=NAME")
        if list(names).count(name) > 1:
            raise MusicrecError(
                f"{path} has {list(names).count(name)} columns named {name!r} ({found}); rename all but one"
            )
    if len({name for _, name in wanted}) < len(wanted):
        twice = ", ".join(f"data.{key}={name}" for key, name in wanted)
        raise MusicrecError(f"one column of {path} is used for two purposes: {twice}")
    return user, track if fields else f"{{{track}}}", timestamp, count


def csv_rows(lines: Iterator[str], delimiter: str, quoted: bool) -> Any:
    """Returns Python's csv reader of the lines."""
    return csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)
