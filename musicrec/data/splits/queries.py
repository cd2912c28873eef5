"""What the queries of the splits share: their order, and the error where nothing is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from musicrec.columns import TRACK, USER
from musicrec.data.splits.dates import log_range
from musicrec.errors import MusicrecError

if TYPE_CHECKING:
    import duckdb

ORDER = f"ORDER BY {USER}, {TRACK}"
ONE_LISTENER = "the log of a single listener never has one; data.split=hot_cold holds out the new tracks"


def require(connection: duckdb.DuckDBPyConnection, table: str, condition: str, message: str) -> None:
    """Refuses a table without a row that fulfils a condition.

    Args:
        connection: has the table, and the table `plays`.
        table: its name.
        condition: in SQL.
        message: what is missing.

    Raises:
        MusicrecError: with the message and the range of dates in the log.
    """
    if not connection.execute(f"SELECT 1 FROM {table} WHERE {condition} LIMIT 1").fetchall():
        raise MusicrecError(f"the split is empty: {message}; {log_range(connection)}")
