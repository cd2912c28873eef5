"""Values that the report's template shows: sections, run pages, tables and plots, without markup."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from musicrec.evaluation.report.charts.chart import Chart
from musicrec.evaluation.report.charts.of_tables import Effects, Ranks
from musicrec.evaluation.report.looks import Look


@dataclass(frozen=True)
class GridCell:
    """A cell of an HTML table.

    Attributes:
        text: its text.
        conf: the interval, `± 0.0012` or both ends, shown below the text; empty for none.
        link: the section that the text leads to.
        name: whether the text is a name that may break after an underscore.
        best: whether it is the best of its column.
        worse: whether it is significantly worse than the best.
        look: of the embedding that the text names.
    """

    text: str
    conf: str = ""
    link: str = ""
    name: bool = False
    best: bool = False
    worse: bool = False
    look: Look | None = None


@dataclass(frozen=True)
class Grid:
    """An HTML table; the rows of `foot` stay below the others however these are sorted."""

    header: list[str]
    rows: list[list[GridCell]]
    foot: list[list[GridCell]] = field(default_factory=list)


@dataclass(frozen=True)
class File:
    """A link to a file of the workspace; `href` is its address relative to the report."""

    text: str
    href: str


@dataclass(frozen=True)
class Section:
    """A section of the report.

    Attributes:
        anchor: its id.
        title: its heading.
        lead: sentences above the table.
        grid: its table.
        terms: what stands in the columns, explained below the table.
        note: a sentence below that.
        charts: plots below that.
        ranks: mean ranks, below that.
        effects: the pairwise map, beside the ranks.
        metric: what ranks and effects compare.
        looks: legend of the charts, name to look; None: grey.
        files: what holds the numbers.
        plots: the same plots as files.
    """

    anchor: str
    title: str
    lead: str = ""
    grid: Grid | None = None
    terms: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    charts: list[Chart] = field(default_factory=list)
    ranks: Ranks | None = None
    effects: Effects | None = None
    metric: str = ""
    looks: Mapping[str, Look | None] = field(default_factory=dict)
    files: list[File] = field(default_factory=list)
    plots: list[File] = field(default_factory=list)


@dataclass(frozen=True)
class Configuration:
    """The settings of a run.

    Attributes:
        text: those that this run does not share with all runs of its recommender; all, if there is no other run.
        shared: anchor of the page of those that all share; empty if there is none.
    """

    text: str
    shared: str = ""


@dataclass(frozen=True)
class RunPage:
    """The page of one run: facts, metrics of each split, training curves, configuration."""

    anchor: str
    name: str
    look: Look | None
    facts: list[str]
    grid: Grid
    charts: list[Chart]
    configuration: Configuration
    files: list[File]


@dataclass(frozen=True)
class SharedPage:
    """The page of the settings that all runs of a recommender share."""

    anchor: str
    title: str
    text: str
