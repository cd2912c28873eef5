"""Plots of significance: heat map of pairwise effects, critical-difference diagram."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from musicrec.evaluation.report.plots.style import INK, MUTED, WIDTH, WORSE_BETTER
from musicrec.evaluation.statistics.significance import ALPHA, critical_difference

_CROWDED, _TOO_MANY = 8, 16  # systems beyond which a heat map shows each number once, or none


def pair_map(names: Sequence[str], pairs: pd.DataFrame) -> Figure:
    """Returns a heat map of effect sizes, row against column; grey where the difference is not significant.

    Args:
        names: the systems, the best first.
        pairs: what `significance.pairwise` returned for them.
    """
    effects = np.full((len(names), len(names)), np.nan)
    index = {name: number for number, name in enumerate(names)}
    for pair in pairs[pairs["p_t"] < ALPHA].to_dict("records"):
        row, column = index[pair["first"]], index[pair["second"]]
        effects[row, column], effects[column, row] = pair["effect"], -pair["effect"]
    cell = min(0.3, 2.7 / len(names))
    figure = Figure(figsize=(WIDTH, 0.4 + cell * len(names)))
    axes = figure.add_subplot()
    finite = np.abs(effects[np.isfinite(effects)])
    limit = max(0.2, float(finite.max(initial=0)))
    axes.set_facecolor("#ececec")  # shows where there is no significant difference
    axes.imshow(effects, cmap=WORSE_BETTER, vmin=-limit, vmax=limit, aspect="auto")
    if len(names) <= _TOO_MANY:
        _write_effects(axes, effects, limit, min(7.5, 22 * cell))
    axes.set_xticks(range(len(names)), [str(number) for number in range(1, len(names) + 1)])
    axes.set_yticks(range(len(names)), [f"{name}  {number}" for number, name in enumerate(names, 1)])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def _write_effects(axes: Axes, effects: np.ndarray, limit: float, size: float) -> None:
    """Writes the numbers into the cells of a heat map; `limit` is the effect with the strongest colour."""
    crowded = len(effects) > _CROWDED
    for (row, column), effect in np.ndenumerate(effects):
        if crowded and effect < 0:
            continue  # the same number with a minus sign, too wide for its cell
        text = "" if row == column else "·" if np.isnan(effect) else f"{effect:.2f}".replace("-", "−")
        strong = np.isfinite(effect) and abs(effect) > 0.65 * limit
        # Without the zero before the point sixteen columns fit.
        text, ink = re.sub(r"\b0\.", ".", text), "white" if strong else INK
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color=ink)


def rank_groups(scores: Mapping[str, np.ndarray], pairs: pd.DataFrame, colors: Mapping[str, str]) -> Figure:
    """Returns a critical-difference diagram, turned upright so that names of any length fit.

    Args:
        scores: system to (users,) scores.
        pairs: what `significance.pairwise` returned for them.
        colors: system to the colour of its dot; grey without one.
    """
    result = critical_difference(scores, pairs)
    height = {name: number for number, name in enumerate(result.ranks.index)}
    figure = Figure(figsize=(WIDTH, 0.75 + 0.25 * len(height)))
    axes = figure.add_subplot()
    ranks = result.ranks.to_numpy()
    span = max(float(np.ptp(ranks)), 0.1)
    axes.hlines(list(height.values()), ranks.min() - 0.05 * span, ranks, color="#dddddd", lw=1, zorder=0)
    axes.scatter(ranks, list(height.values()), c=[colors.get(name, MUTED) for name in height], s=25)
    for number, group in enumerate(result.groups):
        x = ranks.max() + (0.1 + 0.06 * number) * span
        ends = [height[group[0]] - 0.2, height[group[-1]] + 0.2]
        axes.plot([x, x], ends, color=INK, lw=2.2, solid_capstyle="round")
    axes.set_yticks(list(height.values()), list(height))
    axes.set_ylim(len(height) - 0.5, -0.5)
    axes.set_xlabel("mean rank (1 = best)")
    axes.tick_params(axis="y", length=0)
    return figure
