"""Recognising the layout of a text log from its first lines: formats, delimiters, headers, usual column names."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from musicrec.data.log.formats import (
    AUTO,
    LASTFM,
    LASTFM_1K,
    LISTENBRAINZ,
    RATINGS,
    SEQUENCES,
    SPOTIFY,
    TABLE,
    Layout,
    LogColumns,
    template_fields,
)
from musicrec.errors import MusicrecError

DEFAULT_COUNT_COLUMN = "count"
BY_NAME = "{artist} - {track}"
ALLOWED = (
    "a log is tab- or comma-separated text with a header line or another data.format (plain, .gz, .bz2 or .zst), or "
    "Parquet"
)

_SEQUENCE_COLUMNS = ("user", "track", "timestamp")
_JSON_COLUMNS = ("user", "artist", "track", "timestamp")
_LASTFM_1K_COLUMNS = ("user_id", "timestamp", "artist_id", "artist", "track_id", "track")
_LASTFM_COLUMNS = ("artist", "album", "track", "timestamp")
_RATINGS_COLUMNS = ("user", "item", "rating", "timestamp")
_TRIPLE_COLUMNS = ("user", "item", "timestamp")
# Column names that Last.fm exporters use, most specific first.
_ALIASES = {
    "user": ("user_id", "user", "username", "user_name"),
    "artist": ("artist", "artist_name", "artistname"),
    "track": ("track", "track_name", "trackname", "title", "song", "track_title"),
    "timestamp": (
        *("uts", "timestamp", "unix_timestamp", "date", "utc_time", "time", "datetime", "played_at", "scrobble_time"),
    ),
}  # fmt: skip
# lastfmstats.com: the column of times, in milliseconds, has the user's name.
_DATE_OF_USER = re.compile(r"date#(.+)", re.IGNORECASE)
# RecBole and MMRec write the type of a column after its name: user_id:token
_TYPED = re.compile(r":(?:token|float)(?:_seq)?$")
# Names of columns that are taken for the default ones where those are missing, and the default ones.
_DEFAULTS = {"user_column": "user_id", "track_column": "track_id", "timestamp_column": "timestamp"}
_OTHER_NAMES = {
    "user_column": ("userid", "user", "uid", "username", "user_name", "reviewerid"),
    "track_column": (
        "trackid",
        "item_id",
        "itemid",
        "item",
        "iid",
        "movieid",
        "asin",
        "parent_asin",
        "song_id",
        "songid",
    ),
    "timestamp_column": ("time", "ts", "unixreviewtime", "unix_timestamp", "datetime", "date", "listened_at"),
}
_TIME = re.compile(
    r"\d{4}-\d{2}-\d{2}|\d{1,2} [A-Z][a-z]{2} \d{4},? \d{2}:\d{2}|\d{9,13}(?:\.\d*)?$|\d\.\d+[eE]\+?(?:0?[89]|1[0-2])$"
)
_DAY_AND_TIME = re.compile(r"\d{4}-\d{2}-\d{2}|\d{1,2} [A-Z][a-z]{2} \d{4},? \d{2}:\d{2}|\d{9,13}$")
# What exporters write for the time of the track that is playing while they run.
_NO_TIME = {"", "undefined", "null", "none", "nan", "nat", "0", "invalid date", "now playing", "nowplaying"}
_RATING = re.compile(r"-?\d{1,2}(?:\.\d+)?$")
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?$')  # written by Excel
_DELIMITERS = (",", ";", "|")
_MAX_SHOWN = 300


def layout_of(name: str, lines: Sequence[bytes], columns: LogColumns) -> Layout:
    """Returns how a text log is read, judging by its first lines.

    Args:
        name: of the log, for messages.
        lines: the first lines, at least one.
        columns: the columns and the format that the user asked for.

    Raises:
        MusicrecError: if the first line is not text, a column is missing or occurs twice, or the file could be read in
            more than one way.
    """
    texts = [line.decode("utf-8-sig" if not index else "utf-8", "replace") for index, line in enumerate(lines)]
    texts = [text.rstrip("\r\n") for text in texts]
    if "\0" in texts[0]:
        raise MusicrecError(
            f"the first line of {name} is not text; {ALLOWED}. If it is UTF-16 without a byte order mark, set "
            "data.encoding=utf-16-le"
        )
    skipped = next((index for index, text in enumerate(texts) if text.strip()), 0)
    delimiter = None
    if separator := _SEPARATOR_LINE.match(texts[skipped]):
        delimiter = separator[1]
        skipped += 1
    texts = texts[skipped:] or [""]
    layout = _layout(name, texts, delimiter, columns)
    return replace(layout, skipped_lines=skipped, min_played_seconds=columns.min_played_seconds)


def check_utf8(name: str, line: bytes) -> None:
    """Refuses a first line that is not UTF-8 (MusicrecError)."""
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MusicrecError(
            f"line 1 of {name} is not UTF-8 text; {ALLOWED}. If it is text in another encoding, set "
            "data.encoding=latin-1 (or cp1252, utf-16, …)"
        ) from error


def _layout(name: str, texts: list[str], delimiter: str | None, columns: LogColumns) -> Layout:
    text = texts[0]
    if columns.format in (LISTENBRAINZ, SPOTIFY) or (
        columns.format in (AUTO, LASTFM) and text.lstrip().startswith("{")
    ):
        kind = SPOTIFY if columns.format == SPOTIFY else LISTENBRAINZ
        return Layout("", False, _JSON_COLUMNS, "user", BY_NAME, "timestamp", headerless=True, format=kind)
    if columns.format == SEQUENCES:
        if len(text.split()) < 2 or not {"\t", " "} & set(text):
            raise MusicrecError(
                f"the first line of {name} does not have data.format=sequences: a user and that user's items in order "
                "of time, separated by spaces"
            )
        return Layout("", False, _SEQUENCE_COLUMNS, "user", "{track}", "timestamp", headerless=True, format=SEQUENCES)
    delimiter = delimiter or _delimiter(text)
    # Names of artists and songs contain lone quotation marks. So quotation marks are ordinary characters in
    # tab-separated logs, unless the header shows that the writer quotes (R does).
    quoted = delimiter in _DELIMITERS or text.startswith('"')
    rows = [_cells(line, delimiter, quoted) for line in texts]
    names = tuple(_TYPED.sub("", cell.strip()) for cell in rows[0])
    if columns.names is not None:
        return _named(name, columns.names, len(names), delimiter, quoted, columns)
    said = columns.format != AUTO
    detected = columns.format if said else _detected(name, text, names, columns)
    without_header = None
    if detected is None and columns.track != _DEFAULTS["track_column"]:
        detected = TABLE  # the user knows the columns; the error names those that are missing
    if detected in (LASTFM, RATINGS, None):
        without_header = _headerless(name, rows, delimiter, quoted, detected)
    if without_header is not None:
        return replace(without_header, guess=None) if said else without_header
    if detected == LASTFM_1K:
        if len(names) != len(_LASTFM_1K_COLUMNS):
            raise MusicrecError(
                f"{name} has {len(names)} columns; data.format=lastfm_1k has {len(_LASTFM_1K_COLUMNS)} without a "
                "header: userid, timestamp, artid, artname, traid, traname"
            )
        return Layout("\t", False, _LASTFM_1K_COLUMNS, "user_id", BY_NAME, "timestamp", headerless=True)
    if detected == LASTFM:
        layout = _lastfm(name, names, delimiter, quoted, columns)
        return replace(layout, guess=None if said else _said(layout))
    if detected == RATINGS:
        columns = replace(columns, format=AUTO)
    user, track, timestamp, count, guess = table_columns(name, names, columns)
    layout = Layout(delimiter, quoted, names, user, track, timestamp, count, guess=guess, label=columns.label)
    return replace(layout, artist=columns.artist)


def _delimiter(text: str) -> str:
    """Returns what separates the cells of a line."""
    if "\t" in text:
        return "\t"
    if "::" in text and not any(sign in text for sign in _DELIMITERS):
        return "::"
    return max(_DELIMITERS, key=text.count)


def _cells(text: str, delimiter: str, quoted: bool) -> list[str]:
    if delimiter == "::":
        return text.split(delimiter)
    try:
        return next(csv_rows(iter([text]), delimiter, quoted), []) or [""]
    except csv.Error:
        return [text[:_MAX_SHOWN]]


def _detected(name: str, text: str, names: tuple[str, ...], columns: LogColumns) -> str | None:
    """Returns the format of a table, detected from its first line; None if that is no known header."""
    track = _DEFAULTS["track_column"] if columns.track == AUTO else columns.track
    known = set(template_fields(track)) or {track}
    if known <= set(names):
        return TABLE
    if "\t" in text and len(names) == len(_LASTFM_1K_COLUMNS) and _DAY_AND_TIME.match(names[1]):
        return LASTFM_1K
    named = track != _DEFAULTS["track_column"]
    if (
        not named
        and _alias(names, "artist")
        and _alias(names, "track")
        and (_alias(names, "timestamp") or _of_user(names))
    ):
        ids = [one for one in names if one.lower() in _OTHER_NAMES["track_column"]]
        if ids:
            raise MusicrecError(
                f"{name} has ids of tracks ({ids[0]}) and names of artists and tracks; choose one: "
                f"data.track_column={ids[0]} or data.format=lastfm"
            )
        return LASTFM
    if any(one.lower() in _OTHER_NAMES["track_column"] for one in names):
        return TABLE
    return None


def _headerless(name: str, rows: list[list[str]], delimiter: str, quoted: bool, kind: str | None) -> Layout | None:
    """Returns the layout of a table without a header, None if its first line is one.

    Raises:
        MusicrecError: if the columns could be read in two ways.
    """
    width = len(rows[0])
    rows = [row for row in rows if len(row) == width]
    times = [cell for cell in (row[-1].strip() for row in rows) if _TIME.match(cell)] if width > 1 else []
    first = rows[0][-1].strip()
    begins = bool(_TIME.match(first)) or (first.lower() in _NO_TIME and bool(times))
    if not begins or 2 * len(times) < len(rows) - 1 or width not in (3, 4):
        return None
    of_ids = all(" " not in cell.strip() for row in rows for cell in row[:2])
    rated = width == 4 and all(_RATING.match(row[2].strip()) for row in rows)
    if kind is None:
        if rated and not of_ids:
            raise MusicrecError(
                f"{name} has no header; its columns could be user, item, rating, time (set data.format=ratings) or "
                f"artist, album, track, time (set data.format=lastfm); its first row is: {shown_names(rows[0])}"
            )
        if width == 3 and not of_ids:
            raise MusicrecError(
                f"{name} has no header; its columns could be user, track, time or artist, track, time; name them: "
                f"data.columns=[user_id,track_id,timestamp]; its first row is: {shown_names(rows[0])}"
            )
        kind = RATINGS if rated or width == 3 else LASTFM
    if kind == LASTFM:
        if width != 4:
            return None
        layout = Layout(delimiter, quoted, _LASTFM_COLUMNS, None, BY_NAME, "timestamp", headerless=True)
    else:
        names = _RATINGS_COLUMNS if width == 4 else _TRIPLE_COLUMNS
        layout = Layout(delimiter, quoted, names, "user", "{item}", "timestamp", headerless=True)
    return replace(_doubled(layout), guess=f"no header, columns taken for {', '.join(layout.names)}")


def _doubled(layout: Layout) -> Layout:
    """Returns the layout for a parser whose delimiter is one character, where it is two (::)."""
    if layout.delimiter != "::":
        return layout
    names: list[str] = []
    for name in layout.names:
        names += [name, f"between {len(names)}"]
    return replace(layout, delimiter=":", quoted=False, names=tuple(names[:-1]))


def _named(name: str, names: tuple[str, ...], width: int, delimiter: str, quoted: bool, columns: LogColumns) -> Layout:
    """Returns the layout of a table whose columns the user named."""
    if len(names) != width:
        raise MusicrecError(f"data.columns names {len(names)} columns; {name} has {width}")
    user, track, timestamp, count, _ = table_columns(name, names, replace(columns, format=TABLE))
    layout = Layout(delimiter, quoted, names, user, track, timestamp, count, headerless=True, label=columns.label)
    return _doubled(replace(layout, artist=columns.artist))


def _lastfm(name: str, names: tuple[str, ...], delimiter: str, quoted: bool, columns: LogColumns) -> Layout:
    found = {role: _alias(names, role) for role in _ALIASES}
    of_user = _of_user(names)
    if of_user:
        found["timestamp"] = of_user[0]
    for role in ("artist", "track", "timestamp"):
        if found[role] is None:
            raise MusicrecError(
                f"{name} has no column for the {role} (data.format=lastfm allows {', '.join(_ALIASES[role])}); its "
                f"first line is: {shown_names(names)}. For other names use data.format=table with "
                "data.track_column='{artist} - {title}' and data.timestamp_column"
            )
    track = f"{{{found['artist']}}} - {{{found['track']}}}"
    timestamp = found["timestamp"]
    assert timestamp is not None
    user = columns.user if columns.user in names else found["user"]
    label = columns.label if columns.label in names else None
    artist = columns.artist if columns.artist in names else None
    layout = Layout(delimiter, quoted, names, user, track, timestamp, label=label, artist=artist)
    return replace(layout, nobody=of_user[1]) if of_user and user is None else layout


def _of_user(names: Sequence[str]) -> tuple[str, str] | None:
    """Returns the column of lastfmstats' times and the user that it names."""
    found = [(name, match[1].strip()) for name in names if (match := _DATE_OF_USER.fullmatch(name))]
    return found[0] if len(found) == 1 else None


def _alias(names: Sequence[str], role: str) -> str | None:
    by_plain = {re.sub(r"[\s_-]+", "_", name.strip().lower()): name for name in reversed(names)}
    return next((by_plain[alias] for alias in _ALIASES[role] if alias in by_plain), None)


def table_columns(
    name: str, names: Sequence[str], columns: LogColumns
) -> tuple[str, str, str | None, str | None, str | None]:
    """Returns the user column, the track id's template, the timestamp column, the count column, and what was guessed.

    Raises:
        MusicrecError: if a column is missing, occurs twice or could be one of several; the message has the columns
            found and the key to set.
    """
    asked = columns
    columns = _guessed(name, names, columns)
    fields = template_fields(columns.track)
    wanted = [("user_column", columns.user)]
    wanted += [("track_column", column) for column in fields or [columns.track]]
    if columns.timestamp is not None:
        wanted.append(("timestamp_column", columns.timestamp))
    if columns.label is not None:
        wanted.append(("split_column", columns.label))
    if columns.artist is not None and columns.artist not in (fields or [columns.track]):
        wanted.append(("artist_column", columns.artist))
    count = columns.count
    if count == AUTO:
        count = DEFAULT_COUNT_COLUMN if DEFAULT_COUNT_COLUMN in names else None
    if count is not None:
        wanted.append(("count_column", count))
    found = shown_names(names) or "nothing"
    for key, column in wanted:
        if column not in names:
            hint = ""
            if columns.names is None and any(_TIME.match(cell) for cell in names):
                hint = "; if the file has no header, name all columns: data.columns=[user_id,track_id,timestamp]"
            raise MusicrecError(f"{name} has no column {column!r}; its columns are: {found}. Set data.{key}=NAME{hint}")
        if list(names).count(column) > 1:
            raise MusicrecError(
                f"{name} has {list(names).count(column)} columns named {column!r} ({found}); rename all but one"
            )
    if len({column for _, column in wanted}) < len(wanted):
        twice = ", ".join(f"data.{key}={column}" for key, column in wanted)
        raise MusicrecError(f"one column of {name} is used for two purposes: {twice}")
    track = columns.track if fields else f"{{{columns.track}}}"
    guess = None
    if columns != asked:
        time = "none, rows are in order of time" if columns.timestamp is None else columns.timestamp
        guess = f"user = {columns.user}, track = {columns.track}, time = {time}"
    return columns.user, track, columns.timestamp, count, guess


def _guessed(name: str, names: Sequence[str], columns: LogColumns) -> LogColumns:
    """Returns the columns with `auto` and, in tables that were detected, missing default names replaced by usual ones.

    Raises:
        MusicrecError: if several columns could be meant.
    """
    for key, default in _DEFAULTS.items():
        role = key.removesuffix("_column")
        asked = getattr(columns, role)
        if asked != AUTO and (columns.format != AUTO or asked != default or default in names):
            continue
        changed: dict[str, Any] = {role: default}
        if default in names:
            columns = replace(columns, **changed)
            continue
        others = [column for column in names if column.lower() in _OTHER_NAMES[key]]
        if len(set(others)) > 1:
            raise MusicrecError(
                f"{name} has no column {default!r}, and several that could be meant: {shown_names(others)}; "
                f"choose one: data.{key}=NAME"
            )
        if others:
            changed = {role: others[0]}
        elif asked == AUTO and role == "timestamp":
            changed = {role: None}
        columns = replace(columns, **changed)
    return columns


def _said(layout: Layout) -> str:
    """Returns what the columns were taken for."""
    user = layout.user or f"always {layout.nobody!r}"
    return f"user = {user}, track = {layout.track}, time = {layout.timestamp}"


def shown_names(names: Sequence[str]) -> str:
    """Returns names for a message, cut to a length that a terminal can show."""
    text = ", ".join(names)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]} … ({len(names)} columns)"


def csv_rows(lines: Iterator[str], delimiter: str, quoted: bool) -> Any:
    """Returns Python's csv reader of the lines."""
    return csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)
