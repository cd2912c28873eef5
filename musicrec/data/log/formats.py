"""What a log may be: formats, the columns that are asked for, and the layout in which a file has them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from annotated_types import Predicate

from musicrec.data.log.conditions import Condition
from musicrec.values import NotNegative, Text, Told, check_fields

AUTO = "auto"
TABLE, LASTFM_1K, LISTENBRAINZ, LASTFM = "table", "lastfm_1k", "listenbrainz", "lastfm"
SPOTIFY, RATINGS, SEQUENCES = "spotify", "ratings", "sequences"
Format = Literal["auto", "table", "lastfm_1k", "listenbrainz", "lastfm", "spotify", "ratings", "sequences"]

# The user id of logs that name no user.
NOBODY = "me"

_FIELD = re.compile(r"\{([^{}]+)\}")


def template_fields(template: str) -> list[str]:
    """Returns the names in braces of a template such as "{artist} - {title}"."""
    return _FIELD.findall(template)


def is_template(text: str) -> bool:
    """Returns whether a text is the name of a column, or has names in braces.

    >>> [is_template(text) for text in ("track_id", "{artist} - {title}", "{}", "{a")]
    [True, True, False, False]
    """
    rest = _FIELD.sub("", text)
    return bool(text.strip()) and not set(rest) & set("{}")


Template = Annotated[str, Predicate(is_template), Told('a column, or several in braces: "{artist} - {title}"')]


@dataclass(frozen=True)
class LogSettings:
    """How a listening log is read: the keys of the group `data` that the files made from the log record.

    Attributes:
        format: `table` (named columns), `lastfm_1k`, `listenbrainz` (JSON), `lastfm` (CSV export of one's own
            scrobbles), `spotify` (its streaming history), `ratings` (user, item, rating and time without a header),
            `sequences` (lines of user item item …, without times), or `auto` = detected from the first lines (never
            `sequences`).
        user_column: name of the column of user ids; `auto` = the default or a usual other name, also for the next two.
        track_column: name of the column of track ids; names in braces compose the id of several columns:
            "{artist} - {title}".
        timestamp_column: name of the column of times; None = rows are in order of time.
        count_column: name of the column of plays per row. `auto` = the column `count` if there is one, otherwise each
            row is one play; None = each row is one play.
        columns: names of all columns of a log without a header, in order; None = the first line has them.
        encoding: of a text log; `auto` = UTF-8, or what its byte order mark says.
        min_played_seconds: shorter plays are left out, where the log says how long they were (Spotify).
        on_bad_row: `skip` (count and list bad rows) or `error` (stop at the first).
        artist_column: name of the column of artists of a table; it may be one of those that compose the track id.
            None: the log does not say them.

    Raises:
        MusicrecError: for an unknown format, or another `on_bad_row`.
    """

    format: Format = "auto"
    user_column: Text = "user_id"
    track_column: Template = "track_id"
    timestamp_column: Text | None = "timestamp"
    count_column: Text | None = AUTO
    columns: Sequence[Text] | None = None
    encoding: Text = AUTO
    min_played_seconds: NotNegative = 0
    on_bad_row: Literal["skip", "error"] = "skip"
    artist_column: Text | None = None

    def __post_init__(self) -> None:
        if self.columns is not None:
            object.__setattr__(self, "columns", tuple(str(name) for name in self.columns))
        check_fields(self, "data")

    def recorded(self) -> dict[str, Any]:
        """Returns the settings as JSON values; what is not used is left out, so that older files stay valid."""
        values = {**vars(self), "columns": None if self.columns is None else list(self.columns)}
        return {key: value for key, value in values.items() if key != "artist_column" or value is not None}

    def wanted(self, label: str | None, conditions: tuple[Condition, ...] = ()) -> LogColumns:
        """Returns the columns to read.

        Args:
            label: column that says to which split a row belongs; None: there is none.
            conditions: which rows count.
        """
        names = None if self.columns is None else tuple(self.columns)
        return LogColumns(
            user=self.user_column,
            track=self.track_column,
            timestamp=self.timestamp_column,
            count=self.count_column,
            format=self.format,
            names=names,
            encoding=self.encoding,
            min_played_seconds=self.min_played_seconds,
            label=label,
            conditions=conditions,
            artist=self.artist_column,
        )


@dataclass(frozen=True)
class LogColumns:
    """Names of the columns to read.

    Attributes:
        user: column of user ids.
        track: column of track ids, or a text with the names of several columns in braces: {artist} - {title}.
        timestamp: column of times; None: there is none.
        count: column of plays per row; `auto` = the column `count` if there is one, None = each row is one play.
        format: a Format; `auto` = detected from the first lines.
        names: names of all columns of a log without a header, in order; None = the first line has them.
        encoding: of the text; `auto` = UTF-8, or what a byte order mark says.
        min_played_seconds: shorter plays are left out, where the log says how long they were.
        label: column that says to which split a row belongs; None: there is none.
        conditions: which rows count, for Parquet files; text has none.
        artist: column of artists, which may be one of those of the track id; None: there is none.

    In tables, `auto` for user, track or timestamp is the default name or a usual other one; if none is there,
    `timestamp` is None.
    """

    user: str
    track: str
    timestamp: str | None
    count: str | None = AUTO
    format: str = TABLE
    names: tuple[str, ...] | None = None
    encoding: str = AUTO
    min_played_seconds: float = 0
    label: str | None = None
    conditions: tuple[Condition, ...] = ()
    artist: str | None = None


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
        format: a Format without `auto`.
        nobody: the user of all plays where no column has users.
        min_played_seconds: shorter plays are left out, where the log says how long they were.
        skipped_lines: number of lines before the header or the first row.
        guess: what the columns were taken for, if nobody said so; None = the user or the format did.
        label: name of the column of splits; None = there is none.
        artist: name of the column of artists, which may be one of the fields; None = there is none.
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
    nobody: str = NOBODY
    min_played_seconds: float = 0
    skipped_lines: int = 0
    guess: str | None = None
    label: str | None = None
    artist: str | None = None

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
        """Returns the columns to read, each once: user, those of the track, timestamp, count, label, artist."""
        artist = None if self.artist in self.fields else self.artist
        named = [self.user, *self.fields, self.timestamp, self.count, self.label, artist]
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
        """Returns user, track, timestamp and, if the log has them, count, label and artist, of the `wanted` columns.

        A composed track id is empty if one of its parts is. Without a column of times all of them are 1970-01-01.
        """
        rest = list(columns)
        rows = len(rest[-1])
        if self.user is None:
            users = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), [self.nobody])
        else:
            users = rest.pop(0)
        fields = self.fields
        parts, rest = rest[: len(fields)], rest[len(fields) :]
        if self.artist in fields:
            rest.append(parts[fields.index(str(self.artist))])
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
