"""The splits of the two studies: `temporal` (2024) and `hot_cold` (2026); docs/data.md, Splits."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from musicrec.columns import COUNT, TIMESTAMP, TRACK, USER
from musicrec.data.log.arrays import id_array
from musicrec.data.splits.dates import Period, timestamp_literal
from musicrec.data.splits.queries import ONE_LISTENER, ORDER, require

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger(__name__)

USERS_SEED = 42  # the studies'; fixed, so that val and test users are the same for everyone
HOT_TEST_SHARE = 0.7  # share of the users without a cold pair; the others are val


def temporal(connection: duckdb.DuckDBPyConnection, period: Period) -> dict[str, str]:
    """Returns the queries of train, val and test: the split of the 2024 study (arXiv 2409.08987).

    Args:
        connection: has the table `plays`: user_id, track_id (idx), timestamp, n (plays per row);
            and the macro total(n), their sum.
        period: the dates.

    Raises:
        MusicrecError: if nothing is left; names the filter and the range of dates in the log.
    """
    train = _pairs_by_date(connection, period)
    known = f"{TRACK} IN (FROM train_tracks)"
    unknown = "no track first played in the held-out period is played in the training one"
    require(connection, "held_out", known, f"{unknown} ({ONE_LISTENER})")
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


def _pairs_by_date(connection: duckdb.DuckDBPyConnection, period: Period) -> str:
    """Makes the tables pairs, train_tracks and held_out (users seen in train); returns the query of train."""
    assert period.test is not None
    is_train = f"{TIMESTAMP} < {timestamp_literal(period.test)}"
    # One pass for both: a pair first played before the test date is train, and counts only its plays before that date.
    connection.execute(
        f"""
        CREATE TEMP TABLE pairs AS
        SELECT {USER}, {TRACK}, min({TIMESTAMP}) AS {TIMESTAMP}, total(n) AS plays,
               total(CASE WHEN {is_train} THEN n END) AS train_plays
        FROM plays WHERE {period.within}
        GROUP BY {USER}, {TRACK}
        """
    )
    end = period.end or "null"
    require(connection, "pairs", "true", f"no play is within data.start={period.start} and data.end={end}")
    require(connection, "pairs", is_train, f"no play is between data.start={period.start} and data.test={period.test}")
    new = f"no user plays a track for the first time from data.test={period.test} on"
    require(connection, "pairs", f"NOT {is_train}", f"{new}, data.end={end}")
    connection.execute(f"CREATE TEMP TABLE train_tracks AS SELECT DISTINCT {TRACK} FROM pairs WHERE {is_train}")
    connection.execute(
        f"""
        CREATE TEMP TABLE held_out AS
        SELECT * FROM pairs WHERE NOT {is_train} AND {USER} IN (SELECT {USER} FROM pairs WHERE {is_train})
        """
    )
    require(connection, "held_out", "true", "no user who plays in the held-out period plays in the training period")
    return f"SELECT {USER}, {TRACK}, {TIMESTAMP}, train_plays AS {COUNT} FROM pairs WHERE {is_train} {ORDER}"


def _held_out(condition: str) -> str:
    return f"SELECT {USER}, {TRACK}, {TIMESTAMP}, plays AS {COUNT} FROM held_out WHERE {condition} {ORDER}"


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
    ids = np.array(users, object if isinstance(users[0], str) else np.int64)
    connection.register("val_users", pa.table({USER: id_array(ids[order[tested:]])}))
