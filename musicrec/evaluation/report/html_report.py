"""Writes report.html: the comparison with its plots and a page per run, in one file without scripts."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import pandas as pd

from musicrec.columns import SPLIT, TRACK, USER
from musicrec.data.split_files import PAIR, read_split
from musicrec.evaluation.beyond_accuracy import beyond_columns
from musicrec.evaluation.comparison import Comparison
from musicrec.evaluation.confidence import summary
from musicrec.evaluation.report.groups_section import NOTE, group_grid
from musicrec.evaluation.report.headline import headlines
from musicrec.evaluation.report.plots.draw import Plot
from musicrec.evaluation.report.sections import Grid, GridCell, Image, RunPage, Section
from musicrec.evaluation.report.tables import CHANCE, Cell, bar_cells, cell_of, cells, chance_cells, legend, tried
from musicrec.evaluation.report.template import render
from musicrec.evaluation.statistics.equivalence import difference_verdict
from musicrec.evaluation.truth import VAL, split_order
from musicrec.files import write_text
from musicrec.workspace import Workspace

_Value = TypeVar("_Value")

_METRICS = {
    "NDCG": "hits near the top count more; 1 = all held-out tracks first; the tables are sorted by it",
    "HitRate": "share of users with at least one held-out track among the first {k}",
    "MRR": "1 / rank of the first",
    "Precision": "share of the list that was held out",
    "Recall": "share of the held-out tracks in the list",
}
_BEYOND = {
    "Coverage": "share of the catalogue in anybody's list",
    "Gini": "how unequally the tracks of the catalogue are recommended: 0 = equally often, 1 = always the same",
    "Novelty": "mean self-information in bits; higher = fewer users played it",
    "PopularityLift": "by how much the lists are more popular than what the same users play (0 = alike)",
    "APLT": "share of the list in the long tail, the least popular tracks with 20 % of the plays",
    "Diversity": "mean pairwise cosine distance within a list{space}",
    "ArtistDiversity": "number of different artists per track of the list",
}
_CONTROLS = (
    "The same run with its vectors permuted among the tracks: what it still reaches, it owes to the listening data. "
    "Gain: real over shuffled. † not significantly better (paired t test, Holm-corrected)."
)
_ARTISTS = "Held-out tracks whose artist the user played in training (known) and the others (new), on the same lists."
_SEEDS = (
    "Mean over seeds ± half-width of its 95 % interval: how far training noise moves the result (0 without noise). "
    "Users × seeds: the 95 % interval of NDCG for other users and other seeds together."
)
_SEED_PAIRS = (
    "NDCG of the first minus the second, for other users and other seeds (random effects of both; Holm-corrected in "
    "each table). Detectable: the smallest true difference that would have been found in 80 % of such experiments. "
    "Equivalent: the true difference is smaller than {margin} of the better one (two one-sided tests, p < 0.05)."
)


def write_report(workspace: Workspace, comparison: Comparison, plots: Iterable[Plot]) -> Path:
    """Returns the path of report.html, which is written.

    Args:
        workspace: runs/{run}/config.yaml is shown where it exists; only data/ and preds/ are needed.
        comparison: what `compare` returned.
        plots: what `draw` returned for it.
    """
    by_name = {plot.name: plot for plot in plots}
    name = workspace.root.resolve().name
    made = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    text = render(
        "report.html.j2",
        title=f"musicrec · {name}",
        subtitle=[name, _users(comparison), f"{len(comparison.runs)} runs", made],
        headline=headlines(comparison),
        warnings=comparison.warnings,
        metrics={term: meaning.format(k=_k(comparison)) for term, meaning in _METRICS.items()},
        sections=_sections(workspace, comparison, by_name),
        runs=[_run_page(workspace, comparison, by_name, run) for run in comparison.runs],
    )
    write_text(workspace.report, text)
    return workspace.report


def _sections(workspace: Workspace, comparison: Comparison, plots: Mapping[str, Plot]) -> list[Section]:
    """Returns the sections in their order, without those that would be empty."""
    space = f", in the space of {comparison.diversity_space}" if comparison.diversity_space else ""
    sections = [
        *(_table_section(comparison, plots, stem, table, split) for stem, table, split in comparison.stems()),
        *(_group_section(comparison, plots, stem, table, split) for stem, table, split in comparison.stems()),
        Section("others", "Other runs", _others(comparison)),
        Section("size", "Quality against size", images=_images(plots, ["size"])),
        Section(
            "beyond",
            "Beyond accuracy",
            _beyond(comparison),
            {term: meaning.format(space=space) for term, meaning in _BEYOND.items()},
        ),
        Section("controls", "Real against shuffled vectors", _controls(comparison), note=_CONTROLS),
        Section("artists", "Known and new artists", _artists(comparison), note=_ARTISTS),
        Section("seeds", "Several seeds", _seeds(comparison), note=_SEEDS),
        Section(
            "seed_pairs",
            "Differences over users and seeds",
            _seed_pairs(comparison),
            note=_SEED_PAIRS.format(margin=f"{comparison.margin:.0%}".replace("%", " %")),
        ),
        Section("data", "The data", _data(workspace), images=_images(plots, ["popularity", "activity"])),
        Section("runs", "All runs", _all_runs(comparison)),
    ]
    return [section for section in sections if section.images or (section.grid and section.grid.rows)]


def _metrics(comparison: Comparison, split: str | None = None) -> list[str]:
    """Returns the columns with NDCG first."""
    return _ndcg_first(comparison.metrics(split))


def _ndcg_first(values: Sequence[_Value]) -> list[_Value]:
    """Returns the five metrics with NDCG, and what follows it, first: a phone shows two without scrolling."""
    before = len(_METRICS) - 1
    return [*values[before:], *values[:before]]


def _k(comparison: Comparison) -> str:
    """Returns the cutoffs, e.g. `50`, or `50 (hot_test), 20 (cold_test)`."""
    by_split = {split: comparison.k.at(split) for split in comparison.splits}
    if len(set(by_split.values())) == 1:
        return str(comparison.k.at(comparison.splits[0]))
    return ", ".join(f"{k} ({split})" for split, k in by_split.items())


def _users(comparison: Comparison) -> str:
    """Returns the number of users of each split, e.g. `500 users in test`."""
    rows = comparison.results.groupby("split", sort=False)["users"].max()
    return ", ".join(f"{users:,} users in {split}" for split, users in rows.items())


def _table_section(comparison: Comparison, plots: Mapping[str, Plot], stem: str, table: str, split: str) -> Section:
    """Returns the section of a comparison table."""
    runs = dict(comparison.shown(table, split)[["row", "run"]].to_numpy())
    names = comparison.row_titles(table, split)
    rows = [
        [_link(runs[embedding], names[embedding]), *map(_number, _ndcg_first(row_cells)), GridCell(size)]
        for embedding, row_cells, size in cells(comparison, table, split)
    ]
    bars = comparison.bar_rows(table, split)["run"]
    rows += [
        [_link(run, name), *map(_number, _ndcg_first(row_cells)), GridCell(size)]
        for run, (name, row_cells, size) in zip(bars, bar_cells(comparison, table, split), strict=True)
    ]
    counts = tried(comparison, table, split)
    rows = [[*row, *map(GridCell, counts[number : number + 1])] for number, row in enumerate(rows)]
    if chance := chance_cells(comparison, split):
        empty = [GridCell("")] * (1 + bool(counts))
        rows.append([GridCell(CHANCE), *map(_number, _ndcg_first(chance)), *empty])
    title = comparison.titles[table]
    return Section(
        stem,
        title if len(comparison.splits) == 1 else f"{title} · {split}",
        Grid(["embedding", *_ndcg_first(comparison.columns(split)), "Size", *(["tried"] if counts else [])], rows),
        note=legend(comparison, table, split),
        images=_images(plots, [f"{kind}_{stem}" for kind in ("bars", "pairs", "ranks")]),
    )


def _group_section(comparison: Comparison, plots: Mapping[str, Plot], stem: str, table: str, split: str) -> Section:
    """Returns the section that says for whom the runs of a table work."""
    title = f"For whom · {comparison.titles[table]}" + ("" if len(comparison.splits) == 1 else f" · {split}")
    grid = group_grid(comparison, table, split)
    return Section(f"groups_{stem}", title, grid, note=NOTE, images=_images(plots, [f"groups_{stem}"]))


def _others(comparison: Comparison) -> Grid:
    """Returns the runs that no recommender's table shows, e.g. of foreign systems."""
    rows = [
        [_link(row["run"], row["run"]), *_numbers(comparison, row)] for row in comparison.shown(None).to_dict("records")
    ]
    if rows and (chance := chance_cells(comparison)):
        rows.append([GridCell(CHANCE), *map(_number, _ndcg_first(chance))])
    return Grid(["run", *_metrics(comparison)], rows)


def _beyond(comparison: Comparison) -> Grid:
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
            rows.append([_link(row["run"], name), *numbers])
    return Grid(["run", *columns], rows)


def _controls(comparison: Comparison) -> Grid:
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
        difference = _number(Cell(row["difference"], half))
        rows.append(
            [
                _link(row["run"], name),
                *(GridCell(text) for text in (row["control"], row["split"], seed)),
                *numbers,
                difference,
                GridCell(gain),
                GridCell(f"{row['p_t']:.2g}"),
                _chance(comparison, str(row["split"])),
            ]
        )
    return Grid(["run", "control", "split", "seed", "real", "shuffled", "difference", "gain", "p", CHANCE], rows)


def _artists(comparison: Comparison) -> Grid:
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


def _seeds(comparison: Comparison) -> Grid:
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
    names = [metric.partition("@")[0] for metric in _metrics(comparison)]
    return Grid(["setting", "seeds", names[0], "users × seeds", *names[1:], f"{CHANCE} {names[0]}"], rows)


def _seed_pairs(comparison: Comparison) -> Grid:
    """Returns the differences over users and seeds in NDCG."""
    rows = []
    for row in comparison.seed_pairs.to_dict("records"):
        if row["metric"] != comparison.ndcg(row["split"]):
            continue
        title = comparison.titles[row["table"]]
        seeds = f"{row['seeds first']} and {row['seeds second']}"
        verdict = difference_verdict(row["p"], row["p_equivalence"])
        names = f"{title} · {row['first']} − {row['second']}"
        rows.append(
            [
                GridCell(names if len(comparison.splits) == 1 else f"{names} · {row['split']}", name=True),
                GridCell(seeds),
                GridCell(f"{row['difference']:+.4f}"),
                GridCell(f"[{row['low']:.4f}, {row['high']:.4f}]"),
                GridCell(f"{row['p']:.2g}"),
                GridCell(f"{row['detectable']:.4f}"),
                GridCell(verdict),
            ]
        )
    return Grid(["pair", "seeds", "difference", "95 % interval", "p", "detectable", "verdict"], rows)


def _data(workspace: Workspace) -> Grid:
    """Returns the sizes of the splits."""
    rows = []
    for path in sorted(workspace.data_dir.glob("[!.]*.pqt"), key=lambda path: split_order(path.stem)):
        pairs = read_split(path, columns=PAIR)
        counts = (len(pairs), pairs[USER].nunique(), pairs[TRACK].nunique())
        rows.append([GridCell(path.stem), *(GridCell(f"{count:,}") for count in counts)])
    return Grid([SPLIT, "(user, track) pairs", "users", "tracks"], rows)


def _all_runs(comparison: Comparison) -> Grid:
    """Returns all runs, with NDCG on val and test and whether a table shows them."""
    rows = []
    for row in comparison.results.to_dict("records"):
        val, ndcg = row[f"{VAL} {comparison.ndcg(VAL)}"], comparison.ndcg(row["split"])
        cell = cell_of(row, ndcg)
        rows.append(
            [
                _link(row["run"], row["run"]),
                GridCell(row["split"]),
                _number(cell),
                GridCell("" if pd.isna(val) else f"{val:.4f}"),
                GridCell("✓" if row["shown"] else ""),
                _chance(comparison, str(row["split"])),
            ]
        )
    return Grid(["run", "split", comparison.ndcg(), f"{VAL} {comparison.ndcg(VAL)}", "in a table", CHANCE], rows)


def _run_page(workspace: Workspace, comparison: Comparison, plots: Mapping[str, Plot], name: str) -> RunPage:
    """Returns the page of a run."""
    info = comparison.runs[name].info
    rows = []
    for split, scores in comparison.scores[name].items():
        means = summary(scores)[_metrics(comparison, split)].to_numpy().T
        rows.append([GridCell(split), *(_number(Cell(mean, conf)) for mean, conf in means)])
    facts = {"recommender": info.recommender, "embedding": info.embedding, "size": info.size, "seed": info.seed}
    path = workspace.run_dir(name) / "config.yaml"
    if path.is_file():
        configuration = path.read_text(encoding="utf-8", errors="replace")
    else:
        configuration = json.dumps(info.settings, indent=2, ensure_ascii=False) if info.settings else ""
    return RunPage(
        _anchor(name),
        name,
        [f"{key} {value}" for key, value in facts.items() if value not in (None, "")],
        Grid(["split", *_metrics(comparison)], rows),
        _images(plots, [f"curves_{name}"]),
        configuration,
    )


def _images(plots: Mapping[str, Plot], names: Iterable[str]) -> list[Image]:
    """Returns those of the plots that exist."""
    found = [plots[name] for name in names if name in plots]
    sources = [f"data:image/svg+xml;base64,{base64.b64encode(plot.svg.read_bytes()).decode()}" for plot in found]
    return [Image(plot.alt, plot.caption, source) for plot, source in zip(found, sources, strict=True)]


def _numbers(comparison: Comparison, row: Mapping[Hashable, float], split: str | None = None) -> list[GridCell]:
    """Returns the cells of the metrics in a row of results or seeds, without marks."""
    return [_number(cell_of(row, metric)) for metric in _metrics(comparison, split)]


def _number(cell: Cell) -> GridCell:
    """Returns the cell of a mean with its interval and marks."""
    return GridCell("" if pd.isna(cell.mean) else f"{cell.mean:.4f}", _interval(cell), best=cell.best, worse=cell.worse)


def _interval(cell: Cell) -> str:
    """Returns `± 0.0012`, or both ends; empty if there is no interval."""
    text = cell.interval()
    return f"± {text}" if text and cell.ends is None else text


def _chance(comparison: Comparison, split: str) -> GridCell:
    """Returns the cell of the NDCG that random lists reach on a split."""
    level = comparison.chance.get(split, {}).get(comparison.ndcg(split))
    return GridCell("" if level is None else f"{level:.4f}")


def _link(run: str, text: str) -> GridCell:
    """Returns a cell that leads to the page of a run."""
    return GridCell(text, link=_anchor(run))


def _anchor(run: str) -> str:
    """Returns the id of a run's page."""
    return "run-" + re.sub(r"[^\w.-]", "-", run)
