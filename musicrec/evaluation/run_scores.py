"""Per-user metrics of a run: read for the last lines of its log, and made again where they are damaged."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd

from musicrec.columns import USER
from musicrec.data.interactions import SplitData
from musicrec.evaluation.confidence import half_width
from musicrec.evaluation.cutoffs import Cutoffs
from musicrec.evaluation.scoring import score_run, split_rows
from musicrec.files import parquet_damage, parquet_metadata
from musicrec.workspace import Workspace

log = logging.getLogger(__name__)


def final_metrics(workspace: Workspace, name: str, data: SplitData) -> dict[str, float]:
    """Returns {"val/NDCG@50": mean over users, ...} from the per-user files; a split without users has none."""
    final = {}
    for split in data.truth:
        if workspace.metrics(name, split).is_file():
            means = pd.read_parquet(workspace.metrics(name, split)).drop(columns=USER).mean()
            final.update({f"{split}/{column}": float(value) for column, value in means.items()})
    return final


def intervals(workspace: Workspace, name: str, data: SplitData) -> dict[str, float]:
    """Returns {"val/NDCG@50 conf95": half-width of the 95 % interval of the mean over users, ...}."""
    widths = {}
    for split in data.truth:
        if workspace.metrics(name, split).is_file():
            scores = pd.read_parquet(workspace.metrics(name, split)).drop(columns=USER)
            found = zip(scores.columns, half_width(scores.to_numpy()), strict=True)
            widths.update({f"{split}/{column} conf95": float(width) for column, width in found if np.isfinite(width)})
    return widths


def complete_metrics(workspace: Workspace, name: str, data: SplitData, k: Cutoffs) -> None:
    """Scores a finished run again if a file of metrics is missing or damaged; its predictions must be readable."""
    paths = {split: workspace.metrics(name, split) for split, truth in data.truth.items() if len(truth)}
    broken = [split for split, path in paths.items() if not path.is_file() or parquet_damage(path)]
    if not broken:
        return
    path = workspace.predictions(name)
    lists = pd.read_parquet(path)
    broken = [split for split in broken if split_rows(lists, split) is not None]  # without lists there are no metrics
    if broken:
        log.warning("%s is missing or damaged; scoring the run again", paths[broken[0]])
        score_run(workspace, name, data.truth, lists, k, parquet_metadata(path))


def report(workspace: Workspace, name: str, data: SplitData, k: int) -> float | None:
    """Logs the final means in one line per split; returns the val NDCG@k, None without val users."""
    final = final_metrics(workspace, name, data)
    for split in data.truth:
        values = [f"{key.split('/')[1]} {value:.4f}" for key, value in final.items() if key.startswith(f"{split}/")]
        if values:
            log.info("%s  %-9s  %s", name, split, "  ".join(values))
    return final.get(f"val/NDCG@{k}")
