"""Split: a way to split plays. SPLITS: all of them by `data.split`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from musicrec.data.splits.dates import Dates, Period, chosen_period, whole_log, year_and_month
from musicrec.data.splits.given import GIVEN, given, no_dates
from musicrec.data.splits.global_temporal import global_temporal, windowed_period
from musicrec.data.splits.leave_one_out import leave_one_out
from musicrec.data.splits.studies import hot_cold, temporal

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Split:
    """A way to split.

    Attributes:
        files: names of its files, train first.
        dates: which of the settings start, test and end it uses.
        period: returns the period for what is asked for.
        queries: returns the query of each file, sorted by (user_id, track_id).
        repeats: whether held-out files hold tracks that the user already played in train; `eval.repeat` decides whether
            they count.
    """

    files: tuple[str, ...]
    dates: tuple[str, ...]
    period: Callable[[duckdb.DuckDBPyConnection, Dates], Period]
    queries: Callable[[duckdb.DuckDBPyConnection, Period], dict[str, str]]
    repeats: bool = False


# By `data.split`.
SPLITS = {
    "temporal": Split(("train", "val", "test"), ("start", "test", "end"), chosen_period, temporal),
    "hot_cold": Split(("train", "val", "hot_test", "cold_test"), ("test", "end"), year_and_month, hot_cold),
    "leave_one_out": Split(("train", "val", "test"), ("start", "end"), whole_log, leave_one_out),
    "global_temporal": Split(GIVEN, ("start", "test", "end"), windowed_period, global_temporal, repeats=True),
    "column": Split(GIVEN, (), no_dates, given),
    "files": Split(GIVEN, (), no_dates, given),
}
