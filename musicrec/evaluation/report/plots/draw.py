"""Draws all plots of a comparison, each as a PNG and an SVG file; matplotlib's pyplot and its state are not used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from musicrec.data.split_files import PAIR, read_split
from musicrec.evaluation.comparison import Comparison
from musicrec.evaluation.report.plots.curves import read_curves, training_curves
from musicrec.evaluation.report.plots.dataset import activity, popularity
from musicrec.evaluation.report.plots.groups import group_panels
from musicrec.evaluation.report.plots.means import bars, quality_by_size
from musicrec.evaluation.report.plots.significance import pair_map, rank_groups
from musicrec.evaluation.report.plots.style import STYLE, colors
from musicrec.evaluation.statistics.significance import ALPHA, PAIRED, critical_difference
from musicrec.files import atomic_path
from musicrec.workspace import Workspace

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
    for drawing in _drawings(workspace, comparison):
        with rc_context(STYLE):
            figure = drawing.draw()
            figure.draw_without_rendering()
            figure.set_layout_engine("none")  # laid out once, not for each format
            plot = Plot(drawing.name, folder, drawing.alt, drawing.caption)
            for path in (plot.svg, plot.png):
                with atomic_path(path) as temporary:
                    figure.savefig(temporary, dpi=160, metadata={"Date": None} if path == plot.svg else None)
        plots.append(plot)
    return plots


def _drawings(workspace: Workspace, comparison: Comparison) -> Iterator[_Drawing]:
    """Yields the plots that there are data for."""
    yield from _of_tables(comparison)
    yield from _of_groups(comparison)
    yield from _of_sizes(comparison)
    yield from _of_data(workspace)
    yield from _of_runs(workspace, comparison)


def _of_tables(comparison: Comparison) -> Iterator[_Drawing]:
    """Yields bars, pairwise effects and ranks of each table; every table has one colour."""
    color = colors(comparison.titles)
    for stem, table, split in comparison.stems():
        ndcg = comparison.ndcg(split)
        title, rows = comparison.titles[table], comparison.shown(table, split)
        scores, pairs = _systems(comparison, table, split)
        without_audio = _without_audio(comparison, table, split)
        yield _Drawing(
            f"bars_{stem}",
            f"{ndcg} of each embedding, {title}",
            f"{ndcg}, mean over users with its 95 % interval."
            + (_BAR_LINE if len(without_audio) else "")
            + (_CHANCE_LINE if split in comparison.chance else ""),
            partial(bars, rows, ndcg, color[table], without_audio, comparison.chance.get(split, {}).get(ndcg)),
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
            partial(rank_groups, scores, pairs, color[table]),
        )


def _without_audio(comparison: Comparison, table: str, split: str) -> pd.DataFrame:
    """Returns the recommenders without audio that stand beside the embeddings of a table, the bar first."""
    rows = comparison.bar_rows(table, split)
    return rows.assign(row=[f"{comparison.title(run)} (no audio)" for run in rows["run"]])


def _systems(comparison: Comparison, table: str, split: str) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """Returns name to NDCG per user of a table's embeddings and, last, the bar; and the tests of all pairs."""
    scores, pairs = comparison.per_user(table, split), comparison.pairs(table, split)
    bar, columns = _without_audio(comparison, table, split)[:1], ["first", "second", *PAIRED]
    for run, name in zip(bar["run"], bar["row"], strict=True):
        scores[name] = comparison.scores[run][split][comparison.ndcg(split)].to_numpy()
        tests = comparison.bars
        own = (tests["table"] == table) & (tests["split"] == split) & (tests["metric"] == comparison.ndcg(split))
        against = tests[own].rename(columns={"embedding": "first"}).assign(second=name)[columns]
        pairs = pd.concat([pairs[columns], against]) if len(pairs) else against
    return scores, pairs


def _of_groups(comparison: Comparison) -> Iterator[_Drawing]:
    """Yields NDCG in groups of users and popularity bins of each table."""
    color = colors(row for table in comparison.titles for row in comparison.shown(table)["row"])
    for stem, table, split in comparison.stems():
        rows, _ = comparison.in_groups(table, split)
        if len(rows):
            ndcg = comparison.ndcg(split)
            bar = {row: f"{comparison.title(run)} (no audio)" for row, run in _bar_names(comparison, table, split)}
            yield _Drawing(
                f"groups_{stem}",
                f"{ndcg} in groups of users and bins of popularity, {comparison.titles[table]}",
                f"{ndcg} in each group, mean over its users (their number below it) with its 95 % interval."
                + (" Grey: the best recommender without audio." if bar else "")
                + _CHANCE_LINE,
                partial(group_panels, rows.replace({"row": bar}), ndcg, color),
            )


def _bar_names(comparison: Comparison, table: str, split: str) -> list[tuple[str, str]]:
    """Returns name and run of the bar of a table, at most one."""
    return list(comparison.bar_rows(table, split)[:1][["row", "run"]].itertuples(index=False, name=None))


def _of_sizes(comparison: Comparison) -> Iterator[_Drawing]:
    """Yields NDCG against size if there are several sizes; every embedding has one colour in all panels."""
    ndcg = comparison.ndcg()
    shown = [comparison.shown(table).dropna(subset=["Size"]) for table in comparison.titles]
    if len({size for rows in shown for size in rows["Size"]}) > 1:
        yield _Drawing(
            "size",
            f"{ndcg} against embedding size",
            f"{ndcg} against the size of the embedding (dimensions, logarithmic). The dashed line is the best "
            "recommender without audio on the validation users.",
            partial(quality_by_size, comparison, colors(row for rows in shown for row in rows["row"])),
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


def _of_runs(workspace: Workspace, comparison: Comparison) -> Iterator[_Drawing]:
    """Yields the training curves of each run with more than one epoch."""
    for run in comparison.runs:
        curves = read_curves(workspace.run_dir(run) / "metrics.csv")
        if len(curves) > 1:
            yield _Drawing(
                f"curves_{run}",
                f"training curves of {run}",
                "Loss after each epoch; the dot is the epoch with the lowest validation loss.",
                partial(training_curves, curves),
            )


def _p(value: float) -> str:
    """Returns a p value for a caption; NaN: the Friedman test was not possible."""
    return "needs three embeddings" if np.isnan(value) else "p < 0.001" if value < 0.001 else f"p = {value:.3f}"
