"""The dot plot at the top of the report: every embedding of every recommender on one axis."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from musicrec.evaluation.comparison import Comparison
from musicrec.evaluation.report.charts.scale import Scale, Tick
from musicrec.evaluation.report.headline import in_short
from musicrec.evaluation.report.looks import Look, look_of, real_name
from musicrec.evaluation.report.means import Mean, Means
from musicrec.evaluation.report.tables import CHANCE

_SCREEN = 640  # pixels of a screen that are left for the plot
_ROW, _HEADING = 21, 46  # heights in pixels
_NAMED, _MANY = 20, 48  # rows from which on a phone has no names, and a wide screen less room for each
_LONGEST_NAME = 24  # characters of a name before it is cut


# A row of results.
_Row = Mapping[Any, Any]


@dataclass(frozen=True)
class Dot:
    """A mean with its interval; positions in percent of the axis.

    Attributes:
        at: the mean.
        low: lower end of the interval; None without one.
        high: its upper end.
        title: what hovering tells.
        look: of the run, hollow for a shuffled control; None for chance.
    """

    at: float
    low: float | None
    high: float | None
    title: str
    look: Look | None = None


@dataclass(frozen=True)
class DotRow:
    """A row of the plot: an embedding and its control, or a recommender without audio, or chance.

    Attributes:
        name: of the row.
        run: whose page the name leads to; empty for none.
        value: the mean as text.
        dots: the real run first.
    """

    name: str
    run: str
    value: str
    dots: list[Dot]

    @property
    def joined(self) -> tuple[float, float] | None:
        """Returns where the line between a real run and its control starts and ends."""
        return (self.dots[0].at, self.dots[-1].at) if len(self.dots) > 1 else None


@dataclass(frozen=True)
class DotGroup:
    """The rows of one recommender.

    Attributes:
        title: its heading.
        section: the section of its table; empty for none.
        note: what its best embedding reaches, in few words.
        rows: the best first.
    """

    title: str
    section: str
    note: str
    rows: list[DotRow]


@dataclass(frozen=True)
class Line:
    """A line through the whole plot; `kind` is chance, bar (the best recommender without audio) or other."""

    at: float
    kind: str
    text: str


@dataclass(frozen=True)
class DotPlot:
    """Means and intervals of everything that the tables of a split show.

    Attributes:
        split: the test split.
        metric: column name.
        ticks: of the axis.
        lines: chance and the recommenders without audio.
        columns: the groups, in one column or two.
        dense: whether names do not fit on a phone.
        many: whether the rows are so many that each has less room.
        looks: name to look of the embeddings shown.
        seeds: whether a dot is a mean over several seeds.
        name_width: characters of the longest name, or of what fits.
        controls: whether there are shuffled controls.
    """

    split: str
    metric: str
    ticks: list[Tick]
    lines: list[Line]
    columns: list[list[DotGroup]]
    dense: bool
    many: bool
    looks: Mapping[str, Look]
    seeds: bool
    name_width: int
    controls: bool


# Rows of results with their means.
_Means = Sequence[tuple[_Row, Mean]]


def dot_plot(comparison: Comparison, split: str, looks: Mapping[str, Look]) -> DotPlot:
    """Returns the plot of a test split.

    Args:
        comparison: what `compare` returned.
        split: the test split.
        looks: what `find_looks` returned.
    """
    metric, values = comparison.ndcg(split), Means(comparison, split)
    chance = comparison.chance.get(split, {}).get(metric)
    tables = [*comparison.titles, None]
    shown: dict[str | None, _Means] = {
        table: [(row, values.of(row)) for row in _rows(comparison, table, split)] for table in tables
    }
    bars: _Means = [(row, values.of(row)) for row in comparison.bar_rows(None, split).to_dict("records")]
    means = [mean for rows in (*shown.values(), bars) for _, mean in rows]
    ends = [end for mean in means for end in (mean.mean, mean.low, mean.high)]
    scale = Scale.of([*ends, *([] if chance is None else [chance])])
    if scale.low < 0:  # an interval may reach below 0, a score cannot
        scale = Scale(0.0, scale.high)
    groups = [
        *_without_audio(comparison, bars, chance, scale, looks),
        *_with_audio(comparison, split, shown, scale, looks),
    ]
    rows = [row for group in groups for row in group.rows]
    infos = [comparison.runs[row.run].info for row in rows if row.run]
    used = {real_name(info) for info in infos if info.embedding}
    return DotPlot(
        split=split,
        metric=metric,
        ticks=scale.ticks(),
        lines=_lines(comparison, bars, chance, scale),
        columns=_columns(groups),
        dense=len(rows) > _NAMED,
        many=len(rows) > _MANY,
        looks={name: look for name, look in looks.items() if name in used},
        seeds=any(mean.seeds > 1 for mean in means),
        name_width=min(max((len(row.name) for row in rows), default=0), _LONGEST_NAME),
        controls=any(dot.look is not None and dot.look.hollow for row in rows for dot in row.dots),
    )


def _rows(comparison: Comparison, table: str | None, split: str) -> list[_Row]:
    """Returns the rows of a table that read an embedding, or all runs of no table."""
    rows = comparison.shown(table, split)
    return [row for row in rows.to_dict("records") if table is None or row["embedding"]]


def _without_audio(
    comparison: Comparison,
    bars: _Means,
    chance: float | None,
    scale: Scale,
    looks: Mapping[str, Look],
) -> Iterator[DotGroup]:
    """Yields the group of the recommenders without audio and of chance, if there is any."""
    rows = []
    for row, mean in sorted(bars, key=lambda pair: -pair[1].mean):
        title = comparison.title(str(row["run"]))
        dot = _dot(title, mean, scale, look_of(comparison.runs[str(row["run"])].info, looks))
        rows.append(DotRow(title, str(row["run"]), f"{mean.mean:.4f}", [dot]))
    if chance is not None:
        at = scale.at(chance)
        rows.append(DotRow(CHANCE, "", f"{chance:.4f}", [Dot(at, None, None, f"{CHANCE}: {chance:.4f}")]))
    if rows:
        title = "Without audio" if bars else "Random lists"
        yield DotGroup(title, "", "", rows)


def _with_audio(
    comparison: Comparison,
    split: str,
    shown: Mapping[str | None, _Means],
    scale: Scale,
    looks: Mapping[str, Look],
) -> Iterator[DotGroup]:
    """Yields the groups of the recommenders that read an embedding, each real run with its control."""
    stems = {table: stem for stem, table, of_split in comparison.stems() if of_split == split}
    for table, means in shown.items():
        names = {} if table is None else comparison.row_titles(table, split)
        found: dict[str, DotRow] = {}
        ordered = sorted(means, key=lambda pair: (_is_control(comparison, pair[0]), -pair[1].mean))
        for row, mean in ordered:
            name, run = str(row["row"]), str(row["run"])
            info = comparison.runs[run].info
            hollow = _is_control(comparison, row)
            dot = _dot(name, mean, scale, look_of(info, looks))
            key = real_name(info) if table else name
            if hollow and key in found:
                found[key].dots.append(dot)
            else:
                found[name if hollow else key] = DotRow(names.get(name, name), run, f"{mean.mean:.4f}", [dot])
        if found:
            title = "Other runs" if table is None else comparison.titles[table]
            note = "" if table is None else in_short(comparison, table, split)
            yield DotGroup(title, "others" if table is None else stems[table], note, list(found.values()))


def _is_control(comparison: Comparison, row: _Row) -> bool:
    """Returns whether the vectors of a row's run are shuffled."""
    info = comparison.runs[str(row["run"])].info
    return info.vectors != real_name(info)


def _dot(name: str, mean: Mean, scale: Scale, look: Look | None = None) -> Dot:
    """Returns the dot of a mean."""
    low, high = None, None
    if math.isfinite(mean.low) and math.isfinite(mean.high):
        low, high = scale.at(max(mean.low, scale.low)), scale.at(mean.high)
    return Dot(scale.at(mean.mean), low, high, f"{name}: {mean.text()}", look)


def _lines(comparison: Comparison, bars: _Means, chance: float | None, scale: Scale) -> list[Line]:
    """Returns the lines through the plot: chance, and the recommenders without audio, the first of which is the bar."""
    lines = [] if chance is None else [Line(scale.at(chance), "chance", CHANCE)]
    for number, (row, mean) in enumerate(bars):
        kind = "other" if number else "bar"
        lines.append(Line(scale.at(mean.mean), kind, comparison.title(str(row["run"]))))
    return lines


def _columns(groups: Sequence[DotGroup]) -> list[list[DotGroup]]:
    """Returns the groups in one column or, if they are many, in two of about the same height."""
    heights = [_ROW * len(group.rows) + _HEADING for group in groups]
    if sum(heights) <= _SCREEN or len(groups) < 2:
        return [list(groups)]
    above = np.cumsum(heights)
    first = int(np.abs(above - sum(heights) / 2).argmin()) + 1
    return [list(groups[:first]), list(groups[first:])]
