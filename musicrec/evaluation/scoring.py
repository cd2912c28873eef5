"""Scores one run: per-user metrics of each split, written to metrics/."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from musicrec.columns import SPLIT
from musicrec.evaluation.confidence import summary
from musicrec.evaluation.cutoffs import Cutoffs
from musicrec.evaluation.metrics import per_user
from musicrec.files import atomic_path, write_parquet
from musicrec.workspace import Workspace


def split_rows(predictions: pd.DataFrame, split: str) -> pd.DataFrame | None:
    """Returns the rows meant for a split: all if there is no `split` column, None if the column never names it."""
    if SPLIT not in predictions:
        return predictions
    rows = predictions[predictions[SPLIT] == split]
    return rows if len(rows) else None


def score_run(
    workspace: Workspace,
    run: str,
    truth: Mapping[str, pd.DataFrame],
    predictions: pd.DataFrame,
    k: int | Cutoffs,
    metadata: Mapping[str, Any] | None = None,
) -> dict[str, pd.DataFrame]:
    """Returns the per-user metrics of each split, and writes metrics/{run}_{split}.pqt and .csv.

    Args:
        workspace: where the files go.
        run: the run's name.
        truth: split name (all but train) to user_id, track_id, ...; a split without rows is left out.
        predictions: user_id, item_id, rank; with a `split` column each split is scored on its own rows, and left out
            if it has none.
        k: the cutoff, or one per split.
        metadata: stored in the .pqt, usually that of the predictions (`PredictionInfo.to_json`).

    Raises:
        MusicrecError: predictions that cannot be scored (`ranked_lists`).
    """
    scores = {}
    cutoffs = Cutoffs.of(k)
    for split, frame in truth.items():
        rows = split_rows(predictions, split)
        if rows is None or frame.empty:
            continue
        scores[split] = per_user(frame, rows, cutoffs.at(split))
        write_parquet(scores[split], workspace.metrics(run, split), {**(metadata or {}), "k": cutoffs.at(split)})
        with atomic_path(workspace.metrics(run, split, "csv")) as temporary:
            summary(scores[split]).to_csv(temporary)
    return scores
