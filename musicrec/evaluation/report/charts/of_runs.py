"""Charts of training: losses and validation metric of a run over its epochs."""

from __future__ import annotations

import math

import pandas as pd

from musicrec.evaluation.report.charts.chart import MOST_POINTS, Chart, Point, Series, flipped, placed, ticks_from_above
from musicrec.evaluation.report.charts.curves import LOSSES
from musicrec.evaluation.report.charts.scale import Scale
from musicrec.evaluation.report.looks import Look


def training_charts(curves: pd.DataFrame, look: Look | None, most: int = MOST_POINTS) -> list[Chart]:
    """Returns a chart of the losses, and one of NDCG if that was measured while training.

    Args:
        curves: what `read_curves` returned.
        look: of the run's embedding.
        most: points of a line.
    """
    losses = [column for column in LOSSES if column in curves]
    others = [str(column) for column in curves if column not in LOSSES]
    charts = [_chart("Loss", curves[losses], look, most, lowest=True)] if losses else []
    return [*charts, *(_chart(column, curves[[column]], look, most, lowest=False) for column in others)]


def _chart(title: str, curves: pd.DataFrame, look: Look | None, most: int, *, lowest: bool) -> Chart:
    """Returns a chart with a line per column; the best value of the last one has a dot."""
    epochs = [float(epoch) for epoch in curves.index]
    x = Scale(min(epochs), max(epochs)) if max(epochs) > min(epochs) else Scale(min(epochs) - 0.5, max(epochs) + 0.5)
    y = Scale.of(curves.to_numpy(float).ravel(), from_zero=False, margin=0.08)
    series, known = [], []
    for column in map(str, curves):
        values = zip(epochs, curves[column].tolist(), strict=True)
        known = [(epoch, value) for epoch, value in values if math.isfinite(value)]
        muted = column == LOSSES[0] and len(curves.columns) > 1
        if known:
            series.append(Series(column, look, placed(x, y, known, most), muted=muted))
    note = ", ".join(f"{each.name} (grey)" if each.muted else each.name for each in series if len(series) > 1)
    summary = f"{title} over the epochs."
    if known:  # of the last column
        epoch, value = (min if lowest else max)(known, key=lambda pair: pair[1])
        said = f"epoch {epoch:g}: {value:.4g}"
        point = Point(x.at(epoch), flipped(y, value), title=said)
        series.append(Series("lowest" if lowest else "highest", look, [point], line=False))
        summary += f" {'Lowest' if lowest else 'Highest'} {curves.columns[-1]} at {said}."
    return Chart(
        title=title,
        summary=summary,
        x_label="epoch",
        note=note,
        x_ticks=[tick for tick in x.ticks(4) if "." not in tick.text],
        y_ticks=ticks_from_above(y),
        series=series,
    )
