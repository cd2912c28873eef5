"""The part of the report about layers: a chart per embedding, a line per recommender, and the numbers."""

from __future__ import annotations

from typing import Any

import pandas as pd

from musicrec.evaluation.report.charts.chart import Chart, Point, Rule, Series, flipped, ticks_from_above
from musicrec.evaluation.report.charts.scale import Scale, Tick
from musicrec.evaluation.report.looks import COLORS, MARKERS, Look
from musicrec.evaluation.report.sections import Grid, GridCell

NOTE = (
    "One pass over the audio made all layers; 0 is what enters the first. Dashed: the best recommender without audio "
    "on the validation users. Choosing the best layer by these test numbers flatters it: choose by NDCG on val "
    "(comparison.csv)."
)
_APART = 4  # percent of the axis between two layers that are written


def layer_looks(table: pd.DataFrame) -> dict[str, Look]:
    """Returns the look of each recommender's line."""
    names = dict.fromkeys(table["recommender"])
    return {name: Look(number % COLORS, number % MARKERS) for number, name in enumerate(names)}


def layer_charts(table: pd.DataFrame) -> list[Chart]:
    """Returns NDCG by layer, one chart per embedding and test split.

    Args:
        table: what `layer_table` returned.
    """
    looks, charts = layer_looks(table), []
    for (split, embedding), rows in table.groupby(["split", "embedding"], sort=False):
        layers = sorted(set(rows["layer"]))
        levels = [*rows["chance"].dropna().unique(), *rows["bar_mean"].dropna().unique()]
        x = Scale.of(layers, from_zero=False, margin=0.03)
        y = Scale.of([*rows["low"], *rows["high"], *levels], from_zero=False, margin=0.06)
        series: list[Series] = []
        for name, line in rows.groupby("recommender", sort=False):
            points = [_point(dict(row), x, y) for _, row in line.iterrows()]
            plain = [Point(point.x, point.y) for point in points]
            series.append(Series(str(name), looks[str(name)], plain))
            series.append(Series(str(name), looks[str(name)], points, line=False))
        several = table["split"].nunique() > 1
        charts.append(
            Chart(
                title=f"{embedding} · {split}" if several else str(embedding),
                summary=f"{rows['metric'].iloc[0]} of each layer of {embedding}, a line per recommender.",
                x_label="layer",
                note=str(rows["metric"].iloc[0]),
                x_ticks=_ticks(layers, x),
                y_ticks=ticks_from_above(y),
                series=series,
                rules=_rules(rows, y),
            )
        )
    return charts


def layer_grid(table: pd.DataFrame) -> Grid:
    """Returns the numbers; the best layer of each line stands out."""
    best = table.groupby(["split", "embedding", "recommender"])["mean"].transform("max")
    rows = []
    for row, most in zip(table.to_dict("records"), best, strict=True):
        ends = f"{row['low']:.4f} to {row['high']:.4f}"
        number = GridCell(f"{row['mean']:.4f}", conf=ends, best=bool(row["mean"] == most))
        cells = [row["embedding"], row["recommender"], row["split"], str(row["layer"])]
        rows.append([*(GridCell(str(cell)) for cell in cells), number])
    metrics = "/".join(dict.fromkeys(table["metric"]))
    return Grid(["embedding", "recommender", "split", "layer", metrics], rows)


def _point(row: dict[str, Any], x: Scale, y: Scale) -> Point:
    title = f"{row['recommender']}, layer {row['layer']}: {row['mean']:.4f} ({row['low']:.4f} to {row['high']:.4f})"
    ends = [None if pd.isna(row[end]) else flipped(y, row[end]) for end in ("low", "high")]
    return Point(x.at(row["layer"]), flipped(y, row["mean"]), ends[0], ends[1], title)


def _rules(rows: pd.DataFrame, y: Scale) -> list[Rule]:
    """Returns the lines of the bars, of which a table that is a bar itself has another, and of chance."""
    bars = rows.dropna(subset=["bar_mean"]).drop_duplicates("bar")
    found = [Rule(flipped(y, mean), str(bar), "bar") for bar, mean in zip(bars["bar"], bars["bar_mean"], strict=True)]
    return [*found, *(Rule(flipped(y, float(level)), "chance") for level in rows["chance"].dropna().unique()[:1])]


def _ticks(layers: list[int], x: Scale) -> list[Tick]:
    """Returns a tick per layer, without those that are too close to the one before."""
    ticks: list[Tick] = []
    for layer in layers:
        if not ticks or x.at(layer) - ticks[-1].at > _APART:
            ticks.append(Tick(x.at(layer), str(layer)))
    return ticks
