"""Measures the five per-user metrics against rs-metrics, the package that defines them.

    python benchmarks/metrics.py                      # 8,000 users × 50, integer and text user ids
    python benchmarks/metrics.py --users 100_000

Every user has a list of `--length` distinct tracks and 1 to 30 held-out ones. Both get the same frames and return all
five metrics per user; the best of `--runs` runs counts. The results are compared before the times.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np
import pandas as pd
import rs_metrics

from musicrec.evaluation.metrics import metric_columns, per_user

TRACKS = 50_000
Result = TypeVar("Result")


def main() -> None:
    """Prints the times of both for integer and text user ids."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=8_000)
    parser.add_argument("--length", type=int, default=50)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    truth, predictions = made_up(options.users, options.length)
    print(f"{options.users:,} users × {options.length}, all five metrics, seconds")
    for kind in ("integer ids", "text ids"):
        if kind == "text ids":
            for frame in (truth, predictions):
                frame["user_id"] = "user_" + frame["user_id"].astype(str).str.zfill(9)
        given = (truth, predictions, options.length)
        ours, ours_took = timed(partial(per_user, *given), options.runs)
        theirs, theirs_took = timed(partial(reference, *given), max(1, options.runs // 2))
        np.testing.assert_allclose(ours[metric_columns(options.length)], theirs, rtol=0, atol=1e-12)
        print(
            f"{kind:12s} musicrec {ours_took:.3f}   rs-metrics {theirs_took:.3f}   ratio {theirs_took / ours_took:.0f}"
        )


def made_up(users: int, length: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns (truth, predictions); about a third of the held-out tracks are in the lists."""
    generator = np.random.default_rng(0)
    start = generator.integers(0, TRACKS, (users, 1))
    lists = (start + 7 * np.arange(length) + generator.integers(0, 7, (users, length))) % TRACKS
    predictions = pd.DataFrame(
        {
            "user_id": np.repeat(np.arange(users), length),
            "item_id": lists.ravel(),
            "rank": np.tile(np.arange(1, length + 1), users),
        }
    )
    held_out = generator.integers(1, 31, users)
    owners = np.repeat(np.arange(users), held_out)
    found = lists[owners, generator.integers(0, length, len(owners))]
    tracks = np.where(generator.random(len(owners)) < 1 / 3, found, generator.integers(0, TRACKS, len(owners)))
    return pd.DataFrame({"user_id": owners, "track_id": tracks}).drop_duplicates(ignore_index=True), predictions


def reference(truth: pd.DataFrame, predictions: pd.DataFrame, k: int) -> np.ndarray:
    """Returns (users, 5) from rs-metrics; its conversion to dictionaries, done once, is part of the time."""
    truth_of, lists = (
        frame.groupby("user_id")[item].agg(list).to_dict()
        for frame, item in ((truth, "track_id"), (predictions, "item_id"))
    )
    metrics = (rs_metrics.hitrate, rs_metrics.mrr, rs_metrics.precision, rs_metrics.recall, rs_metrics.ndcg)
    return np.array([metric(truth_of, lists, k=k, apply_mean=False) for metric in metrics]).T


def timed(work: Callable[[], Result], runs: int) -> tuple[Result, float]:
    """Returns the result and the shortest time of some runs."""
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - started)
    return result, min(times)


if __name__ == "__main__":
    main()
