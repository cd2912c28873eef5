"""The pages of single runs inside the report: metrics, training curves, configuration."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from musicrec.evaluation.comparison import Comparison
from musicrec.evaluation.confidence import summary
from musicrec.evaluation.report.charts.chart import MOST_POINTS
from musicrec.evaluation.report.charts.curves import read_curves
from musicrec.evaluation.report.charts.of_runs import training_charts
from musicrec.evaluation.report.grids import Names, ndcg_first, number
from musicrec.evaluation.report.sections import Configuration, Grid, GridCell, RunPage, SharedPage
from musicrec.evaluation.report.tables import Cell
from musicrec.workspace import Workspace

_LEAST_POINTS, _POINTS = 30, 12_000  # of a training curve, and of all together: the page stays small enough to mail
_FEWEST = 2  # runs of a recommender from which on what they share is shown once


def run_pages(workspace: Workspace, comparison: Comparison, names: Names) -> tuple[list[RunPage], list[SharedPage]]:
    """Returns the page of each run, and a page per recommender of the settings that all its runs share.

    Args:
        workspace: runs/{run}/config.yaml and metrics.csv are shown where they exist.
        comparison: what `compare` returned.
        names: anchors and looks of the runs.
    """
    texts = {run: _configuration(workspace, comparison, run) for run in comparison.runs}
    shared, configurations = _shared(comparison, texts)
    pages = [_page(workspace, comparison, names, run, configurations[run]) for run in comparison.runs]
    return pages, shared


def _page(
    workspace: Workspace, comparison: Comparison, names: Names, name: str, configuration: Configuration
) -> RunPage:
    """Returns the page of a run."""
    info = comparison.runs[name].info
    rows = []
    for split, scores in comparison.scores[name].items():
        means = summary(scores)[ndcg_first(comparison.metrics(split))].to_numpy().T
        rows.append([GridCell(split), *(number(Cell(mean, conf)) for mean, conf in means)])
    facts = {"recommender": info.recommender, "embedding": info.vectors, "size": info.size, "seed": info.seed}
    curves = read_curves(workspace.run_dir(name) / "metrics.csv")
    found = {workspace.run_dir(name) / file: file for file in ("config.yaml", "metrics.csv")}
    found |= {workspace.metrics(name, split, "csv"): f"{split}.csv" for split in comparison.scores[name]}
    most = max(_LEAST_POINTS, min(MOST_POINTS, _POINTS // len(comparison.runs)))
    return RunPage(
        anchor=names.anchors[name],
        name=name,
        look=names.look(name),
        facts=[f"{key} {value}" for key, value in facts.items() if value not in (None, "")],
        grid=Grid(["split", *ndcg_first(comparison.metrics())], rows),
        charts=training_charts(curves, names.look(name), most) if len(curves) > 1 else [],
        configuration=configuration,
        files=[names.file(path, text) for path, text in found.items() if path.is_file()],
    )


def _configuration(workspace: Workspace, comparison: Comparison, run: str) -> str:
    """Returns the configuration of a run as YAML, or the settings in its predictions; empty if nothing is known."""
    path = workspace.run_dir(run) / "config.yaml"
    if path.is_file():
        return path.read_text(encoding="utf-8", errors="replace")
    settings = comparison.runs[run].info.settings
    return json.dumps(settings, indent=2, ensure_ascii=False) if settings else ""


def _shared(comparison: Comparison, texts: Mapping[str, str]) -> tuple[list[SharedPage], dict[str, Configuration]]:
    """Returns the pages of shared settings, and run to its own settings.

    Args:
        comparison: what `compare` returned.
        texts: run to its configuration, YAML or JSON.
    """
    configurations = {run: Configuration(text) for run, text in texts.items()}
    settings = {run: _settings(text, run) for run, text in texts.items()}
    recommenders: dict[str, list[str]] = {}
    for run, found in settings.items():
        if found:
            recommenders.setdefault(comparison.runs[run].info.recommender, []).append(run)
    pages: list[SharedPage] = []
    for runs in recommenders.values():
        if len(runs) < _FEWEST:
            continue
        first = settings[runs[0]]
        common = {key: value for key, value in first.items() if all(settings[run].get(key) == value for run in runs)}
        anchor = f"settings-{len(pages) + 1}"
        title = f"{comparison.title(runs[0])}: what all {len(runs)} runs share"
        pages.append(SharedPage(anchor, title, _lines(common)))
        for run in runs:
            own = {key: value for key, value in settings[run].items() if key not in common}
            configurations[run] = Configuration(_lines(own), anchor)
    return pages, configurations


def _settings(text: str, run: str) -> dict[str, str]:
    """Returns dotted key to value of a configuration, the run's name in a value as `${run_name}`; {} if damaged."""
    try:
        content = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        found = dict(_flat(content, "")) if isinstance(content, dict) else {}
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return {key: value if key == "run_name" else value.replace(run, "${run_name}") for key, value in found.items()}


def _flat(content: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, str]]:
    """Yields dotted key and value of every leaf."""
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value, default=str)


def _lines(settings: Mapping[str, str]) -> str:
    """Returns a line per setting."""
    return "\n".join(f"{key}: {value}" for key, value in settings.items())
