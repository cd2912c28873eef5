"""Plot of NDCG in groups of users and popularity bins: who is served by which embedding."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from musicrec.evaluation.report.plots.style import INK, MUTED, WIDTH

_SPREAD = 0.5  # of the distance between two groups, over which the points of one group are spread


def group_panels(
    rows: pd.DataFrame, metric: str, colors: Mapping[str, str], markers: Mapping[str, str] | None = None
) -> Figure:
    """Returns one panel per grouping: the mean and its interval of every system in every group, chance dotted.

    Args:
        rows: columns by, group, row, users, chance, `metric` and `{metric} conf`; groups in their order.
        metric: column name.
        colors: row to the colour of its points; rows without one, those without audio, are grey.
        markers: row to the marker of its points; rows without one have a dot.
    """
    groupings = list(dict.fromkeys(rows["by"]))
    figure = Figure(figsize=(WIDTH, 0.9 + 1.75 * len(groupings)))
    panels = figure.subplots(len(groupings), squeeze=False)[:, 0]
    names = list(dict.fromkeys(rows["row"]))
    for by, axes in zip(groupings, panels, strict=True):
        own = rows[rows["by"] == by]
        groups = list(dict.fromkeys(own["group"]))
        users = own.groupby("group", sort=False)["users"].first()
        for number, name in enumerate(names):
            of_row = own[own["row"] == name].set_index("group").reindex(groups)
            shift = (number - (len(names) - 1) / 2) * _SPREAD / max(len(names) - 1, 1)
            axes.errorbar(
                [place + shift for place in range(len(groups))],
                of_row[metric],
                yerr=of_row[f"{metric} conf"].fillna(0),
                fmt=(markers or {}).get(name, "o"),
                markersize=3.5,
                elinewidth=1,
                color=colors.get(name, MUTED),
                label=name,
            )
        chance = own.groupby("group", sort=False)["chance"].first()
        for place, group in enumerate(groups):
            axes.hlines(chance[group], place - 0.4, place + 0.4, color=INK, lw=1, ls=":")
        axes.set_xticks(range(len(groups)), [f"{group}\n{users[group]:,}" for group in groups])
        axes.set_xlim(-0.5, len(groups) - 0.5)
        axes.set_ylim(bottom=0)
        axes.locator_params(axis="y", nbins=4)
        axes.set_title(by, loc="left")
        axes.set_ylabel(metric)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=7)
    return figure
