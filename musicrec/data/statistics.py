"""Statistics of the splits, as the studies tabulate them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from musicrec.columns import COUNT, SPLIT, TRACK, USER

if TYPE_CHECKING:
    import duckdb

_SPREADS = [(of, what) for what in ("tracks", "plays") for of in ("median", "min", "max")]
# Columns of the table.
STATISTICS = (SPLIT, "rows", "users", "items", *(f"{what}_{of}" for of, what in _SPREADS))


def split_statistics(connection: duckdb.DuckDBPyConnection, queries: dict[str, str]) -> pd.DataFrame:
    """Returns one row per split: rows, users, items, and median, minimum and maximum of tracks and plays per user.

    Args:
        connection: where the queries run.
        queries: the query of each split by name; its columns are user_id, track_id, timestamp, count.
    """
    frames = []
    for name, query in queries.items():
        spread = ", ".join(f"{of}({what}) AS {what}_{of}" for of, what in _SPREADS)
        frame = connection.execute(
            f"""
            WITH split AS ({query}),
            per_user AS (SELECT count(*) AS tracks, sum({COUNT})::BIGINT AS plays FROM split GROUP BY {USER})
            SELECT (SELECT count(*) FROM split) AS rows, count(*) AS users,
                   (SELECT count(DISTINCT {TRACK}) FROM split) AS items, {spread}
            FROM per_user
            """
        ).df()
        frame.insert(0, SPLIT, name)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)
