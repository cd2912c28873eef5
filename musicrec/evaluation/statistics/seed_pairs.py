"""Pairs of rows of a table over several seeds: differences that hold for other users and other seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from musicrec.evaluation.cutoffs import Cutoffs
from musicrec.evaluation.metrics import metric_columns
from musicrec.evaluation.results import Scores, shown_rows
from musicrec.evaluation.runs import Run
from musicrec.evaluation.statistics.bars import bar_rows
from musicrec.evaluation.statistics.crossed import Crossed, crossed
from musicrec.evaluation.statistics.equivalence import MARGIN
from musicrec.evaluation.statistics.seed_means import setting
from musicrec.evaluation.statistics.significance import holm

COLUMNS = (
    *("table", "split", "metric", "first", "second", "seeds first", "seeds second"),
    *("difference", "low", "high", "p", "detectable", "margin", "p_equivalence"),
)


def seed_pairs(
    results: pd.DataFrame,
    runs: Mapping[str, Run],
    tables: Sequence[str],
    scores: Mapping[str, Scores],
    splits: Sequence[str],
    cutoffs: Cutoffs,
    margin: float = MARGIN,
) -> pd.DataFrame:
    """Returns one row per pair of rows of a table, its bar included, of which at least one has several seeds.

    Both are the settings that the table shows, with all their seeds. Differences are taken seed by seed, in the order
    of the seeds, as many as both have. A row with a single run is taken as it is: where training has noise, that of
    this row is not in the interval. The p values are Holm-corrected within each table, split and metric.

    Args:
        results: what `results_frame` returned.
        runs: by name.
        tables: names of tables.
        scores: run name to per-user metrics.
        splits: the test splits.
        cutoffs: of the metrics.
        margin: share of the better mean below which a difference does not matter.
    """
    settings = {name: setting(run) for name, run in runs.items()}
    frames = [pd.DataFrame(columns=[*COLUMNS])]
    for split in splits:
        measured = results.loc[results["split"] == split, ["run", "seed"]].sort_values("seed", kind="stable")
        by_setting = measured.groupby(measured["run"].map(settings), sort=False)["run"].apply(list)
        for table in tables:
            shown = pd.concat([shown_rows(results, table, split), bar_rows(results, table, split)[:1]])
            rows = {row: by_setting[settings[run]] for row, run in zip(shown["row"], shown["run"], strict=True)}
            for metric in metric_columns(cutoffs.at(split)):
                pairs = [
                    _row({"table": table, "split": split, "metric": metric}, names, rows, scores, margin)
                    for names in combinations(rows, 2)
                    if max(len(rows[name]) for name in names) > 1
                ]
                frame = pd.DataFrame(pairs, columns=[*COLUMNS])
                for column in ("p", "p_equivalence"):
                    frame[column] = holm(frame[column].to_numpy(np.float64))
                frames.append(frame)
    return pd.concat([frame for frame in frames if len(frame)] or frames, ignore_index=True)


def of_seeds(first: np.ndarray, second: np.ndarray) -> Crossed:
    """Returns the mean difference of two systems.

    Args:
        first: (users, seeds) scores.
        second: (users, seeds) scores of the same users; where one has a single column, it stands beside all of the
            other's, else the first so many seeds of both are compared.
    """
    count = max(first.shape[1], second.shape[1]) if 1 in (first.shape[1], second.shape[1]) else None
    count = count or min(first.shape[1], second.shape[1])
    return crossed(first[:, :count] - second[:, :count])


def _row(
    keys: Mapping[str, str],
    names: tuple[str, str],
    rows: Mapping[str, Sequence[str]],
    scores: Mapping[str, Scores],
    margin: float,
) -> dict[str, Any]:
    """Returns the row of a pair."""
    first, second = (
        np.stack([scores[run][keys["split"]][keys["metric"]].to_numpy() for run in rows[name]], axis=1)
        for name in names
    )
    difference = of_seeds(first, second)
    low, high = difference.interval()
    absolute = margin * max(abs(float(first.mean())), abs(float(second.mean())))
    return {
        **keys,
        "first": names[0],
        "second": names[1],
        "seeds first": first.shape[1],
        "seeds second": second.shape[1],
        "difference": difference.mean,
        "low": low,
        "high": high,
        "p": difference.p_value(),
        "detectable": difference.detectable(),
        "margin": absolute,
        "p_equivalence": difference.p_equivalence(absolute),
    }
