"""report.html: the comparison with its plots and a page a run, in one file that needs nothing else, on any screen.

A run's page is a section that shows when the address names it (`report.html#run-…`): CSS alone, no script.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from musicrec.columns import SPLIT, TRACK, USER
from musicrec.evaluation.beyond_accuracy import beyond_columns
from musicrec.evaluation.comparison import TABLES, VAL, Comparison
from musicrec.evaluation.confidence import summary
from musicrec.evaluation.report.page import breakable, grid, page, td
from musicrec.evaluation.report.plots import Plot
from musicrec.evaluation.report.tables import TITLES, Cell, cells, legend
from musicrec.evaluation.runs import read_pairs
from musicrec.files import write_text

if TYPE_CHECKING:
    from musicrec.workspace import Workspace

_METRICS = """
<p><b>NDCG</b>: hits near the top count more; 1 = all held-out tracks first; the tables are sorted by it.
<b>HitRate</b>: share of users with at least one held-out track among the first {k}. <b>MRR</b>: 1 / rank of the first.
<b>Precision</b>: share of the list that was held out. <b>Recall</b>: share of the held-out tracks in the list.
Of several runs of one recommender and embedding the one with the best NDCG on the validation users is shown.</p>
"""

_BEYOND = """
<p><b>Coverage</b>: share of the catalogue in anybody's list. <b>Novelty</b>: mean self-information in bits; higher =
fewer users played it. <b>PopularityLift</b>: by how much the lists are more popular than what the same users play
(0 = alike). <b>Diversity</b>: mean pairwise cosine distance within a list{space}.</p>
"""


def write_report(workspace: Workspace, comparison: Comparison, plots: Iterable[Plot]) -> Path:
    """Returns the path of report.html, written anew.

    Args:
        workspace: runs/{run}/config.yaml is shown where it exists; only data/ and preds/ are needed.
        comparison: what `compare` returned.
        plots: what `plots.draw` returned for it.
    """
    by_name = {plot.name: plot for plot in plots}
    sections = [
        *(_table_section(comparison, by_name, stem, table, split) for stem, table, split in comparison.names()),
        ("others", "Other runs", _others(comparison)),
        ("size", "Quality against size", _figures(by_name, ["size"])),
        ("beyond", "Beyond accuracy", _beyond(comparison)),
        ("seeds", "Several seeds", _seeds(comparison)),
        ("data", "The data", _data(workspace) + _figures(by_name, ["popularity", "activity"])),
        ("runs", "All runs", _all_runs(comparison)),
    ]
    used = [(anchor, title, body) for anchor, title, body in sections if body]
    contents = "".join(f'<li><a href="#{anchor}">{escape(title)}</a></li>' for anchor, title, _ in used)
    body = "".join(f'<section id="{anchor}"><h2>{escape(title)}</h2>{text}</section>' for anchor, title, text in used)
    pages = "".join(_run_page(workspace, comparison, by_name, run) for run in comparison.runs)
    name = workspace.root.resolve().name
    made = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    body = f"""<main id="top">
<h1>Which audio representation makes the best music recommender?</h1>
<p class="muted">{escape(name)} · {_users(comparison)} · {len(comparison.runs)} runs · {made}</p>
<ul>{_headline(comparison)}</ul>
{_warnings(comparison)}
<nav><ul>{contents}</ul></nav>
{_METRICS.format(k=comparison.k)}
{body}
</main>
{pages}
"""
    write_text(workspace.report, page(f"musicrec · {name}", body))
    return workspace.report


def _metrics(comparison: Comparison) -> list[str]:
    """Returns the columns with NDCG first: a phone shows two without scrolling."""
    return [comparison.ndcg, *(metric for metric in comparison.metrics if metric != comparison.ndcg)]


def _users(comparison: Comparison) -> str:
    rows = comparison.comparison.groupby("split", sort=False)["users"].max()
    return ", ".join(f"{users:,} users in {escape(str(split))}" for split, users in rows.items())


def _warnings(comparison: Comparison) -> str:
    lines = "".join(f"<li>{escape(warning)}</li>" for warning in comparison.warnings)
    return f'<div class="warning"><b>Left out</b><ul>{lines}</ul></div>' if lines else ""


def _headline(comparison: Comparison) -> str:
    """Returns a line a recommender: its best embedding, and which ones are really worse."""
    lines = []
    for table in TABLES:
        rows = list(cells(comparison, table)) if len(comparison.shown(table)) else []
        if not rows:
            continue
        best, numbers, _ = rows[0]
        place = "is best with" if len(rows) > 1 else "is the only one, with"
        line = f"<b>{TITLES[table]}</b>: {escape(best)} {place} {comparison.ndcg} {numbers[-1].text()}"
        if others := [embedding for embedding, of_row, _ in rows[1:] if not of_row[-1].worse]:
            line += f"; not significantly worse: {escape(', '.join(others))}"
        elif len(rows) > 1:
            line += "; all others are significantly worse"
        lines.append(f"<li>{line}.</li>")
    return "".join(lines)


def _table_section(
    comparison: Comparison, plots: Mapping[str, Plot], stem: str, table: str, split: str
) -> tuple[str, str, str]:
    runs = dict(comparison.shown(table, split)[["embedding", "run"]].to_numpy())
    rows = [
        [_link(runs[embedding], embedding), *map(_number, [of_row[-1], *of_row[:-1]]), td(size)]
        for embedding, of_row, size in cells(comparison, table, split)
    ]
    table_of_means = grid(["embedding", *_metrics(comparison), "Size"], rows)
    figures = _figures(plots, [f"{kind}_{stem}" for kind in ("bars", "pairs", "ranks")])
    title = TITLES[table] if len(comparison.splits) == 1 else f"{TITLES[table]} · {split}"
    return stem, title, f'{table_of_means}<p class="muted">{escape(legend())}</p>{figures}'


def _others(comparison: Comparison) -> str:
    """Returns the table of the runs that no recommender's table shows, e.g. of foreign systems."""
    rows = []
    for row in comparison.shown(None).to_dict("records"):
        numbers = [Cell(row[metric], row[f"{metric} conf"], False, False) for metric in _metrics(comparison)]
        rows.append([_link(row["run"], row["run"]), *map(_number, numbers)])
    return grid(["run", *_metrics(comparison)], rows) if rows else ""


def _beyond(comparison: Comparison) -> str:
    columns = [column for column in beyond_columns(comparison.k) if column in comparison.comparison]
    if not columns:
        return ""
    rows = []
    for table in (*TABLES, None):
        for row in comparison.shown(table).to_dict("records"):
            numbers = [td("" if pd.isna(row[column]) else f"{row[column]:.3f}") for column in columns]
            name = f"{TITLES[table]} · {row['embedding']}" if table else row["run"]
            rows.append([_link(row["run"], name), *numbers])
    space = f", in the space of {comparison.diversity_space}" if comparison.diversity_space else ""
    return grid(["run", *columns], rows) + _BEYOND.format(space=escape(space))


def _seeds(comparison: Comparison) -> str:
    several = comparison.seeds[comparison.seeds["seeds"] > 1]
    rows = []
    for row in several.to_dict("records"):
        numbers = [Cell(row[metric], row[f"{metric} conf"], False, False) for metric in _metrics(comparison)]
        name = row["setting"] if len(comparison.splits) == 1 else f"{row['setting']} · {row['split']}"
        rows.append([f"<td>{breakable(name)}</td>", td(str(row["seeds"])), *map(_number, numbers)])
    if not rows:
        return ""
    text = (
        "Mean over seeds ± half-width of its 95 % interval: how far training noise moves the result "
        "(0 where nothing is random)."
    )
    return grid(["setting", "seeds", *_metrics(comparison)], rows) + f'<p class="muted">{text}</p>'


def _data(workspace: Workspace) -> str:
    """Returns a table of the splits."""
    rows = []
    order = ("train", VAL, "test", "hot_test")
    paths = workspace.data_dir.glob("[!.]*.pqt")
    for path in sorted(
        paths, key=lambda path: (order.index(path.stem) if path.stem in order else len(order), path.stem)
    ):
        pairs = read_pairs(path)
        counts = (len(pairs), pairs[USER].nunique(), pairs[TRACK].nunique())
        rows.append([td(path.stem), *(td(f"{count:,}") for count in counts)])
    return grid([SPLIT, "(user, track) pairs", "users", "tracks"], rows)


def _all_runs(comparison: Comparison) -> str:
    rows = []
    for row in comparison.comparison.to_dict("records"):
        val = row[f"{VAL} {comparison.ndcg}"]
        conf = row[f"{comparison.ndcg} conf"]
        rows.append(
            [
                _link(row["run"], row["run"]),
                td(row["split"]),
                _number(Cell(row[comparison.ndcg], conf, False, False)),
                td("" if pd.isna(val) else f"{val:.4f}"),
                td("✓" if row["shown"] else ""),
            ]
        )
    return grid(["run", "split", comparison.ndcg, f"{VAL} {comparison.ndcg}", "in a table"], rows)


def _run_page(workspace: Workspace, comparison: Comparison, plots: Mapping[str, Plot], name: str) -> str:
    """Returns the section that `#run-{name}` shows: metrics, training curves, configuration."""
    run = comparison.runs[name]
    rows = []
    for split, scores in comparison.scores[name].items():
        numbers = summary(scores)
        of_split = numbers[_metrics(comparison)].to_numpy().T
        rows.append([td(split), *(_number(Cell(mean, conf, False, False)) for mean, conf in of_split)])
    facts = {"recommender": run.recommender, "embedding": run.embedding, "size": run.size, "seed": run.seed}
    known = " · ".join(f"{key} {value}" for key, value in facts.items() if value not in (None, ""))
    config = workspace.run_dir(name) / "config.yaml"
    if config.is_file():
        settings = config.read_text(encoding="utf-8", errors="replace")
    else:
        settings = json.dumps(run.settings, indent=2, ensure_ascii=False) if run.settings else ""
    shown = f"<h2>Configuration</h2><pre>{escape(settings)}</pre>" if settings else "<p>No configuration is known.</p>"
    return f"""<section class="run" id="{_anchor(name)}">
<p><a href="#runs">← all runs</a></p>
<h1>{escape(name)}</h1>
<p class="muted">{escape(known)}</p>
{grid(["split", *_metrics(comparison)], rows)}
{_figures(plots, [f"curves_{name}"])}
{shown}
</section>
"""


def _figures(plots: Mapping[str, Plot], names: Iterable[str]) -> str:
    """Returns the plots that exist, as images inside the page."""
    figures = []
    for plot in (plots[name] for name in names if name in plots):
        data = base64.b64encode(plot.svg.read_bytes()).decode()
        image = f'<img alt="{escape(plot.alt)}" src="data:image/svg+xml;base64,{data}">'
        figures.append(f"<figure>{image}<figcaption>{escape(plot.caption)}</figcaption></figure>")
    return f'<div class="plots">{"".join(figures)}</div>' if figures else ""


def _number(cell: Cell) -> str:
    conf = "" if pd.isna(cell.conf) else f"<small>± {cell.conf:.4f}</small>"
    return f"<td{' class=best' if cell.best else ''}>{cell.mean:.4f}{' †' if cell.worse else ''}{conf}</td>"


def _link(run: str, text: str) -> str:
    return f'<td><a href="#{_anchor(run)}">{breakable(text)}</a></td>'


def _anchor(run: str) -> str:
    return "run-" + re.sub(r"[^\w.-]", "-", run)
