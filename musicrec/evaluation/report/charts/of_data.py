"""Charts of the training data: popularity of tracks, activity of users."""

from __future__ import annotations

import numpy as np
import pandas as pd

from musicrec.columns import TRACK, USER
from musicrec.evaluation.report.charts.chart import Box, Chart, Rule, Series, placed, ticks_from_above
from musicrec.evaluation.report.charts.scale import Scale


def data_charts(train: pd.DataFrame) -> list[Chart]:
    """Returns the charts of the pairs of train; [] if there are none."""
    return [_popularity(train), _activity(train)] if len(train) else []


def _popularity(train: pd.DataFrame) -> Chart:
    """Returns users per track over the rank of the track, both axes logarithmic."""
    counts = np.sort(train[TRACK].value_counts().to_numpy())[::-1]
    x, y = Scale.of((1, max(len(counts), 2)), log=True, margin=0), Scale.of(counts, log=True)
    # Equal steps on a logarithmic axis: all tracks would be as many points.
    ranks = np.unique(np.geomspace(1, len(counts), 150).round().astype(int))
    points = [(float(rank), float(counts[rank - 1])) for rank in ranks]
    return Chart(
        title="Popularity of the tracks",
        summary=f"Users per track of {len(counts):,} tracks, the most played first: {counts[0]:,} to {counts[-1]:,}.",
        x_label=f"rank of the track ({len(counts):,} tracks)",
        note="users",
        x_ticks=x.ticks(6),
        y_ticks=ticks_from_above(y),
        series=[Series("users", None, placed(x, y, points))],
    )


def _activity(train: pd.DataFrame) -> Chart:
    """Returns a histogram of distinct tracks per user, on a logarithmic axis where they differ tenfold."""
    counts = train[USER].value_counts().to_numpy()
    low, high = int(counts.min()), int(counts.max()) + 1
    wide = high > 10 * low
    edges = np.unique((np.geomspace if wide else np.linspace)(low, high, 28).round())
    # A bin is drawn around its whole numbers: [30, 31) holds 30.
    borders, (numbers, _) = edges - 0.5, np.histogram(counts, edges - 0.5)
    x, y = Scale(float(borders[0]), float(borders[-1]), log=wide), Scale.of(numbers)
    boxes = []
    for left, right, number in zip(borders[:-1], borders[1:], numbers, strict=True):
        start, end = x.at(left), x.at(right)
        first, last = int(left + 0.5), int(right - 0.5)
        span = f"{first:,}" if first == last else f"{first:,} to {last:,}"
        boxes.append(Box(start, round(end - start, 2), y.at(number), f"{span} tracks: {number:,} users"))
    median = float(np.median(counts))
    return Chart(
        title="Activity of the users",
        summary=f"Distinct tracks per user of {len(counts):,} users: {low:,} to {high - 1:,}, median {median:,.0f}.",
        x_label=f"tracks per user ({len(counts):,} users)",
        note="users",
        x_ticks=x.ticks(6),
        y_ticks=ticks_from_above(y),
        boxes=boxes,
        rules=[Rule(x.at(median), f"median {median:,.0f}", "bar", vertical=True)],
    )
