"""Charts of the comparison tables: groups of users, embedding size, mean ranks, pairwise effects."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pandas as pd

from musicrec.evaluation.comparison import Comparison
from musicrec.evaluation.report.charts.chart import Chart, Point, Rule, Series, flipped, ticks_from_above
from musicrec.evaluation.report.charts.dot_plot import Dot, DotRow
from musicrec.evaluation.report.charts.scale import Scale, Tick
from musicrec.evaluation.report.looks import Look
from musicrec.evaluation.report.tables import cell_of
from musicrec.evaluation.statistics.significance import ALPHA, critical_difference

_SPREAD = 0.5  # of the distance between two groups, over which the points of one group are spread
_APART = 11  # percent of the axis between two sizes that are written
_STRONGEST = 55  # percent of colour behind the strongest effect: more would drown its number


@dataclass(frozen=True)
class Ranks:
    """Mean ranks of the systems of a table on one axis.

    Attributes:
        rows: the best first; the value holds the letters of the groups that a system belongs to.
        ticks: of the axis.
        test: what the Friedman test says.
        name_width: characters of the longest name, or of what fits.
    """

    rows: list[DotRow]
    ticks: list[Tick]
    test: str
    name_width: int


@dataclass(frozen=True)
class Effect:
    """A cell of the pairwise map: its number, the strength of its colour in percent, whether row beats column."""

    text: str
    strength: int = 0
    better: bool = False


@dataclass(frozen=True)
class Effects:
    """Cohen's d of each system (row) against each other (column, by number)."""

    names: list[str]
    rows: list[list[Effect]]


def group_charts(
    comparison: Comparison, table: str, split: str, looks: Mapping[str, Look | None], titles: Mapping[str, str]
) -> list[Chart]:
    """Returns one chart per grouping: the mean and its interval of every system in every group, chance dotted.

    Args:
        comparison: what `compare` returned.
        table: name of the table.
        split: the test split.
        looks: row name to look.
        titles: row name to what it is called.
    """
    rows, _ = comparison.in_groups(table, split)
    if rows.empty:
        return []
    metric = comparison.ndcg(split)
    y = Scale.of([*(rows[metric] + rows[f"{metric} conf"].fillna(0)), *rows["chance"]])
    charts = []
    for by in dict.fromkeys(rows["by"]):
        own = rows[rows["by"] == by]
        groups = list(dict.fromkeys(own["group"]))
        users = own.groupby("group", sort=False)["users"].first()
        chance = own.groupby("group", sort=False)["chance"].first()
        names = list(dict.fromkeys(own["row"]))
        step = 100 / len(groups)
        series = []
        for number, name in enumerate(names):
            of_row = own[own["row"] == name].set_index("group").reindex(groups)
            shift = (number - (len(names) - 1) / 2) * _SPREAD / max(len(names) - 1, 1)
            points = []
            for place, group in enumerate(groups):
                mean, conf = float(of_row.loc[group, metric]), float(of_row.loc[group, f"{metric} conf"])
                if np.isnan(mean):
                    continue
                low, high = (
                    (None, None) if np.isnan(conf) else (flipped(y, max(mean - conf, 0)), flipped(y, mean + conf))
                )
                across = round(step * (place + 0.5 + shift), 2)
                title = f"{titles.get(name, name)}, {group}: {mean:.4f}" + ("" if np.isnan(conf) else f" ± {conf:.4f}")
                points.append(Point(across, flipped(y, mean), low, high, title))
            look = looks.get(name)
            series.append(Series(titles.get(name, name), look, points, line=False))
        charts.append(
            Chart(
                title=f"by {by}",
                summary=f"{metric} by {by}: {', '.join(f'{group} ({users[group]:,} users)' for group in groups)}.",
                x_label="users",
                note=metric,
                x_ticks=[
                    Tick(round(step * (place + 0.5), 2), f"{group} ({users[group]:,})")
                    for place, group in enumerate(groups)
                ],
                y_ticks=ticks_from_above(y),
                series=series,
                rules=[
                    Rule(
                        flipped(y, float(chance[group])),
                        "",
                        x=round(step * (place + 0.05), 2),
                        width=round(0.9 * step, 2),
                    )
                    for place, group in enumerate(groups)
                    if not np.isnan(chance[group])
                ],
            )
        )
    return charts


def size_charts(comparison: Comparison, looks: Mapping[str, Look | None]) -> list[Chart]:
    """Returns NDCG against embedding size, one chart per table; [] unless there are two sizes.

    Args:
        comparison: what `compare` returned.
        looks: row name to look.
    """
    metric = comparison.ndcg()
    shown = {table: comparison.shown(table).dropna(subset=["Size"]) for table in comparison.titles}
    sizes = sorted({int(size) for rows in shown.values() for size in rows["Size"]})
    if len(sizes) < 2:
        return []
    x = Scale.of(sizes, log=True, margin=0.08)
    charts = []
    for table, rows in shown.items():
        if rows.empty:
            continue
        bar = comparison.bar_rows(table)[:1]
        level = [float(value) for value in bar[metric]]
        cells = [cell_of(row, metric) for row in rows.to_dict("records")]
        ends = [cell.ends or (cell.mean - cell.conf, cell.mean + cell.conf) for cell in cells]
        y = Scale.of([*level, *(cell.mean for cell in cells), *chain(*ends)], from_zero=False, margin=0.06)
        series = []
        for row, size, cell, (low, high) in zip(rows["row"], rows["Size"], cells, ends, strict=True):
            ends_at = [None if np.isnan(end) else flipped(y, end) for end in (low, high)]
            title = f"{row}, {size} dimensions: {cell.text()}"
            point = Point(x.at(size), flipped(y, cell.mean), ends_at[0], ends_at[1], title)
            look = looks.get(row)
            series.append(Series(str(row), look, [point], line=False))
        charts.append(
            Chart(
                title=comparison.titles[table],
                summary=f"{metric} of {comparison.titles[table]} against the size of the embedding.",
                x_label="dimensions",
                note=metric,
                x_ticks=_at_sizes(sizes, x),
                y_ticks=ticks_from_above(y),
                series=series,
                rules=[
                    Rule(flipped(y, value), comparison.title(str(run)), "bar")
                    for run, value in zip(bar["run"], level, strict=True)
                ],
            )
        )
    return charts


def _at_sizes(sizes: Sequence[int], x: Scale) -> list[Tick]:
    """Returns a tick per size, without those that are too close to the one before."""
    ticks: list[Tick] = []
    for size in sizes:
        if not ticks or x.at(size) - ticks[-1].at > _APART:
            ticks.append(Tick(x.at(size), f"{size:,}"))
    return ticks


def rank_rows(scores: Mapping[str, np.ndarray], pairs: pd.DataFrame, looks: Mapping[str, Look | None]) -> Ranks:
    """Returns the mean ranks over users; systems that share a letter do not differ significantly.

    Args:
        scores: system to (users,) scores.
        pairs: what `significance.pairwise` returned for them.
        looks: system to look.
    """
    result = critical_difference(scores, pairs)
    scale = Scale.of(result.ranks, from_zero=False, margin=0.06)
    rows = []
    for name, rank in result.ranks.items():
        letters = "".join(letter(number) for number, group in enumerate(result.groups) if name in group)
        dot = Dot(scale.at(rank), None, None, f"{name}: mean rank {rank:.2f}", look=looks.get(str(name)))
        rows.append(DotRow(str(name), "", f"{rank:.2f} {letters}".rstrip(), [dot]))
    p = result.p_friedman
    test = "needs three systems" if np.isnan(p) else "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    return Ranks(rows, scale.ticks(), test, min(max(map(len, scores)), 24))


def letter(number: int) -> str:
    """Returns the letter of a group, a number beyond 26.

    >>> letter(0), letter(25), letter(26)
    ('a', 'z', '(27)')
    """
    return chr(ord("a") + number) if number < 26 else f"({number + 1})"


def effect_map(names: Sequence[str], pairs: pd.DataFrame) -> Effects:
    """Returns the effect sizes of all pairs, empty where the difference is not significant.

    Args:
        names: the systems, the best first.
        pairs: what `significance.pairwise` returned for them.
    """
    index = {name: number for number, name in enumerate(names)}
    effects = np.full((len(names), len(names)), np.nan)
    for pair in pairs.to_dict("records"):
        row, column = index[pair["first"]], index[pair["second"]]
        effect = pair["effect"] if pair["p_t"] < ALPHA else 0.0
        effects[row, column], effects[column, row] = effect, -effect
    finite = np.abs(effects[np.isfinite(effects)])
    limit = max(0.2, float(finite.max(initial=0)))
    return Effects(list(names), [[_effect(value, limit) for value in row] for row in effects])


def _effect(value: float, limit: float) -> Effect:
    """Returns the cell of an effect; NaN: a system against itself, 0: no significant difference."""
    if np.isnan(value) or value == 0:
        return Effect("" if np.isnan(value) else "·")
    text = "∞" if np.isinf(value) else f"{abs(value):.2f}"
    sign = "" if value > 0 else "−"
    share = 1.0 if np.isinf(value) else min(1.0, abs(value) / limit)
    return Effect(sign + re.sub(r"^0\.", ".", text), round(_STRONGEST * share), value > 0)
