"""SplitSettings: which split, its dates, and which tracks lists are drawn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from musicrec.data.splits.dates import AUTO, Dates, Period, check_order, parse_date
from musicrec.data.splits.given import split_names
from musicrec.data.splits.registry import SPLITS
from musicrec.data.splits.windows import Windows
from musicrec.errors import demand

# Values of `data.candidates`.
CANDIDATES = ("separate", "mixed")
# The split that has windows.
WINDOWED = "global_temporal"


@dataclass(frozen=True)
class SplitSettings:
    """How plays are split: the keys of the group `data` that say it.

    Attributes:
        split: `temporal`, `hot_cold`, `leave_one_out`, `global_temporal`; `column`: as a column of the log says;
            `files`: a file of each.
        split_column: name of that column.
        split_values: split name to its value in that column; None = the names themselves.
        candidates: which tracks lists are drawn from if the split has cold tracks: `separate` lists of warm and of cold
            tracks, or `mixed` lists of both (musicrec/data/interactions.py).
        start: first instant of the training period, ISO, UTC; `auto` = one year before `test` (leave_one_out: the first
            play). hot_cold always trains on the year before `test`.
        test: first instant of the held-out period; `auto` = the last month of the log. leave_one_out has no such
            period.
        end: plays from this instant on are dropped; None = none are.
        val_window: length of the validation window of global_temporal, e.g. 1d; 0 = no validation.
        test_window: length of its test window if `test` is `auto`: it ends with the log. Its `start=auto` is the first
            play.
        gap: plays this long before each of its windows are in no split.

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
    val_window: str | int = "1d"
    test_window: str | int = "1d"
    gap: str | int = "30min"

    def __post_init__(self) -> None:
        for key in ("start", "test", "end"):  # a year alone is a number in YAML
            if (value := getattr(self, key)) is not None:
                object.__setattr__(self, key, str(value))
        demand("data.split", self.split, self.split in SPLITS, f"one of: {', '.join(SPLITS)}")
        demand("data.candidates", self.candidates, self.candidates in CANDIDATES, " or ".join(CANDIDATES))
        if self.split == "column":
            split_names(self.split_column, self.split_values)
        given = {key: _date(key, getattr(self, key)) for key in ("start", "test", "end")}
        Windows.of(self.val_window, self.test_window, self.gap)
        used = SPLITS[self.split].dates
        check_order(Period(**{key: date if key in used else None for key, date in given.items()}))

    def recorded(self) -> dict[str, Any]:
        """Returns the settings that decide the content of the split files, which each of them records."""
        recorded = {"split": self.split, "start": self.start, "test": self.test, "end": self.end}
        windowed = {"val_window": self.val_window, "test_window": self.test_window, "gap": self.gap}
        return {**recorded, **(windowed if self.split == WINDOWED else {})}

    @property
    def dates(self) -> Dates:
        """Returns the dates and windows that are asked for."""
        return Dates(self.start, self.test, self.end, Windows.of(self.val_window, self.test_window, self.gap))

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
