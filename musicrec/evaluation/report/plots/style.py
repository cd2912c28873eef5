"""Colours and matplotlib settings of all plots, which are drawn narrow enough to be read on a phone."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle

from cycler import cycler
from matplotlib import RcParams
from matplotlib.colors import Colormap, LinearSegmentedColormap

# Okabe & Ito's colours, which colour-blind readers can distinguish; without their yellow, too pale on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A4B94", "#6E6E6E")
INK, MUTED = "#222222", "#8a8a8a"
WIDTH = 3.8  # inches: on the width of a phone the font size below is read without zooming
WORSE_BETTER: Colormap = LinearSegmentedColormap.from_list("worse_better", ["#B35806", "#ffffff", "#2166AC"])
STYLE = RcParams(
    {
        "font.family": "sans-serif",
        "font.size": 8.5,
        "axes.titlesize": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": MUTED,
        "axes.labelcolor": INK,
        "axes.prop_cycle": cycler(color=PALETTE),
        "xtick.color": INK,
        "ytick.color": INK,
        "svg.fonttype": "none",  # text stays text: smaller, and found by search
        "svg.hashsalt": "musicrec",  # the same plot is the same file
        "figure.constrained_layout.use": True,
    }
)


def colors(names: Iterable[str]) -> dict[str, str]:
    """Returns name to colour; the same names have the same colours, in whatever order they come.

    >>> colors(["shallow", "bert"]) == colors(["bert", "shallow"])
    True
    """
    return dict(zip(sorted(set(names)), cycle(PALETTE), strict=False))
