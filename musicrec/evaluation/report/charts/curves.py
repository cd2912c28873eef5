"""Training curves of a run, read from its metrics.csv."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

LOSSES = ("train/loss", "val/loss")


def read_curves(path: Path) -> pd.DataFrame:
    """Returns a run's losses and, if it was measured while training, NDCG on val: a row per epoch; empty without any.

    Args:
        path: of metrics.csv.
    """
    if not path.is_file():
        return pd.DataFrame()
    try:
        frame = pd.read_csv(path)
    except (ValueError, OSError):  # empty or damaged: the run itself is fine
        return pd.DataFrame()
    columns = [column for column in frame if column in LOSSES or str(column).startswith("val/NDCG@")]
    if "epoch" not in frame or not columns:
        return pd.DataFrame()
    frame = frame[["epoch", *columns]].apply(pd.to_numeric, errors="coerce").dropna(subset=["epoch"])
    curves = frame.groupby("epoch")[columns].mean().dropna(how="all")
    # The metrics of the finished run are no curve.
    return curves[[column for column in columns if column in LOSSES or curves[column].count() > 1]]
