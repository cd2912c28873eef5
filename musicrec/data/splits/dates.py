"""Dates of a split: the training period, the held-out period, and what is dropped."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from musicrec.columns import TIMESTAMP
from musicrec.data.splits.windows import Windows
from musicrec.errors import MusicrecError, shown

if TYPE_CHECKING:
    import duckdb

AUTO = "auto"


@dataclass(frozen=True)
class Dates:
    """What is asked for: the options `data.start`, `data.test` and `data.end`, and the windows of global_temporal."""

    start: str
    test: str
    end: str | None
    windows: Windows


@dataclass(frozen=True)
class Period:
    """The dates of a split, as naive UTC.

    Attributes:
        start: first instant of the training period; None = the first play.
        test: first instant of the held-out period; None = the split does not hold out by date.
        end: plays from this instant on are dropped; None = none are.
    """

    start: datetime | None
    test: datetime | None
    end: datetime | None

    def __str__(self) -> str:
        parts = [f"{'plays' if self.test is None else 'train'} from {self.start or 'the first play'}"]
        parts += [f"held out from {self.test}"] if self.test else []
        parts += [f"plays from {self.end} on are dropped"] if self.end else []
        return ", ".join(parts)

    @property
    def within(self) -> str:
        """Returns the SQL condition of the plays that are not dropped."""
        bounds = [f"{TIMESTAMP} >= {timestamp_literal(self.start)}"] if self.start else []
        bounds += [f"{TIMESTAMP} < {timestamp_literal(self.end)}"] if self.end else []
        return " AND ".join(bounds) or "true"


def parse_date(key: str, value: str) -> datetime:
    """Returns an ISO date or time as naive UTC.

    Args:
        key: the configuration key below `data`, for the message.
        value: what was given.

    Raises:
        MusicrecError: if the value is not a date.

    >>> parse_date("test", "2020-02-20T01:00+02:00")
    datetime.datetime(2020, 2, 19, 23, 0)
    """
    try:
        instant = datetime.fromisoformat(value)
    except ValueError as error:
        raise MusicrecError(
            f"data.{key}={shown(value)} is not a valid date; use 2019-02-20 or 2019-02-20T18:30"
        ) from error
    return instant.astimezone(UTC).replace(tzinfo=None) if instant.tzinfo else instant


def timestamp_literal(instant: datetime) -> str:
    """Returns an SQL timestamp."""
    return f"TIMESTAMP '{instant}'"


def log_range(connection: duckdb.DuckDBPyConnection) -> str:
    """Returns the range of dates in the table `plays`, for messages."""
    [(first, last)] = connection.execute(f"SELECT min({TIMESTAMP}), max({TIMESTAMP}) FROM plays").fetchall()
    return f"the log's plays of known tracks are from {first} to {last}; choose dates within that range"


def chosen_period(connection: duckdb.DuckDBPyConnection, dates: Dates) -> Period:
    """Returns the period of the temporal split, with `auto` filled in from the table `plays`.

    The held-out month ends with the day of the last play (before `end`). Months and years are calendar ones: for a log
    that ends on 2020-03-19, the test starts on 2020-02-20 and training on 2019-02-20.

    Raises:
        MusicrecError: if a date is invalid, the dates are in the wrong order, or no play is before `end`.
    """
    held_out_from = _test_date(connection, dates)
    period = Period(
        _calendar(held_out_from, months=-12) if dates.start == AUTO else parse_date("start", dates.start),
        held_out_from,
        end_date(dates),
    )
    check_order(period)
    return period


def year_and_month(connection: duckdb.DuckDBPyConnection, dates: Dates) -> Period:
    """Returns the period of the hot_cold split: the year before `test` and the month after it, no later than `end`.

    `start` is ignored: the year is the study's, and the default of data=music4all would be after its test date.
    """
    held_out_from, end = _test_date(connection, dates), end_date(dates)
    last = _calendar(held_out_from, months=1)
    period = Period(_calendar(held_out_from, months=-12), held_out_from, last if end is None else min(last, end))
    check_order(period)
    return period


def whole_log(connection: duckdb.DuckDBPyConnection, dates: Dates) -> Period:
    """Returns the period of the leave_one_out split, which has no date from which plays are held out.

    It lasts from `start` (auto = the first play) to `end`.
    """
    period = Period(None if dates.start == AUTO else parse_date("start", dates.start), None, end_date(dates))
    check_order(period)
    return period


def check_order(period: Period) -> None:
    """Refuses dates that are not in the order start, test, end (MusicrecError)."""
    dates = [(key, date) for key, date in vars(period).items() if date is not None]
    for (key, date), (later_key, later) in pairwise(dates):
        if not date < later:
            raise MusicrecError(f"data.{key} ({date}) must be before data.{later_key} ({later})")


def end_date(dates: Dates) -> datetime | None:
    """Returns the instant from which plays are dropped; None = none are."""
    return None if dates.end is None else parse_date("end", dates.end)


def last_play(connection: duckdb.DuckDBPyConnection, dates: Dates) -> datetime:
    """Returns the time of the last play before `data.end`.

    Raises:
        MusicrecError: if there is none.
    """
    before = Period(None, None, end_date(dates)).within
    last: datetime | None
    [(last,)] = connection.execute(f"SELECT max({TIMESTAMP}) FROM plays WHERE {before}").fetchall()
    if last is None:
        raise MusicrecError(f"data.end={dates.end} leaves no plays: {log_range(connection)}")
    return last


def _test_date(connection: duckdb.DuckDBPyConnection, dates: Dates) -> datetime:
    if dates.test != AUTO:
        return parse_date("test", dates.test)
    last = last_play(connection, dates)
    day_after = last.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return _calendar(day_after, months=-1)


def _calendar(instant: datetime, months: int) -> datetime:
    """Returns an instant shifted by calendar months (31 March minus 1 month is 28 February)."""
    years, month = divmod(instant.month - 1 + months, 12)
    year = instant.year + years
    return instant.replace(year=year, month=month + 1, day=min(instant.day, monthrange(year, month + 1)[1]))
