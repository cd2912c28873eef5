"""Draws all plots of a comparison, each as a PNG and an SVG file; matplotlib's pyplot and its state are not used."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.text import Text

from musicrec.data.split_files import PAIR, read_split
from musicrec.evaluation.comparison import Comparison
from musicrec.evaluation.layers import layer_table
from musicrec.evaluation.report.charts.systems import systems, without_audio
from musicrec.evaluation.report.looks import Look, find_looks, look_of
from musicrec.evaluation.report.plots.dataset import activity, popularity
from musicrec.evaluation.report.plots.groups import group_panels
from musicrec.evaluation.report.plots.layers import layer_panels
from musicrec.evaluation.report.plots.means import bars, quality_by_size
from musicrec.evaluation.report.plots.significance import pair_map, rank_groups
from musicrec.evaluation.report.plots.style import STYLE, mark, shade
from musicrec.evaluation.report.template import visible
from musicrec.evaluation.statistics.significance import ALPHA, critical_difference
from musicrec.files import atomic_path
from musicrec.workspace import Workspace

_LONGEST_NAME = 32  # characters
_BAR_LINE = " Grey: recommenders without audio; dashed: the best of them on the validation users."
_CHANCE_LINE = " Dotted: the chance level, what random lists would reach."


@dataclass(frozen=True)
class Plot:
    """A plot on disk, {folder}/{name}.svg and .png.

    Attributes:
        name: file stem.
        folder: where the files are.
        alt: what it shows, as a phrase.
        caption: what it shows, in sentences.
    """

    name: str
    folder: Path
    alt: str
    caption: str

    @property
    def svg(self) -> Path:
        """Returns the path of the SVG file."""
        return self.folder / f"{self.name}.svg"

    @property
    def png(self) -> Path:
        """Returns the path of the PNG file."""
        return self.folder / f"{self.name}.png"


@dataclass(frozen=True)
class _Drawing:
    """A plot to be drawn: the fields of `Plot`, and the function that draws."""

    name: str
    alt: str
    caption: str
    draw: Callable[[], Figure]


def draw(workspace: Workspace, comparison: Comparison) -> list[Plot]:
    """Returns all plots of a comparison, written to report/ in the workspace."""
    folder = workspace.root / "report"
    plots = []
    looks = find_looks(workspace, (run.info for run in comparison.runs.values()))
    for drawing in _drawings(workspace, comparison, looks):
        with rc_context(STYLE), warnings.catch_warnings():
            # Names in any script, and of wide letters only.
            warnings.filterwarnings("ignore", "Glyph .* missing from font|constrained_layout not applied", UserWarning)
            figure = drawing.draw()
            _shorten_names(figure)
            figure.draw_without_rendering()
            figure.set_layout_engine("none")  # laid out once, not for each format
            plot = Plot(drawing.name, folder, drawing.alt, drawing.caption)
            for path in (plot.svg, plot.png):
                with atomic_path(path) as temporary:
                    figure.savefig(temporary, dpi=160, metadata={"Date": None} if path == plot.svg else None)
        plots.append(plot)
    return plots


def _shorten_names(figure: Figure) -> None:
    """Shortens names that would leave no room for the plot itself."""
    for axes in figure.axes:
        names = [label.get_text() for label in axes.get_yticklabels()]
        if names != (short := [_short(name) for name in names]):
            axes.set_yticks(axes.get_yticks(), short)
    for text in figure.findobj(Text):
        if isinstance(text, Text):
            text.set_text(_short(text.get_text()))


def _short(name: str) -> str:
    """Returns a name of at most `_LONGEST_NAME` visible characters."""
    name = visible(name)
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _drawings(workspace: Workspace, comparison: Comparison, looks: Mapping[str, Look]) -> Iterator[_Drawing]:
    """Yields the plots that there are data for."""
    yield from _of_tables(comparison, looks)
    yield from _of_groups(comparison, looks)
    yield from _of_sizes(comparison, looks)
    yield from _of_layers(comparison)
    yield from _of_data(workspace)


def _of_tables(comparison: Comparison, looks: Mapping[str, Look]) -> Iterator[_Drawing]:
    """Yields bars, pairwise effects and ranks of each table."""
    for stem, table, split in comparison.stems():
        ndcg = comparison.ndcg(split)
        title, rows = comparison.titles[table], comparison.shown(table, split)
        scores, pairs = systems(comparison, table, split)
        bar = without_audio(comparison, table, split)
        color, _ = _shades(comparison, rows, looks)
        yield _Drawing(
            f"bars_{stem}",
            f"{ndcg} of each embedding, {title}",
            f"{ndcg}, mean over users with its 95 % interval."
            + (_BAR_LINE if len(bar) else "")
            + (_CHANCE_LINE if split in comparison.chance else ""),
            partial(
                bars, rows, ndcg, [color[row] for row in rows["row"]], bar, comparison.chance.get(split, {}).get(ndcg)
            ),
        )
        if len(scores) < 2:
            continue
        yield _Drawing(
            f"pairs_{stem}",
            f"pairwise significance, {title}",
            f"Effect size of row against column, Cohen's d of the per-user differences in {ndcg}; blue: the row is "
            "better. Columns have the numbers of the rows. Grey: no significant difference (paired t test, "
            f"Holm-corrected, p ≥ {ALPHA}).",
            partial(pair_map, list(scores), pairs),
        )
        yield _Drawing(
            f"ranks_{stem}",
            f"mean ranks and groups that do not differ, {title}",
            f"Mean rank over users by {ndcg} (1 = best). A bar joins embeddings that do not differ significantly "
            f"(Wilcoxon, Holm-corrected); Friedman test: {_p(critical_difference(scores, pairs).p_friedman)}.",
            partial(rank_groups, scores, pairs, color),
        )


def _shades(
    comparison: Comparison, rows: pd.DataFrame, looks: Mapping[str, Look]
) -> tuple[dict[str, str], dict[str, str]]:
    """Returns row name to colour, and to marker, of rows that tables show."""
    colors, markers = {}, {}
    for name, run in zip(rows["row"], rows["run"], strict=True):
        look = look_of(comparison.runs[run].info, looks)
        colors[name], markers[name] = shade(look), mark(look)
    return colors, markers


def _of_groups(comparison: Comparison, looks: Mapping[str, Look]) -> Iterator[_Drawing]:
    """Yields NDCG in groups of users and popularity bins of each table."""
    for stem, table, split in comparison.stems():
        rows, _ = comparison.in_groups(table, split)
        if len(rows):
            ndcg = comparison.ndcg(split)
            color, markers = _shades(comparison, comparison.shown(table, split), looks)
            bar = {row: f"{comparison.title(run)} (no audio)" for row, run in _bar_names(comparison, table, split)}
            yield _Drawing(
                f"groups_{stem}",
                f"{ndcg} in groups of users and bins of popularity, {comparison.titles[table]}",
                f"{ndcg} in each group, mean over its users (their number below it) with its 95 % interval."
                + (" Grey: the best recommender without audio." if bar else "")
                + _CHANCE_LINE,
                partial(group_panels, rows.replace({"row": bar}), ndcg, color, markers),
            )


def _bar_names(comparison: Comparison, table: str, split: str) -> list[tuple[str, str]]:
    """Returns name and run of the bar of a table, at most one."""
    return list(comparison.bar_rows(table, split)[:1][["row", "run"]].itertuples(index=False, name=None))


def _of_sizes(comparison: Comparison, looks: Mapping[str, Look]) -> Iterator[_Drawing]:
    """Yields NDCG against size if there are several sizes; every embedding has one colour in all panels."""
    ndcg = comparison.ndcg()
    shown = [comparison.shown(table).dropna(subset=["Size"]) for table in comparison.titles]
    if len({size for rows in shown for size in rows["Size"]}) > 1:
        yield _Drawing(
            "size",
            f"{ndcg} against embedding size",
            f"{ndcg} against the size of the embedding (dimensions, logarithmic). The dashed line is the best "
            "recommender without audio on the validation users.",
            partial(quality_by_size, comparison, _shades(comparison, pd.concat(shown), looks)[0]),
        )


def _of_layers(comparison: Comparison) -> Iterator[_Drawing]:
    """Yields NDCG by layer if layers were compared."""
    if len(table := layer_table(comparison)):
        yield _Drawing(
            "layers",
            f"{comparison.ndcg()} of each layer",
            f"{comparison.ndcg()} of each layer, mean over users with its 95 % interval. Dashed: the best recommender "
            f"without audio on the validation users.{_CHANCE_LINE}",
            partial(layer_panels, table),
        )


def _of_data(workspace: Workspace) -> Iterator[_Drawing]:
    """Yields popularity and activity if there are training data."""
    if workspace.split("train").is_file():
        train = read_split(workspace.split("train"), columns=PAIR)
        yield _Drawing(
            "popularity",
            "popularity of the tracks",
            "Users per track in the training data, the most played first; both axes logarithmic.",
            partial(popularity, train),
        )
        yield _Drawing(
            "activity",
            "activity of the users",
            "Distinct tracks per user in the training data; the line is the median.",
            partial(activity, train),
        )


def _p(value: float) -> str:
    """Returns a p value for a caption; NaN: the Friedman test was not possible."""
    return "needs three embeddings" if np.isnan(value) else "p < 0.001" if value < 0.001 else f"p = {value:.3f}"
