"""Values that the report's template shows: sections, run pages, tables and images, without markup."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


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
    """

    text: str
    conf: str = ""
    link: str = ""
    name: bool = False
    best: bool = False
    worse: bool = False


@dataclass(frozen=True)
class Grid:
    """An HTML table."""

    header: list[str]
    rows: list[list[GridCell]]


@dataclass(frozen=True)
class Image:
    """A plot inside the page; `source` is its data URI."""

    alt: str
    caption: str
    source: str


@dataclass(frozen=True)
class Section:
    """A section of the report.

    Attributes:
        anchor: its id.
        title: its heading.
        grid: its table.
        terms: what stands in the columns, explained below the table.
        note: a sentence below that.
        images: plots below that.
    """

    anchor: str
    title: str
    grid: Grid | None = None
    terms: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    images: list[Image] = field(default_factory=list)


@dataclass(frozen=True)
class RunPage:
    """The section of one run: facts, metrics of each split, training curves, configuration."""

    anchor: str
    name: str
    facts: list[str]
    grid: Grid
    images: list[Image]
    configuration: str
