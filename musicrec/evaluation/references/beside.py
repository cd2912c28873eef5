"""Ours beside theirs: runs of a workspace next to published results, with the difference in both intervals."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from musicrec.evaluation.comparison import Comparison
from musicrec.evaluation.statistics.crossed import crossed
from musicrec.evaluation.statistics.seed_means import setting

# What the studies' code did with an embedding is an option of its own here.
_VARIANTS = re.compile(r"(_first|_24khz|_mean|_msd|_learnt)$")
_SPLITS = {"test": ("test", "hot_test"), "hot_test": ("hot_test", "test"), "cold_test": ("cold_test",)}
_RECOMMENDER = re.compile(r"_(paper|paper_text|paper_2026|corrected_2026)$")


def beside(comparison: Comparison, published: pd.DataFrame) -> pd.DataFrame:
    """Returns one row per published number that a run here corresponds to.

    Args:
        comparison: what `compare` returned. A setting run with several seeds counts as one, its interval being that
            over users and seeds; else the interval is over users.
        published: what `read_published` returned.

    Returns:
        The published columns, `split here`, `row` (in its table), `ours`, `ours conf` (half of the interval),
        `difference` (ours - theirs), `within` (the half-width of both intervals together, NaN without any), `verdict`.
    """
    rows = []
    for own in _settings(comparison):
        same = np.logical_and.reduce([published[key] == own[key] for key in ("recommender", "embedding", "control")])
        theirs = published[same & [own["split"] in _SPLITS.get(split, (split,)) for split in published["split"]]]
        for row in theirs.to_dict("records"):
            metric = f"{row['metric']}@{row['k']}"
            if metric not in own["means"]:
                continue
            mean, half = own["means"][metric]
            both = float(np.sqrt(np.nansum([row["conf"] ** 2, half**2])))
            both = both if both > 0 else float("nan")
            difference = mean - row["mean"]
            rows.append(
                {
                    **{str(key): value for key, value in row.items()},
                    "split here": own["split"],
                    "row": own["name"],
                    "ours": mean,
                    "ours conf": half,
                    "difference": difference,
                    "within": both,
                    "verdict": verdict(difference, both),
                }
            )
    return pd.DataFrame(rows)


def verdict(difference: float, both: float) -> str:
    """Returns whether two numbers agree within their intervals.

    >>> verdict(0.01, 0.02), verdict(0.03, 0.02), verdict(-0.03, 0.02), verdict(0.1, float("nan"))
    ('agrees', 'higher', 'lower', 'no interval')
    """
    if np.isnan(both):
        return "no interval"
    return "agrees" if abs(difference) <= both else "higher" if difference > 0 else "lower"


def _settings(comparison: Comparison) -> Iterator[dict[str, Any]]:
    """Yields each setting shown in a table: what it is called in the studies, and its means with half-widths."""
    by_setting: dict[str, list[str]] = {}
    for name, run in comparison.runs.items():
        by_setting.setdefault(setting(run), []).append(name)
    for split in comparison.splits:
        for table in comparison.titles:
            for row in comparison.shown(table, split).to_dict("records"):
                run = comparison.runs[str(row["run"])]
                names = [name for name in by_setting[setting(run)] if split in comparison.scores[name]]
                means = {}
                for metric in comparison.metrics(split):
                    scores = [comparison.scores[name][split][metric].to_numpy() for name in names]
                    mean = crossed(np.stack(scores, axis=1))
                    low, high = mean.interval()
                    means[metric] = (mean.mean, (high - low) / 2)
                words = run.info.vectors.removeprefix(run.info.embedding).split()
                if [word for word in words if word not in ("shuffled", "all")]:
                    continue  # transformed vectors have no counterpart in the studies
                name = _RECOMMENDER.sub("", run.info.recommender)
                yield {
                    "split": split,
                    "recommender": table.replace("_", " ") if name.startswith("bimodal") else name,
                    "embedding": _VARIANTS.sub("", run.info.embedding),
                    "control": "shuffled" if words else "real",
                    "name": str(row["row"]),
                    "means": means,
                }
