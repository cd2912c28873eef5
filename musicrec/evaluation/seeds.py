"""Several seeds of one setting: the mean over seeds and how far it can be trusted."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from musicrec.evaluation.confidence import half_width
from musicrec.evaluation.runs import Run

_DERIVED = re.compile(r"_s\d+_[0-9a-f]{8}$")  # what musicrec.training.run_name puts behind the settings


def setting(run: Run) -> str:
    """Returns a key that runs share if they differ by their seed alone; a foreign run is a setting of its own."""
    if not run.settings:
        return run.name
    return json.dumps([run.recommender, run.embedding, _without_seed(run.settings)], sort_keys=True, default=str)


def over_seeds(comparison: pd.DataFrame, runs: Mapping[str, Run], metrics: Iterable[str]) -> pd.DataFrame:
    """Returns one row a setting and split: number of seeds, the mean of the metrics over them, its 95 % half-width.

    The half-width, Student's t over the seeds' test means, says how much training noise moves the result; NaN for one
    seed. (The one of `comparison` says how much the choice of users does.)

    Args:
        comparison: one row a run and split, as in `Comparison.comparison`.
        runs: by name.
        metrics: column names.
    """
    metrics = list(metrics)
    rows: list[dict[str, Any]] = []
    keys = comparison["run"].map(lambda name: setting(runs[name]))
    for (_, split), group in comparison.groupby([keys, "split"], sort=False):
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
                "Size": first["Size"],
            }
        )
    return pd.DataFrame(rows)


def _without_seed(settings: Any) -> Any:
    if isinstance(settings, Mapping):
        return {key: _without_seed(value) for key, value in settings.items() if key != "seed"}
    return settings
