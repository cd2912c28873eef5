"""Training curves of a run, from its metrics.csv."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from musicrec.evaluation.report.plots.style import MUTED, PALETTE, WIDTH

_COLORS = {"train/loss": MUTED, "val/loss": PALETTE[1]}


def read_curves(path: Path) -> pd.DataFrame:
    """Returns the loss columns of a run's metrics.csv, one row per epoch; empty if there are none."""
    if not path.is_file():
        return pd.DataFrame()
    try:
        frame = pd.read_csv(path)
    except (ValueError, OSError):  # empty or damaged: the run itself is fine
        return pd.DataFrame()
    losses = [column for column in _COLORS if column in frame]
    if "epoch" not in frame or not losses:
        return pd.DataFrame()
    frame = frame[["epoch", *losses]].apply(pd.to_numeric, errors="coerce")
    return frame.dropna(subset=["epoch"]).groupby("epoch")[losses].mean().dropna(how="all")


def training_curves(curves: pd.DataFrame) -> Figure:
    """Returns the losses over the epochs; `curves` is what `read_curves` returned."""
    figure = Figure(figsize=(WIDTH, 2.5))
    axes = figure.add_subplot()
    epochs = curves.index.to_numpy()
    for column in map(str, curves):
        axes.plot(epochs, curves[column], color=_COLORS[column], label=column)
    if "val/loss" in curves and curves["val/loss"].notna().any():
        losses = curves["val/loss"].to_numpy()
        best = np.nanargmin(losses)
        axes.plot(epochs[best], losses[best], "o", color=_COLORS["val/loss"], markersize=5)
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss")
    axes.legend(frameon=False)
    return figure
