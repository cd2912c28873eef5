"""Durations of the windows, and what is no duration."""

from datetime import timedelta

import pytest

from musicrec.data.splits.windows import Windows, duration
from musicrec.errors import MusicrecError


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("30min", timedelta(minutes=30)),
        ("1d", timedelta(days=1)),
        (" 2 w ", timedelta(days=14)),
        ("1.5h", timedelta(minutes=90)),
        ("45s", timedelta(seconds=45)),
        (0, timedelta(0)),
        ("0", timedelta(0)),
        (0.0, timedelta(0)),
        ("0d", timedelta(0)),
    ],
)
def test_durations(value: object, expected: timedelta) -> None:
    assert duration("gap", value) == expected


@pytest.mark.parametrize("value", [1, "5", "-1d", "1 month", "1M", "1D", "d", "", None, True, "1e3d", "inf", "1d12h"])
def test_no_duration(value: object) -> None:
    with pytest.raises(MusicrecError, match=r"data.gap=.* is invalid; must be a duration such as 30min") as caught:
        duration("gap", value)
    assert "\n" not in str(caught.value)


def test_limits() -> None:
    with pytest.raises(MusicrecError, match="data.gap=9999999d is invalid; must be at most 100 years"):
        duration("gap", "9999999d")
    with pytest.raises(MusicrecError, match="data.test_window=0 is invalid; must be a duration longer than 0"):
        Windows.of("1d", 0, "30min")
