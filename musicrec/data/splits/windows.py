"""Windows: how long the held-out windows of the global_temporal split and the gaps before them are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

from musicrec.errors import demand

_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?) *(?P<unit>s|min|h|d|w)?")
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LONGEST = 100 * 366 * 86_400
_ALLOWED = "a duration such as 30min, 12h, 1d or 2w (0 = none)"


@dataclass(frozen=True)
class Windows:
    """Durations of the global_temporal split.

    Attributes:
        val: length of the validation window; 0 = no validation, and train lasts until the gap before test.
        test: length of the test window if `data.test=auto`, counted back from the end of the log.
        gap: plays this long before a held-out window are in no split.
    """

    val: timedelta
    test: timedelta
    gap: timedelta

    @classmethod
    def of(cls, val_window: object, test_window: object, gap: object) -> Windows:
        """Returns the windows of the options `data.val_window`, `data.test_window` and `data.gap`.

        Raises:
            MusicrecError: if one of them is no duration, or the test window is empty.

        >>> Windows.of("1d", "1d", "30min").gap
        datetime.timedelta(seconds=1800)
        """
        windows = cls(duration("val_window", val_window), duration("test_window", test_window), duration("gap", gap))
        demand("data.test_window", test_window, bool(windows.test), "a duration longer than 0, such as 1d")
        return windows


def duration(key: str, value: object) -> timedelta:
    """Returns a duration of 0 or more; a number needs a unit, unless it is 0.

    Args:
        key: the configuration key below `data`, for the message.
        value: what was given.

    Raises:
        MusicrecError: if it is anything else, or longer than any log.
    """
    found = _DURATION.fullmatch(str(value).strip())
    # A bare number could mean seconds or days.
    valid = found is not None and (found["unit"] is not None or float(found["number"]) == 0)
    demand(f"data.{key}", value, valid, _ALLOWED)
    assert found is not None
    seconds = float(found["number"]) * _SECONDS[found["unit"] or "s"]
    demand(f"data.{key}", value, seconds <= _LONGEST, "at most 100 years")
    return timedelta(seconds=seconds)
