"""The global temporal split: one pair of windows for all users, with gaps, as in the benchmark of Yambda.

Ploshkin et al.: "Yambda-5B: A Large-Scale Multi-modal Dataset for Ranking And Retrieval", arXiv 2505.22238.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from musicrec.columns import COUNT, TIMESTAMP, TRACK, USER
from musicrec.data.splits.dates import (
    AUTO,
    Dates,
    Period,
    check_order,
    end_date,
    last_play,
    parse_date,
    timestamp_literal,
)
from musicrec.data.splits.queries import ORDER, require
from musicrec.errors import MusicrecError

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class WindowedPeriod(Period):
    """The dates of a global_temporal split.

    Attributes:
        train_end: plays from this instant on are not train.
        val_start: first instant of the val window; None = there is none.
        val_end: plays from this instant on are not val.
    """

    train_end: datetime
    val_start: datetime | None
    val_end: datetime

    def __str__(self) -> str:
        parts = [f"train from {self.start or 'the first play'} until {self.train_end}"]
        parts += [f"val from {self.val_start} until {self.val_end}"] if self.val_start else []
        parts += [f"test from {self.test}"]
        parts += [f"plays from {self.end} on are dropped"] if self.end else []
        return ", ".join(parts)


def windowed_period(connection: duckdb.DuckDBPyConnection, dates: Dates) -> WindowedPeriod:
    """Returns the dates of a global_temporal split.

    Counted back from the first test instant: a gap, the val window, and another gap before which train ends. Without
    a val window there is one gap only.

    Args:
        connection: has the table `plays`.
        dates: `start=auto` is the first play; with `test=auto` the test window ends with the last play (before
            `end`).

    Raises:
        MusicrecError: if a date is invalid, or nothing lies before the windows.
    """
    windows, end = dates.windows, end_date(dates)
    if dates.test == AUTO:
        held_out_from = last_play(connection, dates) - windows.test
    else:
        held_out_from = parse_date("test", dates.test)
    val_end = held_out_from - windows.gap
    val_start = val_end - windows.val if windows.val else None
    train_end = val_start - windows.gap if val_start else val_end
    start = None if dates.start == AUTO else parse_date("start", dates.start)
    check_order(Period(start, held_out_from, end))
    if start is not None and not start < train_end:
        raise MusicrecError(
            f"data.start ({start}) must be before the end of train ({train_end}), which is data.test ({held_out_from}) "
            "less data.val_window and data.gap"
        )
    return WindowedPeriod(start, held_out_from, end, train_end, val_start, val_end)


def global_temporal(connection: duckdb.DuckDBPyConnection, period: Period) -> dict[str, str]:
    """Returns the queries of train, val and test: the pairs played in each window, whoever played them before.

    Pairs of users unseen in train are dropped. Tracks unseen in train stay. A pair that is in train and played again in
    a window is in both; `eval.repeat` decides whether it counts.

    Args:
        connection: has the table `plays`: user_id, track_id (idx), timestamp, n (plays per row);
            and the macro total(n), their sum.
        period: the dates.

    Raises:
        MusicrecError: if train or test is empty.
    """
    assert isinstance(period, WindowedPeriod) and period.test is not None
    inside = {
        "train": f"{TIMESTAMP} < {timestamp_literal(period.train_end)}",
        "val": _between(period.val_start, period.val_end) if period.val_start else "false",
        "test": f"{TIMESTAMP} >= {timestamp_literal(period.test)}",
    }
    require(connection, "plays", f"{period.within} AND {inside['train']}", f"no play is before {period.train_end}")
    connection.execute(
        f"CREATE TEMP TABLE train_users AS SELECT DISTINCT {USER} FROM plays "
        f"WHERE {period.within} AND {inside['train']}"
    )
    known = f"{USER} IN (FROM train_users)"
    require(
        connection,
        "plays",
        f"{period.within} AND {inside['test']} AND {known}",
        f"no user of train plays anything from data.test={period.test} on",
    )
    return {
        name: (
            f"SELECT {USER}, {TRACK}, min({TIMESTAMP}) AS {TIMESTAMP}, total(n) AS {COUNT} FROM plays "
            f"WHERE {period.within} AND {condition} AND {known} GROUP BY {USER}, {TRACK} {ORDER}"
        )
        for name, condition in inside.items()
    }


def _between(first: datetime, end: datetime) -> str:
    return f"{TIMESTAMP} >= {timestamp_literal(first)} AND {TIMESTAMP} < {timestamp_literal(end)}"
