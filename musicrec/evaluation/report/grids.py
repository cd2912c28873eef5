"""The tables of the report, one function each."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import pandas as pd

from musicrec.columns import SPLIT, TRACK, USER
from musicrec.data.split_files import PAIR, read_split
from musicrec.evaluation.beyond_accuracy import beyond_columns
from musicrec.evaluation.comparison import Comparison
from musicrec.evaluation.report.looks import Look, find_looks, look_of
from musicrec.evaluation.report.sections import File, Grid, GridCell
from musicrec.evaluation.report.tables import CHANCE, Cell, bar_cells, cell_of, cells, chance_cells, tried
from musicrec.evaluation.statistics.equivalence import difference_verdict
from musicrec.evaluation.truth import VAL, split_order
from musicrec.workspace import Workspace

_Value = TypeVar("_Value")

_OTHERS = 4  # metrics before NDCG


@dataclass(frozen=True)
class Names:
    """What the runs of a comparison are called and how they look, and the addresses of files.

    Attributes:
        workspace: of the report.
        comparison: what `compare` returned.
        anchors: run to the id of its page.
        looks: `real_name` to look.
    """

    workspace: Workspace
    comparison: Comparison
    anchors: Mapping[str, str]
    looks: Mapping[str, Look]

    @classmethod
    def of(cls, workspace: Workspace, comparison: Comparison) -> Names:
        """Returns the names of a comparison; writes report/looks.json."""
        looks = find_looks(workspace, (run.info for run in comparison.runs.values()))
        return cls(workspace, comparison, anchors(comparison.runs), looks)

    def look(self, run: str) -> Look | None:
        """Returns the look of a run, hollow for a shuffled control."""
        return look_of(self.comparison.runs[run].info, self.looks)

    def link(self, run: str, text: str) -> GridCell:
        """Returns a cell that leads to the page of a run."""
        return GridCell(text, link=self.anchors[run], look=self.look(run))

    def file(self, path: Path, text: str = "") -> File:
        """Returns the link to a file of the workspace; its text is the path unless another is given."""
        relative = path.relative_to(self.workspace.root).as_posix()
        return File(text or relative, quote(relative, errors="surrogateescape"))

    def files(self, *names: str) -> list[File]:
        """Returns links to those of the files that exist."""
        paths = [self.workspace.root / name for name in names]
        return [self.file(path) for path in paths if path.is_file()]


def anchors(runs: Mapping[str, object]) -> dict[str, str]:
    """Returns run to the id of its page, which only this run has.

    >>> anchors(dict.fromkeys(["knn a", "knn-a", "bert"]))
    {'knn a': 'run-knn-a', 'knn-a': 'run-knn-a~2', 'bert': 'run-bert'}
    """
    found: dict[str, str] = {}
    counts: dict[str, int] = {}
    for run in runs:
        anchor = "run-" + re.sub(r"[^\w.-]", "-", run)
        counts[anchor] = counts.get(anchor, 0) + 1
        found[run] = anchor if counts[anchor] == 1 else f"{anchor}~{counts[anchor]}"
    return found


def ndcg_first(values: Sequence[_Value]) -> list[_Value]:
    """Returns the five metrics with NDCG, and what follows it, first: a phone shows two without scrolling."""
    return [*values[_OTHERS:], *values[:_OTHERS]]


def number(cell: Cell) -> GridCell:
    """Returns the cell of a mean with its interval and marks."""
    return GridCell("" if pd.isna(cell.mean) else f"{cell.mean:.4f}", _interval(cell), best=cell.best, worse=cell.worse)


def _interval(cell: Cell) -> str:
    """Returns `± 0.0012`, or both ends; empty if there is no interval."""
    text = cell.interval()
    return f"± {text}" if text and cell.ends is None else text


def _metrics(comparison: Comparison, split: str | None = None) -> list[str]:
    """Returns the columns with NDCG first."""
    return ndcg_first(comparison.metrics(split))


def _numbers(comparison: Comparison, row: Mapping[Hashable, float], split: str | None = None) -> list[GridCell]:
    """Returns the cells of the metrics in a row of results or seeds, without marks."""
    return [number(cell_of(row, metric)) for metric in _metrics(comparison, split)]


def _chance(comparison: Comparison, split: str) -> GridCell:
    """Returns the cell of the NDCG that random lists reach on a split."""
    level = comparison.chance.get(split, {}).get(comparison.ndcg(split))
    return GridCell("" if level is None else f"{level:.4f}")


def table_grid(comparison: Comparison, names: Names, table: str, split: str) -> Grid:
    """Returns the rows of a comparison table, then the recommenders without audio; chance at its foot."""
    runs = dict(comparison.shown(table, split)[["row", "run"]].to_numpy())
    titles = comparison.row_titles(table, split)
    rows = [
        [names.link(runs[embedding], titles[embedding]), *map(number, ndcg_first(row_cells)), GridCell(size)]
        for embedding, row_cells, size in cells(comparison, table, split)
    ]
    bars = comparison.bar_rows(table, split)["run"]
    rows += [
        [names.link(run, name), *map(number, ndcg_first(row_cells)), GridCell(size)]
        for run, (name, row_cells, size) in zip(bars, bar_cells(comparison, table, split), strict=True)
    ]
    counts = tried(comparison, table, split)
    rows = [[*row, *map(GridCell, counts[place : place + 1])] for place, row in enumerate(rows)]
    foot = []
    if chance := chance_cells(comparison, split):
        empty = [GridCell("")] * (1 + bool(counts))
        foot = [[GridCell(CHANCE), *map(number, ndcg_first(chance)), *empty]]
    header = ["embedding", *ndcg_first(comparison.columns(split)), "Size", *(["tried"] if counts else [])]
    return Grid(header, rows, foot)


def others_grid(comparison: Comparison, names: Names) -> Grid:
    """Returns the runs that no recommender's table shows, e.g. of foreign systems."""
    rows = [
        [names.link(row["run"], row["run"]), *_numbers(comparison, row)]
        for row in comparison.shown(None).to_dict("records")
    ]
    chance = chance_cells(comparison)
    foot = [[GridCell(CHANCE), *map(number, ndcg_first(chance))]] if chance else []
    return Grid(["run", *_metrics(comparison)], rows, foot)


def beyond_grid(comparison: Comparison, names: Names) -> Grid:
    """Returns the metrics beyond accuracy of all runs shown; without rows if there are none."""
    columns = [
        column
        for column in beyond_columns(comparison.k.at(comparison.splits[0]))
        if column in comparison.results and comparison.results[column].notna().any()
    ]
    rows = []
    for table in (*comparison.titles, None) if columns else ():
        for row in comparison.shown(table).to_dict("records"):
            numbers = [GridCell("" if pd.isna(row[column]) else f"{row[column]:.3f}") for column in columns]
            name = f"{comparison.titles[table]} · {row['row']}" if table else row["run"]
            rows.append([names.link(row["run"], name), *numbers])
    return Grid(["run", *columns], rows)


def controls_grid(comparison: Comparison, names: Names) -> Grid:
    """Returns the pairs of real and shuffled runs, by NDCG."""
    rows = []
    for row in comparison.controls.to_dict("records"):
        if row["metric"] != comparison.ndcg(row["split"]):
            continue
        title = comparison.titles.get(row["table"], row["recommender"])
        name = f"{title} · {row['embedding']}{'' if row['better'] else ' †'}"
        seed = "" if pd.isna(row["seed"]) else str(row["seed"])
        gain = "" if pd.isna(row["gain %"]) else f"{row['gain %']:+.0f} %"
        numbers = [GridCell(f"{row[column]:.4f}") for column in ("real", "shuffled")]
        half = (row["high"] - row["low"]) / 2
        difference = number(Cell(row["difference"], half))
        rows.append(
            [
                names.link(row["run"], name),
                *(GridCell(text) for text in (row["control"], row["split"], seed)),
                *numbers,
                difference,
                GridCell(gain),
                GridCell(f"{row['p_t']:.2g}"),
                _chance(comparison, str(row["split"])),
            ]
        )
    return Grid(["run", "control", "split", "seed", "real", "shuffled", "difference", "gain", "p", CHANCE], rows)


def artists_grid(comparison: Comparison) -> Grid:
    """Returns the metrics apart for tracks of artists that the user knows and for others; the main split's names."""
    rows = []
    for row in comparison.artists.to_dict("records"):
        numbers = [GridCell(f"{row[metric]:.4f}") for metric in _metrics(comparison, str(row["split"]))]
        name = f"{row['run']} · {row['split']}"
        chance = GridCell(f"{row['chance']:.4f}")
        named = [GridCell(name, name=True), GridCell(str(row["artist"])), GridCell(str(row["users"]))]
        rows.append([*named, *numbers, chance])
    columns = [metric.partition("@")[0] for metric in _metrics(comparison)]
    return Grid(["run", "artist", "users", *columns, f"{CHANCE} {columns[0]}"], rows)


def seeds_grid(comparison: Comparison) -> Grid:
    """Returns the settings that were run with several seeds."""
    rows = []
    for row in comparison.seeds[comparison.seeds["seeds"] > 1].to_dict("records"):
        ndcg, metrics = comparison.ndcg(row["split"]), _metrics(comparison, row["split"])
        name = row["setting"] if len(comparison.splits) == 1 else f"{row['setting']} · {row['split']}"
        together = Cell(row[ndcg], row[f"{ndcg} conf"], ends=(row[f"{ndcg} low"], row[f"{ndcg} high"]))
        rows.append(
            [
                GridCell(name, name=True),
                GridCell(str(row["seeds"])),
                GridCell(f"{row[ndcg]:.4f}", f"± {row[f'{ndcg} conf']:.4f}"),
                GridCell(together.interval()),
                *(GridCell(f"{row[metric]:.4f}", f"± {row[f'{metric} conf']:.4f}") for metric in metrics[1:]),
                _chance(comparison, str(row["split"])),
            ]
        )
    columns = [metric.partition("@")[0] for metric in _metrics(comparison)]
    return Grid(["setting", "seeds", columns[0], "users × seeds", *columns[1:], f"{CHANCE} {columns[0]}"], rows)


def seed_pairs_grid(comparison: Comparison) -> Grid:
    """Returns the differences over users and seeds in NDCG."""
    rows = []
    for row in comparison.seed_pairs.to_dict("records"):
        if row["metric"] != comparison.ndcg(row["split"]):
            continue
        title = comparison.titles[row["table"]]
        seeds = f"{row['seeds first']} and {row['seeds second']}"
        verdict = difference_verdict(row["p"], row["p_equivalence"])
        pair = f"{title} · {row['first']} − {row['second']}"
        rows.append(
            [
                GridCell(pair if len(comparison.splits) == 1 else f"{pair} · {row['split']}", name=True),
                GridCell(seeds),
                GridCell(f"{row['difference']:+.4f}"),
                GridCell(f"[{row['low']:.4f}, {row['high']:.4f}]"),
                GridCell(f"{row['p']:.2g}"),
                GridCell(f"{row['detectable']:.4f}"),
                GridCell(verdict),
            ]
        )
    return Grid(["pair", "seeds", "difference", "95 % interval", "p", "detectable", "verdict"], rows)


def data_grid(workspace: Workspace) -> Grid:
    """Returns the sizes of the splits."""
    rows = []
    for path in sorted(workspace.data_dir.glob("[!.]*.pqt"), key=lambda path: split_order(path.stem)):
        pairs = read_split(path, columns=PAIR)
        counts = (len(pairs), pairs[USER].nunique(), pairs[TRACK].nunique())
        rows.append([GridCell(path.stem), *(GridCell(f"{count:,}") for count in counts)])
    return Grid([SPLIT, "(user, track) pairs", "users", "tracks"], rows)


def all_runs_grid(comparison: Comparison, names: Names) -> Grid:
    """Returns all runs, with NDCG on val and test and whether a table shows them."""
    rows = []
    for row in comparison.results.to_dict("records"):
        val, ndcg = row[f"{VAL} {comparison.ndcg(VAL)}"], comparison.ndcg(row["split"])
        cell = cell_of(row, ndcg)
        rows.append(
            [
                names.link(row["run"], row["run"]),
                GridCell(row["split"]),
                number(cell),
                GridCell("" if pd.isna(val) else f"{val:.4f}"),
                GridCell("✓" if row["shown"] else ""),
                _chance(comparison, str(row["split"])),
            ]
        )
    return Grid(["run", "split", comparison.ndcg(), f"{VAL} {comparison.ndcg(VAL)}", "in a table", CHANCE], rows)
