"""Plots of means with their intervals: bars of one table, NDCG against embedding size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from musicrec.evaluation.comparison import Comparison
from musicrec.evaluation.report.plots.style import INK, MUTED, WIDTH


def error_bars(rows: pd.DataFrame, metric: str) -> np.ndarray:
    """Returns (2, rows) the lengths of the intervals below and above the means; 0 where there is no interval.

    Args:
        rows: columns `metric` and `{metric} conf`, or `{metric} low` and `{metric} high` of the bootstrap.
        metric: column name.
    """
    if f"{metric} low" in rows:
        lengths = [rows[metric] - rows[f"{metric} low"], rows[f"{metric} high"] - rows[metric]]
    else:
        lengths = [rows[f"{metric} conf"]] * 2
    return np.nan_to_num(np.array(lengths, dtype=np.float64))


def bars(
    rows: pd.DataFrame,
    metric: str,
    colors: Sequence[str],
    without_audio: pd.DataFrame | None = None,
    chance: float | None = None,
) -> Figure:
    """Returns horizontal bars with intervals; below them, in grey, the recommenders without audio.

    Args:
        rows: columns row (the name) and those of `error_bars`, the best first.
        metric: column name.
        colors: of the rows.
        without_audio: rows like these; the first is the bar to pass, drawn as a dashed line through the plot.
        chance: what random lists would reach, drawn as a dotted line.
    """
    shades = list(colors)
    line = None
    if without_audio is not None and len(without_audio):
        line = float(without_audio[metric].iloc[0])
        rows = pd.concat([rows, without_audio])
        shades += [MUTED] * len(without_audio)
    figure = Figure(figsize=(WIDTH, 0.75 + 0.27 * len(rows)))
    axes = figure.add_subplot()
    heights = list(range(len(rows)))
    errors = error_bars(rows, metric)
    axes.barh(heights, rows[metric], xerr=errors, color=shades, height=0.72, error_kw={"ecolor": INK, "elinewidth": 1})
    if chance is not None:
        axes.axvline(chance, color=INK, lw=1, ls=":")
    axes.set_yticks(heights, rows["row"])
    if line is not None:
        axes.axvline(line, color=INK, lw=0.8, ls="--", zorder=3)
    axes.invert_yaxis()
    ends = rows[metric].to_numpy() + errors[1]
    right = max(float(ends.max()), chance or 0.0) or 1.0
    for height, value, end in zip(heights, rows[metric], ends, strict=True):
        axes.text(end + 0.015 * right, height, f"{value:.4f}", va="center", fontsize=7.5)
    axes.set_xlim(0, 1.18 * right)
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel(metric)
    axes.tick_params(axis="y", length=0)
    return figure


def quality_by_size(comparison: Comparison, colors: Mapping[str, str]) -> Figure:
    """Returns NDCG against embedding size, one panel per table, every point labelled; the bar is a dashed line.

    Args:
        comparison: what `compare` returned.
        colors: row name to the colour of its points.
    """
    tables = [table for table in comparison.titles if comparison.shown(table)["Size"].notna().any()]
    figure = Figure(figsize=(WIDTH, 0.4 + 2.3 * len(tables)))
    panels = figure.subplots(len(tables), sharex=True, squeeze=False)[:, 0]
    for table, axes in zip(tables, panels, strict=True):
        rows = comparison.shown(table).dropna(subset=["Size"])
        size, value = rows["Size"].to_numpy(float), rows[comparison.ndcg()].to_numpy()
        shades = [colors[row] for row in rows["row"]]
        errors = error_bars(rows, comparison.ndcg())
        axes.errorbar(size, value, yerr=errors, fmt="none", ecolor=shades, elinewidth=1, alpha=0.5)
        axes.scatter(size, value, c=shades, s=16, zorder=2)
        bar = comparison.bar_rows(table)
        if len(bar):
            axes.axhline(float(bar[comparison.ndcg()].iloc[0]), color=INK, lw=0.8, ls="--", zorder=1)
        axes.set_xscale("log")
        axes.margins(x=0.08, y=0.1)
        axes.set_title(comparison.titles[table], loc="left")
        axes.set_ylabel(comparison.ndcg())
        axes.minorticks_off()
        _label(axes, size, value, list(rows["row"]))
    low, high = panels[-1].get_xlim()
    ticks = [tick for tick in (20, 50, 100, 200, 500, 1000, 2000, 5000, 10000) if low <= tick <= high]
    panels[-1].set_xticks(ticks, [str(tick) for tick in ticks])
    panels[-1].set_xlabel("embedding size")
    return figure


def _label(axes: Axes, x: np.ndarray, y: np.ndarray, names: Sequence[str]) -> None:
    """Writes the names in a column right of the panel, each joined to its point by a line; no two names overlap."""
    low, high = axes.get_ylim()
    order = np.argsort(y)
    wanted = (y[order] - low) / (high - low)  # heights in units of the panel
    gap = 0.075
    heights = wanted.copy()
    for index in range(1, len(heights)):
        heights[index] = max(heights[index], heights[index - 1] + gap)
    heights[-1] = min(heights[-1], max(1.0, gap * (len(heights) - 1)))
    for index in range(len(heights) - 2, -1, -1):  # what was pushed over the top comes down again
        heights[index] = min(heights[index], heights[index + 1] - gap)
    for index, height in zip(order, heights, strict=True):
        line = {"arrowstyle": "-", "color": "#bbbbbb", "lw": 0.6, "shrinkA": 1, "shrinkB": 3, "relpos": (0, 0.5)}
        axes.annotate(
            names[index],
            xy=(x[index], y[index]),
            xytext=(1.06, height),
            textcoords="axes fraction",
            va="center",
            fontsize=7,
            arrowprops=line,
        )
