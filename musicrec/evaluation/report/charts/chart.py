"""Chart: lines, points and bars on two axes, with every position in percent of the plot's width and height."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from musicrec.evaluation.report.charts.scale import Scale, Tick
from musicrec.evaluation.report.looks import Look

MOST_POINTS = 120  # of a line: more than a screen shows make the page large


@dataclass(frozen=True)
class Point:
    """A point at x, y, with the ends of its vertical interval and what hovering tells."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    title: str = ""


@dataclass(frozen=True)
class Series:
    """Values of one colour.

    Attributes:
        name: what the legend calls it.
        look: of an embedding; None: the ink of the page.
        points: in percent, y from above.
        line: whether they are joined by a line; otherwise each has a marker.
        muted: whether it is drawn in grey.
    """

    name: str
    look: Look | None
    points: list[Point]
    line: bool = True
    muted: bool = False

    @property
    def path(self) -> str:
        """Returns the line as an SVG path in tenths of a percent, its steps relative, which is shorter.

        >>> Series("loss", None, [Point(0, 50), Point(10, 20), Point(20, 25)]).path
        'M0 500l100-300 100 50'
        """
        places = [(round(10 * point.x), round(10 * point.y)) for point in self.points]
        steps = [(after[0] - before[0], after[1] - before[1]) for before, after in pairwise(places)]
        return f"M{places[0][0]} {places[0][1]}l" + " ".join(f"{x}{y}" if y < 0 else f"{x} {y}" for x, y in steps)


@dataclass(frozen=True)
class Box:
    """A bar of a histogram, from the bottom of the plot; in percent."""

    x: float
    width: float
    height: float
    title: str


@dataclass(frozen=True)
class Rule:
    """A straight line of a meaning, e.g. the chance level; `vertical` or horizontal, or from `x` on for a `width`."""

    at: float
    text: str
    kind: str = "chance"
    vertical: bool = False
    x: float = 0.0
    width: float = 100.0


@dataclass(frozen=True)
class Chart:
    """A plot with two axes.

    Attributes:
        title: its heading.
        summary: what it shows, for readers who do not see it.
        x_label: what the horizontal axis says.
        note: what follows the heading, e.g. what the vertical axis shows.
        x_ticks: ticks of the horizontal axis.
        y_ticks: ticks of the vertical axis.
        series: lines and points.
        boxes: bars of a histogram.
        rules: straight lines.
    """

    title: str
    summary: str
    x_label: str
    note: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    series: list[Series] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)


def placed(x: Scale, y: Scale, points: Sequence[tuple[float, float]], most: int = MOST_POINTS) -> list[Point]:
    """Returns points in percent; of more than `most` about as many, the first and the last among them."""
    step = -(-len(points) // most)
    kept = points if step <= 1 else [*points[:-1:step], points[-1]]
    return [Point(x.at(across), flipped(y, up)) for across, up in kept]


def flipped(scale: Scale, value: float) -> float:
    """Returns a height in percent from above, as SVG measures it."""
    return round(100 - scale.at(value), 1)


def ticks_from_above(scale: Scale, count: int = 4) -> list[Tick]:
    """Returns the ticks of a vertical axis."""
    return [Tick(round(100 - tick.at, 1), tick.text) for tick in scale.ticks(count)]
