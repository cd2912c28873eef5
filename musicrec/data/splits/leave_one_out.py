"""The split of the literature on sequential recommendation: the last track of each user is test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from musicrec.columns import COUNT, TIMESTAMP, TRACK, USER
from musicrec.data.splits.dates import Period
from musicrec.data.splits.queries import ONE_LISTENER, ORDER, require

if TYPE_CHECKING:
    import duckdb

# One track each for test, val and train.
LEAST_TRACKS = 3


def leave_one_out(connection: duckdb.DuckDBPyConnection, period: Period) -> dict[str, str]:
    """Returns the queries of train, val and test: the split of the literature on sequential recommendation.

    Of a user's pairs, ordered by (first play, track), the last is test and the one before it val. Users with fewer than
    three pairs are in train only (Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018,
    arXiv 1808.09781, released code). See `studies.temporal` for arguments and
    errors.
    """
    connection.execute(
        f"""
        CREATE TEMP TABLE pairs AS
        SELECT *, row_number() OVER (PARTITION BY {USER} ORDER BY {TIMESTAMP} DESC, {TRACK} DESC) AS from_last,
               count(*) OVER (PARTITION BY {USER}) AS tracks
        FROM (
            SELECT {USER}, {TRACK}, min({TIMESTAMP}) AS {TIMESTAMP}, total(n) AS {COUNT}
            FROM plays WHERE {period.within} GROUP BY {USER}, {TRACK}
        )
        """
    )
    end = period.end or "null"
    require(connection, "pairs", "true", f"no play is within data.start={period.start} and data.end={end}")
    enough = f"tracks >= {LEAST_TRACKS}"
    require(connection, "pairs", enough, f"no user has {LEAST_TRACKS} tracks (one each for train, val and test)")
    is_train = f"NOT ({enough} AND from_last <= 2)"
    known = f"NOT ({is_train}) AND {TRACK} IN (SELECT {TRACK} FROM pairs WHERE {is_train})"
    require(connection, "pairs", known, f"no held-out track is in train ({ONE_LISTENER})")
    pairs = f"SELECT {USER}, {TRACK}, {TIMESTAMP}, {COUNT} FROM pairs WHERE {{}} {ORDER}"
    return {
        "train": pairs.format(is_train),
        "val": pairs.format(f"{enough} AND from_last = 2"),
        "test": pairs.format(f"{enough} AND from_last = 1"),
    }
