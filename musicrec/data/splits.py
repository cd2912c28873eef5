"""Splits of plays into training and held-out pairs: temporal, hot_cold, leave_one_out (docs/data.md, Splits)."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from musicrec.columns import COUNT, TIMESTAMP, TRACK, USER
from musicrec.data.given_splits import GIVEN, given, no_dates, split_names
from musicrec.data.split_dates import (
    AUTO,
    Period,
    check_order,
    chosen_period,
    log_range,
    parse_date,
    timestamp_literal,
    whole_log,
    year_and_month,
)
from musicrec.errors import MusicrecError, demand

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger(__name__)

# Values of `data.candidates`.
CANDIDATES = ("separate", "mixed")

USERS_SEED = 42  # the studies'; fixed, so that val and test users are the same for everyone
HOT_TEST_SHARE = 0.7  # share of the users without a cold pair; the others are val
# One track each for test, val and train.
LEAST_TRACKS = 3

_ONE_LISTENER = "the log of a single listener never has one; data.split=hot_cold holds out the new tracks"
_ORDER = f"ORDER BY {USER}, {TRACK}"


def temporal(connection: duckdb.DuckDBPyConnection, period: Period) -> dict[str, str]:
    """Returns the queries of train, val and test: the split of the 2024 study (arXiv 2409.08987).

    Args:
        connection: has the table `plays`: user_id, track_id (idx), timestamp, n (plays per row).
        period: the dates.

    Raises:
        MusicrecError: if nothing is left; names the filter and the range of dates in the log.
    """
    train = _pairs_by_date(connection, period)
    known = f"{TRACK} IN (FROM train_tracks)"
    unknown = "no track first played in the held-out period is played in the training one"
    _require(connection, "held_out", known, f"{unknown} ({_ONE_LISTENER})")
    users = _users(connection, f"SELECT DISTINCT {USER} FROM held_out WHERE {known}")
    if len(users) == 1:
        log.warning("only one user (%s) has held-out plays; they are test, and val is empty", users[0])
    _divide(connection, users, 0.5)
    return {
        "train": train,
        "val": _held_out(f"{known} AND {USER} IN (FROM val_users)"),
        "test": _held_out(f"{known} AND {USER} NOT IN (FROM val_users)"),
    }


def hot_cold(connection: duckdb.DuckDBPyConnection, period: Period) -> dict[str, str]:
    """Returns the queries of train, val, hot_test and cold_test: the split of the 2026 study (arXiv 2604.23077).

    Held-out pairs are cold if their track is not in train, otherwise hot. Users with a cold pair are not in val, since
    there are few of them. Of the others 30 % are val, or none if there are fewer than four (a single listener has cold
    pairs only). See `temporal` for arguments and errors.
    """
    train = _pairs_by_date(connection, period)
    known = f"{TRACK} IN (FROM train_tracks)"
    has_cold = f"{USER} IN (SELECT {USER} FROM held_out WHERE NOT {known})"
    users = _users(connection, f"SELECT DISTINCT {USER} FROM held_out WHERE {known} AND NOT {has_cold}")
    if math.ceil(HOT_TEST_SHARE * len(users)) == len(users):
        log.warning("only %d held-out users have no cold track, so val (30 %% of them) is empty", len(users))
    if not connection.execute(f"SELECT 1 FROM held_out WHERE NOT {known} LIMIT 1").fetchall():
        log.warning("no held-out track is cold; cold_test is empty")
    _divide(connection, users, HOT_TEST_SHARE)
    return {
        "train": train,
        "val": _held_out(f"{known} AND {USER} IN (FROM val_users)"),
        "hot_test": _held_out(f"{known} AND {USER} NOT IN (FROM val_users)"),
        "cold_test": _held_out(f"NOT {known}"),
    }


def leave_one_out(connection: duckdb.DuckDBPyConnection, period: Period) -> dict[str, str]:
    """Returns the queries of train, val and test: the split of the literature on sequential recommendation.

    Of a user's pairs, ordered by (first play, track), the last is test and the one before it val. Users with fewer than
    three pairs are in train only (Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018,
    arXiv 1808.09781, released code). See `temporal` for arguments and errors.
    """
    connection.execute(
        f"""
        CREATE TEMP TABLE pairs AS
        SELECT *, row_number() OVER (PARTITION BY {USER} ORDER BY {TIMESTAMP} DESC, {TRACK} DESC) AS from_last,
               count(*) OVER (PARTITION BY {USER}) AS tracks
        FROM (
            SELECT {USER}, {TRACK}, min({TIMESTAMP}) AS {TIMESTAMP}, sum(n)::BIGINT AS {COUNT}
            FROM plays WHERE {period.within} GROUP BY {USER}, {TRACK}
        )
        """
    )
    _require(connection, "pairs", "true", f"no play is within data.start={period.start} and data.end={period.end}")
    enough = f"tracks >= {LEAST_TRACKS}"
    _require(connection, "pairs", enough, f"no user has {LEAST_TRACKS} tracks (one each for train, val and test)")
    is_train = f"NOT ({enough} AND from_last <= 2)"
    known = f"NOT ({is_train}) AND {TRACK} IN (SELECT {TRACK} FROM pairs WHERE {is_train})"
    _require(connection, "pairs", known, f"no held-out track is in train ({_ONE_LISTENER})")
    pairs = f"SELECT {USER}, {TRACK}, {TIMESTAMP}, {COUNT} FROM pairs WHERE {{}} {_ORDER}"
    return {
        "train": pairs.format(is_train),
        "val": pairs.format(f"{enough} AND from_last = 2"),
        "test": pairs.format(f"{enough} AND from_last = 1"),
    }


def _pairs_by_date(connection: duckdb.DuckDBPyConnection, period: Period) -> str:
    """Makes the tables pairs, train_tracks and held_out (users seen in train); returns the query of train."""
    assert period.test is not None
    is_train = f"{TIMESTAMP} < {timestamp_literal(period.test)}"
    # One pass for both: a pair first played before the test date is train, and counts only its plays before that date.
    connection.execute(
        f"""
        CREATE TEMP TABLE pairs AS
        SELECT {USER}, {TRACK}, min({TIMESTAMP}) AS {TIMESTAMP}, sum(n)::BIGINT AS plays,
               (sum(n) FILTER ({is_train}))::BIGINT AS train_plays
        FROM plays WHERE {period.within}
        GROUP BY {USER}, {TRACK}
        """
    )
    _require(connection, "pairs", "true", f"no play is within data.start={period.start} and data.end={period.end}")
    _require(connection, "pairs", is_train, f"no play is between data.start={period.start} and data.test={period.test}")
    new = f"no user plays a track for the first time from data.test={period.test} on"
    _require(connection, "pairs", f"NOT {is_train}", f"{new}, data.end={period.end}")
    connection.execute(f"CREATE TEMP TABLE train_tracks AS SELECT DISTINCT {TRACK} FROM pairs WHERE {is_train}")
    connection.execute(
        f"""
        CREATE TEMP TABLE held_out AS
        SELECT * FROM pairs WHERE NOT {is_train} AND {USER} IN (SELECT {USER} FROM pairs WHERE {is_train})
        """
    )
    _require(connection, "held_out", "true", "no user who plays in the held-out period plays in the training period")
    return f"SELECT {USER}, {TRACK}, {TIMESTAMP}, train_plays AS {COUNT} FROM pairs WHERE {is_train} {_ORDER}"


def _held_out(condition: str) -> str:
    return f"SELECT {USER}, {TRACK}, {TIMESTAMP}, plays AS {COUNT} FROM held_out WHERE {condition} {_ORDER}"


def _users(connection: duckdb.DuckDBPyConnection, query: str) -> list[int | str]:
    """Returns user ids in order: integers by value, strings by code point."""
    return [user for (user,) in connection.execute(f"{query} ORDER BY {USER}").fetchall()]


def _divide(connection: duckdb.DuckDBPyConnection, users: list[int | str], test_share: float) -> None:
    """Makes the table val_users of the users that are not drawn for test; if there are too few, all are test."""
    tested = math.ceil(test_share * len(users))
    if tested == len(users):
        connection.execute(f"CREATE TEMP TABLE val_users AS SELECT {USER} FROM held_out LIMIT 0")
        return
    # The first result of sklearn.model_selection.train_test_split(users, test_size=test_share,
    # random_state=USERS_SEED), without the two seconds that importing sklearn takes.
    order = np.random.RandomState(USERS_SEED).permutation(len(users))
    connection.register("val_users", pa.table({USER: pa.array([users[index] for index in order[tested:]])}))


def _require(connection: duckdb.DuckDBPyConnection, table: str, condition: str, message: str) -> None:
    if not connection.execute(f"SELECT 1 FROM {table} WHERE {condition} LIMIT 1").fetchall():
        raise MusicrecError(f"the split is empty: {message}; {log_range(connection)}")


@dataclass(frozen=True)
class Split:
    """A way to split.

    Attributes:
        files: names of its files, train first.
        dates: which of the settings start, test and end it uses.
        period: returns the period for these settings.
        queries: returns the query of each file, sorted by (user_id, track_id).
    """

    files: tuple[str, ...]
    dates: tuple[str, ...]
    period: Callable[[duckdb.DuckDBPyConnection, str, str, str | None], Period]
    queries: Callable[[duckdb.DuckDBPyConnection, Period], dict[str, str]]


# By `data.split`.
SPLITS = {
    "temporal": Split(("train", "val", "test"), ("start", "test", "end"), chosen_period, temporal),
    "hot_cold": Split(("train", "val", "hot_test", "cold_test"), ("test", "end"), year_and_month, hot_cold),
    "leave_one_out": Split(("train", "val", "test"), ("start", "end"), whole_log, leave_one_out),
    "column": Split(GIVEN, (), no_dates, given),
    "files": Split(GIVEN, (), no_dates, given),
}


@dataclass(frozen=True)
class SplitSettings:
    """How plays are split: the keys of the group `data` that say it.

    Attributes:
        split: `temporal`, `hot_cold`, `leave_one_out`; `column`: as a column of the log says; `files`: a file of each.
        split_column: name of that column.
        split_values: split name to its value in that column; None = the names themselves.
        candidates: which tracks lists are drawn from if the split has cold tracks: `separate` lists of warm and of cold
            tracks, or `mixed` lists of both (musicrec/data/interactions.py).
        start: first instant of the training period, ISO, UTC; `auto` = one year before `test` (leave_one_out: the first
            play). hot_cold always trains on the year before `test`.
        test: first instant of the held-out period; `auto` = the last month of the log. leave_one_out has no such
            period.
        end: plays from this instant on are dropped; None = none are.

    Raises:
        MusicrecError: for an unknown split, values of a column that cannot be, or dates in another order.
    """

    split: str = "temporal"
    split_column: str | None = None
    split_values: Mapping[str, Any] | None = None
    candidates: str = "separate"
    start: str = AUTO
    test: str = AUTO
    end: str | None = None

    def __post_init__(self) -> None:
        for key in ("start", "test", "end"):  # a year alone is a number in YAML
            if (value := getattr(self, key)) is not None:
                object.__setattr__(self, key, str(value))
        demand("data.split", self.split, self.split in SPLITS, f"one of: {', '.join(SPLITS)}")
        demand("data.candidates", self.candidates, self.candidates in CANDIDATES, " or ".join(CANDIDATES))
        if self.split == "column":
            split_names(self.split_column, self.split_values)
        given = {key: _date(key, getattr(self, key)) for key in ("start", "test", "end")}
        used = SPLITS[self.split].dates
        check_order(Period(**{key: date if key in used else None for key, date in given.items()}))

    def recorded(self) -> dict[str, Any]:
        """Returns the settings that decide the content of the split files, which each of them records."""
        return {"split": self.split, "start": self.start, "test": self.test, "end": self.end}

    @property
    def label(self) -> str | None:
        """Returns the column that says to which split a row belongs; None: there is none."""
        return self.split_column if self.split == "column" else None

    @property
    def names(self) -> dict[str, str]:
        """Returns value of that column to name of the split."""
        return split_names(self.split_column, self.split_values) if self.split == "column" else {}


def _date(key: str, value: str | None) -> datetime | None:
    return None if value is None or value == AUTO else parse_date(key, value)
