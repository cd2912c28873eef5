"""Statistics of the splits, as the studies tabulate them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from musicrec.columns import COUNT, SPLIT, TRACK, USER

if TYPE_CHECKING:
    import duckdb

_SPREADS = [(of, what) for what in ("tracks", "plays") for of in ("median", "min", "max")]
# Columns of the table.
STATISTICS = (SPLIT, "rows", "users", "items", *(f"{what}_{of}" for of, what in _SPREADS))


def split_statistics(connection: duckdb.DuckDBPyConnection, queries: dict[str, str]) -> list[tuple[object, ...]]:
    """Returns a header and one row per split: rows, users, items, and spread of tracks and plays per user.

    The spread is median, minimum and maximum; empty for a split without rows.

    Args:
        connection: where the queries run.
        queries: the query of each split by name; its columns are user_id, track_id, timestamp, count.
    """
    rows: list[tuple[object, ...]] = [STATISTICS]
    for name, query in queries.items():
        spread = ", ".join(f"{of}({what})" for of, what in _SPREADS)
        [found] = connection.execute(
            f"""
            WITH split AS ({query}),
            per_user AS (SELECT count(*) AS tracks, sum({COUNT})::BIGINT AS plays FROM split GROUP BY {USER})
            SELECT coalesce(sum(tracks), 0)::BIGINT, count(*), (SELECT count(DISTINCT {TRACK}) FROM split), {spread}
            FROM per_user
            """
        ).fetchall()
        rows.append((name, *("" if value is None else value for value in found)))
    return rows


def read_statistics(path: Path) -> list[list[str]]:
    """Returns the header and the rows of a table of statistics that is whole.

    Raises:
        ValueError: if it is not; OSError if it cannot be read.
    """
    text = path.read_text(encoding="utf-8")
    rows = list(csv.reader(text.splitlines()))
    if (
        not text.endswith("\n")
        or [len(row) for row in rows] != [len(STATISTICS)] * len(rows)
        or tuple(rows[0]) != STATISTICS
    ):
        raise ValueError(f"{path} is no whole table of statistics")
    return rows


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Returns a table as text, with columns aligned to the right.

    >>> print(aligned([["split", "rows"], ["train", "1200"]]))
    split  rows
    train  1200
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
