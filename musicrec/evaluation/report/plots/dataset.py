"""Plots of the training data: popularity of tracks, activity of users."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from musicrec.columns import TRACK, USER
from musicrec.evaluation.report.plots.style import INK, PALETTE, WIDTH


def popularity(train: pd.DataFrame) -> Figure:
    """Returns users per track over the rank of the track, log-log."""
    counts = np.sort(train[TRACK].value_counts().to_numpy())[::-1]
    figure = Figure(figsize=(WIDTH, 2.6))
    axes = figure.add_subplot()
    axes.loglog(np.arange(1, len(counts) + 1), counts, color=PALETTE[0])
    axes.set_xlabel(f"rank of the track ({len(counts):,} tracks)")
    axes.set_ylabel("users")
    axes.grid(color="#eeeeee")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,.0f}")
    return figure


def activity(train: pd.DataFrame) -> Figure:
    """Returns a histogram of distinct tracks per user, on a logarithmic axis where they differ tenfold."""
    counts = train[USER].value_counts().to_numpy()
    figure = Figure(figsize=(WIDTH, 2.6))
    axes = figure.add_subplot()
    low, high = int(counts.min()), int(counts.max()) + 1
    wide = high > 10 * low
    bins = np.unique((np.geomspace if wide else np.linspace)(low, high, 28).round())
    # A bin is drawn around its whole numbers: [30, 31) holds 30.
    axes.hist(counts, bins=(bins - 0.5).tolist(), color=PALETTE[0])
    axes.axvline(float(np.median(counts)), color=INK, lw=1)
    if wide:
        axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel(f"tracks per user (median {np.median(counts):,.0f}; {len(counts):,} users)")
    axes.set_ylabel("users")
    return figure
