"""Controls: runs with real vectors against runs of the same settings and seed with shuffled ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from musicrec.columns import USER
from musicrec.evaluation.results import Scores
from musicrec.evaluation.runs import Run
from musicrec.evaluation.statistics.equivalence import MARGIN
from musicrec.evaluation.statistics.significance import ALPHA, P_VALUES, PAIRED, holm, paired_tests
from musicrec.evaluation.truth import VAL

_COLUMNS = (
    *("table", "split", "metric", "recommender", "embedding", "control", "seed", "run", "control run"),
    *("real", "shuffled", "gain %", *PAIRED, "better"),
)

# What the runs of a pair must have read alike.
_INPUTS = ("tracks", "tracks_hash", "splits", "embedding", "artists")


def controls(runs: Mapping[str, Run], scores: Mapping[str, Scores], margin: float = MARGIN) -> pd.DataFrame:
    """Returns one row per pair of a real and a shuffled run, test split and metric.

    A pair has the same recommender, inputs and settings, the seed included, but for `embedding.shuffle`. A real run
    whose seed has no control is compared with that of the nearest seed. It has two rows if there are controls with
    `shuffle=true` and with `shuffle=all`.

    Args:
        runs: by name; foreign ones have no settings and no pairs.
        scores: run name to split to per-user metrics.
        margin: see `paired_tests`.

    Returns:
        What was compared (`control` is `shuffled` or `shuffled all`, with its seed if that is another), the means
        `real` and `shuffled`, the gain over shuffled in % (NaN where that scores 0), the columns of `paired_tests`,
        p values Holm-corrected over all pairs of a split and metric, and `better`: whether the real run is
        significantly better.
    """
    found = pd.DataFrame(
        [
            {**row, **numbers}
            for real, control in _pairs(runs)
            for row, numbers in _compared(runs[real], runs[control], scores[real], scores[control], margin)
        ],
        columns=[column for column in _COLUMNS if column != "better"],
    )
    for _, group in found.groupby(["split", "metric"], sort=False):
        for column in P_VALUES:
            found.loc[group.index, column] = holm(group[column].to_numpy(np.float64))
    better = (found["difference"].astype(float) > 0) & (found["p_t"].astype(float) < ALPHA)
    return found.assign(better=better).astype({"seed": "Int64"})


def no_better(found: pd.DataFrame, split: str, metric: str) -> set[str]:
    """Returns the runs that are not significantly better than one of their controls.

    Args:
        found: what `controls` returned.
        split: test split.
        metric: column name.
    """
    rows = found[(found["split"] == split) & (found["metric"] == metric) & ~found["better"]]
    return set(rows["run"])


def _pairs(runs: Mapping[str, Run]) -> list[tuple[str, str]]:
    """Returns (real run, its control), in the order of their names."""
    found: dict[bool, dict[str, list[str]]] = {True: {}, False: {}}
    for name, run in runs.items():
        embedding = run.info.settings.get("embedding")
        if not run.foreign and isinstance(embedding, Mapping):
            found[bool(embedding.get("shuffle"))].setdefault(_key(run, embedding), []).append(name)
    real, shuffled = found[False], found[True]
    return [
        (name, control)
        for key, names in real.items()
        for name in names
        for control in _nearest(runs, name, shuffled.get(key, []))
    ]


def _nearest(runs: Mapping[str, Run], real: str, controls: list[str]) -> list[str]:
    """Returns the controls of a run, one per kind of shuffle: of the same seed, else of the nearest (the lower one)."""
    wanted = runs[real].info.seed or 0
    chosen: dict[str, str] = {}
    order = {name: (abs((runs[name].info.seed or 0) - wanted), runs[name].info.seed or 0) for name in controls}
    for name in sorted(controls, key=lambda each: order[each]):
        chosen.setdefault(str(runs[name].info.settings["embedding"]["shuffle"]), name)
    return [name for name in controls if name in chosen.values()]


def _key(run: Run, embedding: Mapping[str, Any]) -> str:
    """Returns what a run shares with its controls of all seeds."""
    info = run.info
    without = {key: value for key, value in embedding.items() if key != "shuffle"}
    settings = {key: value for key, value in info.settings.items() if key != "seed"} | {"embedding": without}
    # What was made from the seed, as the ELSA of a bimodal, differs between seeds.
    inputs = {key: info.inputs.get(key) for key in _INPUTS}
    return json.dumps([info.recommender, info.embedding, inputs, settings], sort_keys=True, default=str)


def _compared(
    real: Run, control: Run, real_scores: Scores, control_scores: Scores, margin: float
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Returns what is compared and the numbers, one pair per test split and metric."""
    rows = []
    kind = "shuffled all" if control.info.settings["embedding"]["shuffle"] == "all" else "shuffled"
    for split in real_scores:
        if split == VAL or split not in control_scores:
            continue
        first, second = (frame.drop(columns=USER) for frame in (real_scores[split], control_scores[split]))
        tests = paired_tests(first.to_numpy(), second.to_numpy(), margin)
        for number, metric in enumerate(first.columns):
            means = float(first[metric].mean()), float(second[metric].mean())
            what = {
                "table": real.info.table,
                "split": split,
                "metric": metric,
                "recommender": real.info.recommender,
                "embedding": real.info.vectors,
                "control": kind + ("" if control.info.seed == real.info.seed else f" (seed {control.info.seed})"),
                "seed": real.info.seed,
                "run": real.name,
                "control run": control.name,
            }
            gain = 100 * (means[0] / means[1] - 1) if means[1] else float("nan")
            numbers = {"real": means[0], "shuffled": means[1], "gain %": gain}
            rows.append((what, numbers | {name: values[number] for name, values in tests.items()}))
    return rows
