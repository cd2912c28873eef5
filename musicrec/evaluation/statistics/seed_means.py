"""Means over the seeds of one setting, with the intervals that training noise alone, and users and seeds, cause."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from musicrec.evaluation.confidence import half_width
from musicrec.evaluation.results import Scores
from musicrec.evaluation.runs import Run
from musicrec.evaluation.statistics.crossed import crossed

_DERIVED = re.compile(r"_s\d+_[0-9a-f]{8}$")  # the end of a run name that musicrec.training.run_name derived


def setting(run: Run) -> str:
    """Returns a key that runs share if only their seeds differ; a foreign run is a setting of its own."""
    if not run.info.settings:
        return run.name
    key = [run.info.recommender, run.info.embedding, _without_seed(run.info.settings)]
    return json.dumps(key, sort_keys=True, default=str)


def seed_means(
    results: pd.DataFrame, runs: Mapping[str, Run], metrics: Iterable[str], scores: Mapping[str, Scores]
) -> pd.DataFrame:
    """Returns one row per setting and split: number of seeds, the metrics' means over them and 95 % intervals.

    The half-width `{metric} conf`, Student's t over the seeds' test means, says how much training noise moves the
    result; NaN for one seed. (That of `results` says how much the choice of users does.) The ends `{metric} low` and
    `{metric} high` are those of the interval for other users and other seeds together (`crossed`).

    Args:
        results: one row per run and split, as in `Comparison.results`.
        runs: by name.
        metrics: column names.
        scores: run name to per-user metrics.
    """
    metrics = list(metrics)
    rows: list[dict[str, Any]] = []
    keys = results["run"].map(lambda name: setting(runs[name]))
    for (_, split), group in results.groupby([keys, "split"], sort=False):
        first = group.iloc[0]
        conf = half_width(group[metrics].to_numpy())
        rows.append(
            {
                "setting": _DERIVED.sub("", min(group["run"])),
                **first[["table", "recommender", "embedding"]],
                "split": split,
                "seeds": len(group),
                **group[metrics].mean(),
                **{f"{metric} conf": value for metric, value in zip(metrics, conf, strict=True)},
                **_ends([scores[run][str(split)] for run in group["run"]], metrics),
                "Size": first["Size"],
            }
        )
    return pd.DataFrame(rows)


def _ends(seeds: Sequence[pd.DataFrame], metrics: Iterable[str]) -> dict[str, float]:
    """Returns both ends of the interval over users and seeds, for the metrics that the frames of scores have."""
    ends: dict[str, float] = {}
    for metric in (metric for metric in metrics if metric in seeds[0]):
        low, high = crossed(np.stack([frame[metric].to_numpy() for frame in seeds], axis=1)).interval()
        ends |= {f"{metric} low": low, f"{metric} high": high}
    return ends


def _without_seed(settings: object) -> object:
    """Returns settings without the keys called `seed`, at every level."""
    if isinstance(settings, Mapping):
        return {key: _without_seed(value) for key, value in settings.items() if key != "seed"}
    return settings
