"""Scale: numbers to positions along an axis, in percent of its length, and the ticks of the axis."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator


@dataclass(frozen=True)
class Tick:
    """A tick: where it is, in percent of the axis, and what it says."""

    at: float
    text: str


@dataclass(frozen=True)
class Scale:
    """An axis from `low` to `high`, linear or logarithmic.

    >>> Scale(0, 0.5).at(0.125), Scale(1, 100, log=True).at(10)
    (25.0, 50.0)
    """

    low: float
    high: float
    log: bool = False

    @classmethod
    def of(cls, values: Iterable[float], *, from_zero: bool = True, log: bool = False, margin: float = 0.03) -> Scale:
        """Returns an axis that shows all values, NaN left out.

        Args:
            values: what is to be seen.
            from_zero: whether the axis starts at 0, unless a value is below it.
            log: whether it is logarithmic; the values are then above 0.
            margin: what is added beyond the values, as a share of their span.
        """
        known = [float(value) for value in values if math.isfinite(value)]
        if not known:
            return cls(1.0, 10.0, log) if log else cls(0.0, 1.0)
        low, high = min(known), max(known)
        if log:
            factor = (high / low) ** margin if high > low else 2.0
            return cls(low / factor, high * factor, log)
        start = min(low, 0.0) if from_zero else low
        span = (high - start) or abs(high) or 1.0
        return cls(start - (margin * span if start < 0 or not from_zero else 0.0), high + margin * span)

    def at(self, value: float) -> float:
        """Returns the position of a value in percent, rounded to a pixel of a screen."""
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(100 * share, 1)

    def ticks(self, count: int = 5) -> list[Tick]:
        """Returns round numbers inside the axis, about `count` of them."""
        if self.log:
            values = [factor * 10.0**power for power in self._powers() for factor in (1, 2, 5)]
            inside = [value for value in values if self.low <= value <= self.high]
            if len(inside) > count:
                inside = [value for value in inside if math.log10(value).is_integer()] or inside
        else:
            found = MaxNLocator(nbins=count, steps=[1, 2, 2.5, 5, 10]).tick_values(self.low, self.high)
            slack = 1e-9 * (self.high - self.low)
            inside = [float(value) for value in found if self.low - slack <= value <= self.high + slack]
        return [Tick(self.at(value), _text(value)) for value in inside]

    def _powers(self) -> range:
        """Returns the powers of ten that a logarithmic axis may show."""
        return range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)


def _text(value: float) -> str:
    """Returns what a tick says.

    >>> _text(0.30000000000000004), _text(20000.0), _text(-0.0)
    ('0.3', '20,000', '0')
    """
    rounded = float(f"{value:.6g}") or 0.0
    return f"{rounded:,.0f}" if rounded == round(rounded) and abs(rounded) < 1e15 else f"{rounded:g}"
