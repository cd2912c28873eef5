"""Plot of NDCG by layer of an embedding: a line per recommender, the bar and chance."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from musicrec.evaluation.report.plots.style import INK, MARKERS, WIDTH


def layer_panels(table: pd.DataFrame) -> Figure:
    """Returns one panel per embedding and test split, with the intervals of every layer.

    Args:
        table: what `layers.layer_table` returned.
    """
    parts = list(table.groupby(["split", "embedding"], sort=False))
    figure = Figure(figsize=(WIDTH, 0.7 + 2.2 * len(parts)))
    names = list(dict.fromkeys(table["recommender"]))
    panels = figure.subplots(len(parts), squeeze=False)[:, 0]
    for ((split, embedding), rows), axes in zip(parts, panels, strict=True):
        for name, line in rows.groupby("recommender", sort=False):
            number = names.index(name)
            errors = [line["mean"] - line["low"], line["high"] - line["mean"]]
            style = {"color": f"C{number}", "marker": MARKERS[number % len(MARKERS)], "markersize": 3.5, "lw": 1.2}
            axes.errorbar(line["layer"], line["mean"], yerr=errors, elinewidth=0.8, label=str(name), **style)
        for bar, mean in rows.dropna(subset=["bar_mean"]).drop_duplicates("bar")[["bar", "bar_mean"]].to_numpy():
            axes.axhline(mean, color=INK, lw=0.8, ls="--", zorder=1)
            axes.annotate(str(bar), (1, mean), xycoords=("axes fraction", "data"), fontsize=7, va="bottom", ha="right")
        for level in rows["chance"].dropna().unique()[:1]:
            axes.axhline(level, color=INK, lw=0.8, ls=":", zorder=1)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(f"{embedding} · {split}" if table["split"].nunique() > 1 else str(embedding), loc="left")
        axes.set_xlabel("layer")
        axes.set_ylabel(str(rows["metric"].iloc[0]))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=7)
    return figure
