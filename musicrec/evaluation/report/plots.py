"""The plots of the report, drawn narrow enough to be read on a phone; each is also a PNG and an SVG file.

Every function returns a matplotlib Figure; pyplot and its global state are not used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure

from musicrec.columns import TRACK, USER
from musicrec.evaluation.comparison import TABLES, Comparison
from musicrec.evaluation.report.tables import TITLES
from musicrec.evaluation.runs import read_pairs
from musicrec.evaluation.significance import ALPHA, critical_difference
from musicrec.files import atomic_path

if TYPE_CHECKING:
    from musicrec.workspace import Workspace

# Okabe & Ito's colours, told apart by colour-blind readers, too.
COLORS = {"cosine": "#0072B2", "shallow": "#D55E00", "bert": "#009E73"}
_INK, _MUTED = "#222222", "#8a8a8a"
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _MUTED,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "svg.hashsalt": "musicrec",  # the same plot is the same file
    "figure.constrained_layout.use": True,
}
_WIDTH = 3.8  # inches: on the width of a phone the font size above is read without zooming
_WORSE_BETTER: Colormap = LinearSegmentedColormap.from_list("worse_better", ["#B35806", "#ffffff", "#2166AC"])


@dataclass(frozen=True)
class Plot:
    """A plot on disk: {folder}/{name}.svg and .png, what it shows (the caption) and in one phrase (the alt text)."""

    name: str
    folder: Path
    alt: str
    caption: str

    @property
    def svg(self) -> Path:
        return self.folder / f"{self.name}.svg"

    @property
    def png(self) -> Path:
        return self.folder / f"{self.name}.png"


def draw(workspace: Workspace, comparison: Comparison) -> list[Plot]:
    """Returns all plots of a comparison, written to report/ in the workspace."""
    folder = workspace.root / "report"
    plots = []
    for name, alt, caption, drawing in _drawings(workspace, comparison):
        with rc_context(_STYLE):
            figure = drawing()
            figure.draw_without_rendering()
            figure.set_layout_engine("none")  # laid out once, not for each format
            plot = Plot(name, folder, alt, caption)
            for path in (plot.svg, plot.png):
                with atomic_path(path) as temporary:
                    figure.savefig(temporary, dpi=160, metadata={"Date": None} if path == plot.svg else None)
        plots.append(plot)
    return plots


def _drawings(workspace: Workspace, comparison: Comparison) -> Iterator[tuple[str, str, str, Callable[[], Figure]]]:
    """Yields (name, alt text, caption, function that draws) of each plot there is something for."""
    ndcg = comparison.ndcg
    for stem, table, split in comparison.names():
        title, rows, pairs = TITLES[table], comparison.shown(table, split), comparison.pairs(table, split)
        yield (
            f"bars_{stem}",
            f"{ndcg} of each embedding, {title}",
            f"{ndcg}, mean over users with its 95 % interval.",
            partial(bars, rows, ndcg, COLORS[table]),
        )
        if len(rows) < 2:
            continue
        yield (
            f"pairs_{stem}",
            f"pairwise significance, {title}",
            f"Effect size of row against column, Cohen's d of the per-user differences in {ndcg}; blue: the row is "
            "better. Columns have the numbers of the rows. Grey: no significant difference (paired t test, "
            f"Holm-corrected, p ≥ {ALPHA}).",
            partial(pair_map, list(rows["embedding"]), pairs),
        )
        scores = comparison.per_user(table, split)
        yield (
            f"ranks_{stem}",
            f"mean ranks and groups that do not differ, {title}",
            f"Mean rank over users by {ndcg} (1 = best). A bar joins embeddings that do not differ significantly "
            f"(Wilcoxon, Holm-corrected); Friedman test: {_p(critical_difference(scores, pairs).p_friedman)}.",
            partial(rank_groups, scores, pairs, COLORS[table]),
        )
    sized = comparison.comparison[comparison.comparison["Size"].notna()]
    if sized.loc[sized["shown"], "Size"].nunique() > 1:
        yield (
            "size",
            f"{ndcg} against embedding size",
            f"{ndcg} against the size of the embedding (dimensions, logarithmic).",
            partial(quality_by_size, comparison),
        )
    if workspace.split("train").is_file():
        train = read_pairs(workspace.split("train"))
        yield (
            "popularity",
            "popularity of the tracks",
            "Users per track in the training data, the most played first; both axes logarithmic.",
            partial(popularity, train),
        )
        yield (
            "activity",
            "activity of the users",
            "Distinct tracks per user in the training data; the line is the median.",
            partial(activity, train),
        )
    for run in comparison.runs:
        curves = read_curves(workspace.run_dir(run) / "metrics.csv")
        if len(curves) > 1:
            yield (
                f"curves_{run}",
                f"training curves of {run}",
                "Loss after each epoch; the dot is the epoch with the lowest validation loss.",
                partial(training_curves, curves),
            )


def bars(rows: pd.DataFrame, metric: str, color: str) -> Figure:
    """Returns horizontal bars with intervals.

    Args:
        rows: columns embedding, `metric` and `{metric} conf`, the best first.
        metric: column name.
        color: of the bars.
    """
    figure = Figure(figsize=(_WIDTH, 0.75 + 0.27 * len(rows)))
    axes = figure.add_subplot()
    places = list(range(len(rows)))
    conf = rows[f"{metric} conf"].fillna(0)
    axes.barh(places, rows[metric], xerr=conf, color=color, height=0.72, error_kw={"ecolor": _INK, "elinewidth": 1})
    axes.set_yticks(places, rows["embedding"])
    axes.invert_yaxis()
    right = float((rows[metric] + conf).max()) or 1.0
    for place, value, half in zip(places, rows[metric], conf, strict=True):
        axes.text(value + half + 0.015 * right, place, f"{value:.4f}", va="center", fontsize=7.5)
    axes.set_xlim(0, 1.18 * right)
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel(metric)
    axes.tick_params(axis="y", length=0)
    return figure


def pair_map(names: list[str], pairs: pd.DataFrame) -> Figure:
    """Returns a heat map of effect sizes, row against column; grey where the difference is not significant.

    Args:
        names: the embeddings, the best first.
        pairs: what `significance.pairwise` returned for them.
    """
    effects = np.full((len(names), len(names)), np.nan)
    place = {name: number for number, name in enumerate(names)}
    for pair in pairs[pairs["p_t"] < ALPHA].to_dict("records"):
        row, column = place[pair["first"]], place[pair["second"]]
        effects[row, column], effects[column, row] = pair["effect"], -pair["effect"]
    cell = min(0.4, 3.0 / len(names))  # inches
    figure = Figure(figsize=(_WIDTH, 0.4 + cell * len(names)))
    axes = figure.add_subplot()
    finite = np.abs(effects[np.isfinite(effects)])
    limit = max(0.2, float(finite.max(initial=0)))
    axes.set_facecolor("#ececec")  # shows where there is no significant difference
    axes.imshow(effects, cmap=_WORSE_BETTER, vmin=-limit, vmax=limit, aspect="auto")
    crowded = len(names) > 8
    if len(names) <= 16:
        for (row, column), effect in np.ndenumerate(effects):
            if crowded and effect < 0:
                continue  # the same number with a minus sign, too wide for its cell
            text = "" if row == column else "·" if np.isnan(effect) else f"{effect:.2f}".replace("-", "−")
            strong = np.isfinite(effect) and abs(effect) > 0.65 * limit
            # Without the zero before the point sixteen columns fit.
            text, size, ink = re.sub(r"\b0\.", ".", text), min(7.5, 22 * cell), "white" if strong else _INK
            axes.text(column, row, text, ha="center", va="center", fontsize=size, color=ink)
    axes.set_xticks(range(len(names)), [str(number) for number in range(1, len(names) + 1)])
    axes.set_yticks(range(len(names)), [f"{name}  {number}" for number, name in enumerate(names, 1)])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def rank_groups(scores: dict[str, np.ndarray], pairs: pd.DataFrame, color: str) -> Figure:
    """Returns a critical-difference diagram, turned upright so that names of any length fit.

    Args:
        scores: embedding to (users,) scores.
        pairs: what `significance.pairwise` returned for them.
        color: of the dots.
    """
    result = critical_difference(scores, pairs)
    place = {name: number for number, name in enumerate(result.ranks.index)}
    figure = Figure(figsize=(_WIDTH, 0.75 + 0.25 * len(place)))
    axes = figure.add_subplot()
    ranks = result.ranks.to_numpy()
    span = max(float(np.ptp(ranks)), 0.1)
    axes.hlines(list(place.values()), ranks.min() - 0.05 * span, ranks, color="#dddddd", lw=1, zorder=0)
    axes.plot(ranks, list(place.values()), "o", color=color, markersize=5)
    for number, group in enumerate(result.groups):
        x = ranks.max() + (0.1 + 0.06 * number) * span
        axes.plot([x, x], [place[group[0]] - 0.2, place[group[-1]] + 0.2], color=_INK, lw=2.2, solid_capstyle="round")
    axes.set_yticks(list(place.values()), list(place))
    axes.set_ylim(len(place) - 0.5, -0.5)
    axes.set_xlabel("mean rank (1 = best)")
    axes.tick_params(axis="y", length=0)
    return figure


def quality_by_size(comparison: Comparison) -> Figure:
    """Returns NDCG against embedding size, a panel for each recommender, every point labelled."""
    tables = [table for table in TABLES if comparison.shown(table)["Size"].notna().any()]
    figure = Figure(figsize=(_WIDTH, 0.4 + 2.3 * len(tables)))
    panels = figure.subplots(len(tables), sharex=True, squeeze=False)[:, 0]
    for table, axes in zip(tables, panels, strict=True):
        rows = comparison.shown(table).dropna(subset=["Size"])
        size, value = rows["Size"].to_numpy(float), rows[comparison.ndcg].to_numpy()
        conf = rows[f"{comparison.ndcg} conf"].fillna(0).to_numpy()
        axes.errorbar(size, value, yerr=conf, fmt="none", ecolor=COLORS[table], elinewidth=1, alpha=0.35)
        axes.plot(size, value, "o", color=COLORS[table], markersize=4)
        axes.set_xscale("log")
        axes.margins(x=0.08, y=0.1)
        axes.set_title(TITLES[table], loc="left")
        axes.set_ylabel(comparison.ndcg)
        axes.minorticks_off()
        _label(axes, size, value, list(rows["embedding"]))
    low, high = panels[-1].get_xlim()
    ticks = [tick for tick in (20, 50, 100, 200, 500, 1000, 2000, 5000, 10000) if low <= tick <= high]
    panels[-1].set_xticks(ticks, [str(tick) for tick in ticks])
    panels[-1].set_xlabel("embedding size")
    return figure


def popularity(train: pd.DataFrame) -> Figure:
    """Returns users per track over the rank of the track, log-log."""
    counts = np.sort(train[TRACK].value_counts().to_numpy())[::-1]
    figure = Figure(figsize=(_WIDTH, 2.6))
    axes = figure.add_subplot()
    axes.loglog(np.arange(1, len(counts) + 1), counts, color=COLORS["cosine"])
    axes.set_xlabel(f"rank of the track ({len(counts):,} tracks)")
    axes.set_ylabel("users")
    axes.grid(color="#eeeeee")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,.0f}")
    return figure


def activity(train: pd.DataFrame) -> Figure:
    """Returns a histogram of distinct tracks per user, on a logarithmic axis where they differ tenfold."""
    counts = train[USER].value_counts().to_numpy()
    figure = Figure(figsize=(_WIDTH, 2.6))
    axes = figure.add_subplot()
    low, high = int(counts.min()), int(counts.max()) + 1
    wide = high > 10 * low
    bins = np.unique((np.geomspace if wide else np.linspace)(low, high, 28).round())
    # A bin is drawn around its whole numbers: [30, 31) holds 30.
    axes.hist(counts, bins=(bins - 0.5).tolist(), color=COLORS["cosine"])
    axes.axvline(float(np.median(counts)), color=_INK, lw=1)
    if wide:
        axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel(f"tracks per user (median {np.median(counts):,.0f}; {len(counts):,} users)")
    axes.set_ylabel("users")
    return figure


def read_curves(path: Path) -> pd.DataFrame:
    """Returns the loss columns of a run's metrics.csv, one row an epoch; empty if there are none."""
    if not path.is_file():
        return pd.DataFrame()
    try:
        frame = pd.read_csv(path)
    except (ValueError, OSError):  # empty or damaged: the run itself is fine
        return pd.DataFrame()
    losses = [column for column in ("train/loss", "val/loss") if column in frame]
    if "epoch" not in frame or not losses:
        return pd.DataFrame()
    return frame.dropna(subset=["epoch"]).groupby("epoch")[losses].mean().dropna(how="all")


def training_curves(curves: pd.DataFrame) -> Figure:
    """Returns the losses over the epochs; `curves` is what `read_curves` returned."""
    figure = Figure(figsize=(_WIDTH, 2.5))
    axes = figure.add_subplot()
    colors = {"train/loss": _MUTED, "val/loss": COLORS["shallow"]}
    epochs = curves.index.to_numpy()
    for column in map(str, curves):
        axes.plot(epochs, curves[column], color=colors[column], label=column)
    if "val/loss" in curves and curves["val/loss"].notna().any():
        losses = curves["val/loss"].to_numpy()
        best = np.nanargmin(losses)
        axes.plot(epochs[best], losses[best], "o", color=colors["val/loss"], markersize=5)
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss")
    axes.legend(frameon=False)
    return figure


def _label(axes: Axes, x: np.ndarray, y: np.ndarray, names: list[str]) -> None:
    """Writes the names in a column right of the panel, each joined to its point by a line: no name lies on another."""
    low, high = axes.get_ylim()
    order = np.argsort(y)
    wanted = (y[order] - low) / (high - low)  # heights in units of the panel
    gap = 0.075
    placed = wanted.copy()
    for number in range(1, len(placed)):
        placed[number] = max(placed[number], placed[number - 1] + gap)
    placed[-1] = min(placed[-1], max(1.0, gap * (len(placed) - 1)))
    for number in range(len(placed) - 2, -1, -1):  # what was pushed over the top comes down again
        placed[number] = min(placed[number], placed[number + 1] - gap)
    for number, height in zip(order, placed, strict=True):
        line = {"arrowstyle": "-", "color": "#bbbbbb", "lw": 0.6, "shrinkA": 1, "shrinkB": 3, "relpos": (0, 0.5)}
        axes.annotate(
            names[number],
            xy=(x[number], y[number]),
            xytext=(1.06, height),
            textcoords="axes fraction",
            va="center",
            fontsize=7,
            arrowprops=line,
        )


def _p(value: float) -> str:
    return "needs three embeddings" if np.isnan(value) else "p < 0.001" if value < 0.001 else f"p = {value:.3f}"
