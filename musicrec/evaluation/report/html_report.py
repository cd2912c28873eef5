"""Writes report.html: the answer as a plot, the comparison in tables and charts, and a page per run, in one file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

from musicrec.data.split_files import PAIR, read_split
from musicrec.evaluation.comparison import Comparison
from musicrec.evaluation.layers import layer_table
from musicrec.evaluation.report.charts.dot_plot import dot_plot
from musicrec.evaluation.report.charts.of_data import data_charts
from musicrec.evaluation.report.charts.of_tables import effect_map, group_charts, rank_rows, size_charts
from musicrec.evaluation.report.charts.systems import systems
from musicrec.evaluation.report.grids import (
    Names,
    all_runs_grid,
    artists_grid,
    beyond_grid,
    controls_grid,
    data_grid,
    others_grid,
    seed_pairs_grid,
    seeds_grid,
    table_grid,
)
from musicrec.evaluation.report.groups_section import NOTE, group_grid
from musicrec.evaluation.report.headline import answer, headline
from musicrec.evaluation.report.layers_section import NOTE as NOTE_ON_LAYERS
from musicrec.evaluation.report.layers_section import layer_charts, layer_grid, layer_looks
from musicrec.evaluation.report.looks import Look
from musicrec.evaluation.report.plots.draw import Plot
from musicrec.evaluation.report.run_pages import run_pages
from musicrec.evaluation.report.sections import File, Section
from musicrec.evaluation.report.tables import legend
from musicrec.evaluation.report.template import render
from musicrec.files import write_text
from musicrec.workspace import Workspace

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
        plots: what `draw` returned for it; the report links to their files.
    """
    names = Names.of(workspace, comparison)
    pages, shared = run_pages(workspace, comparison, names)
    name = workspace.root.resolve().name
    made = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    overviews = [(split, answer(comparison, split)) for split in comparison.splits]
    text = render(
        "report.html.j2",
        title=f"musicrec · {name}",
        subtitle=[name, _users(comparison), f"{len(comparison.runs)} runs", made],
        overviews=[(sentences, dot_plot(comparison, split, names.looks)) for split, sentences in overviews],
        anchors=names.anchors,
        warnings=comparison.warnings,
        metrics={term: meaning.format(k=_k(comparison)) for term, meaning in _METRICS.items()},
        sections=_sections(workspace, comparison, names, {plot.name: plot for plot in plots}),
        runs=pages,
        shared=shared,
    )
    write_text(workspace.report, text)
    return workspace.report


def _sections(workspace: Workspace, comparison: Comparison, names: Names, plots: Mapping[str, Plot]) -> list[Section]:
    """Returns the sections in their order, without those that would be empty."""
    space = f", in the space of {comparison.diversity_space}" if comparison.diversity_space else ""
    sizes = size_charts(comparison, _row_looks(comparison, names))
    sections = [
        *(_table_section(comparison, names, plots, stem, table, split) for stem, table, split in comparison.stems()),
        *_group_sections(comparison, names, plots),
        Section("others", "Other runs", grid=others_grid(comparison, names), files=names.files("comparison.csv")),
        Section(
            "size",
            "Quality against size",
            note="Dashed: the best recommender without audio on the validation users.",
            charts=sizes,
            looks={series.name: series.look for chart in sizes for series in chart.series},
            files=names.files("comparison.csv"),
            plots=_files(names, plots, ["size"]),
        ),
        *_layers_section(comparison, names, plots),
        Section(
            "beyond",
            "Beyond accuracy",
            grid=beyond_grid(comparison, names),
            terms={term: meaning.format(space=space) for term, meaning in _BEYOND.items()},
            files=names.files("comparison.csv"),
        ),
        Section(
            "controls",
            "Real against shuffled vectors",
            grid=controls_grid(comparison, names),
            note=_CONTROLS,
            files=names.files("controls.csv"),
        ),
        Section(
            "artists",
            "Known and new artists",
            grid=artists_grid(comparison),
            note=_ARTISTS,
            files=names.files("artists.csv"),
        ),
        Section("seeds", "Several seeds", grid=seeds_grid(comparison), note=_SEEDS, files=names.files("seeds.csv")),
        Section(
            "seed_pairs",
            "Differences over users and seeds",
            grid=seed_pairs_grid(comparison),
            note=_SEED_PAIRS.format(margin=f"{comparison.margin:.0%}".replace("%", " %")),
            files=names.files("seeds_significance.csv"),
        ),
        _data_section(workspace, names, plots),
        Section("runs", "All runs", grid=all_runs_grid(comparison, names), files=names.files("comparison.csv")),
    ]
    return [section for section in sections if section.charts or (section.grid and section.grid.rows)]


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


def _table_section(
    comparison: Comparison, names: Names, plots: Mapping[str, Plot], stem: str, table: str, split: str
) -> Section:
    """Returns the section of a comparison table, with who beats whom."""
    title = comparison.titles[table]
    scores, pairs = systems(comparison, table, split)
    compared = len(scores) > 1
    looks = _row_looks(comparison, names, split)
    return Section(
        stem,
        title if len(comparison.splits) == 1 else f"{title} · {split}",
        lead=headline(comparison, table, split),
        grid=table_grid(comparison, names, table, split),
        note=legend(comparison, table, split),
        ranks=rank_rows(scores, pairs, looks) if compared else None,
        effects=effect_map(list(scores), pairs) if compared else None,
        metric=comparison.ndcg(split),
        files=names.files(f"{stem}.csv", f"{stem}.md", f"{stem}.tex", "significance.csv", "bars.csv", "chance.csv"),
        plots=_files(names, plots, [f"{kind}_{stem}" for kind in ("bars", "pairs", "ranks")]),
    )


def _group_sections(comparison: Comparison, names: Names, plots: Mapping[str, Plot]) -> Iterator[Section]:
    """Yields the sections that say for whom the runs of a table work; the first explains what they show."""
    note = NOTE
    for stem, table, split in comparison.stems():
        rows, _ = comparison.in_groups(table, split)
        if rows.empty:
            continue
        title = f"For whom · {comparison.titles[table]}" + ("" if len(comparison.splits) == 1 else f" · {split}")
        looks, bars = _row_looks(comparison, names, split), comparison.bar_rows(table, split)
        titles = {row: f"{comparison.title(run)} (no audio)" for row, run in zip(bars["row"], bars["run"], strict=True)}
        yield Section(
            f"groups_{stem}",
            title,
            grid=group_grid(comparison, table, split),
            note=note,
            charts=group_charts(comparison, table, split, looks, titles),
            looks={titles.get(row, row): looks.get(row) for row in dict.fromkeys(rows["row"])},
            files=names.files("groups.csv", "groups_significance.csv"),
            plots=_files(names, plots, [f"groups_{stem}"]),
        )
        note = ""


def _layers_section(comparison: Comparison, names: Names, plots: Mapping[str, Plot]) -> Iterator[Section]:
    """Yields the section about layers, if layers were compared."""
    if len(table := layer_table(comparison)):
        yield Section(
            "layers",
            "Layer by layer",
            grid=layer_grid(table),
            note=NOTE_ON_LAYERS,
            charts=layer_charts(table),
            looks=dict(layer_looks(table)),
            files=names.files("layers.csv"),
            plots=_files(names, plots, ["layers"]),
        )


def _data_section(workspace: Workspace, names: Names, plots: Mapping[str, Plot]) -> Section:
    """Returns the section about the splits."""
    train = workspace.split("train")
    charts = data_charts(read_split(train, columns=PAIR)) if train.is_file() else []
    files = _files(names, plots, ["popularity", "activity"])
    return Section("data", "The data", grid=data_grid(workspace), charts=charts, plots=files)


def _row_looks(comparison: Comparison, names: Names, split: str | None = None) -> dict[str, Look | None]:
    """Returns row name to look, of all tables, recommenders without audio also by their titles."""
    found: dict[str, Look | None] = {}
    bars = comparison.bar_rows(None, split)
    for row, run in zip(bars["row"], bars["run"], strict=True):
        found[row] = found[f"{comparison.title(run)} (no audio)"] = names.look(run)
    for table in comparison.titles:
        rows = comparison.shown(table, split)
        for row, run in zip(rows["row"], rows["run"], strict=True):
            found[row] = names.look(run)
    return found


def _files(names: Names, plots: Mapping[str, Plot], wanted: Iterable[str]) -> list[File]:
    """Returns links to the SVG files of those of the plots that exist."""
    return [names.file(plots[name].svg) for name in wanted if name in plots]
