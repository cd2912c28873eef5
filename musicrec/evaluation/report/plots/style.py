"""Colours and matplotlib settings of all plots, which are drawn narrow enough to be read on a phone."""

from __future__ import annotations

from cycler import cycler
from matplotlib import RcParams
from matplotlib.colors import Colormap, LinearSegmentedColormap, to_hex, to_rgb

from musicrec.evaluation.report.looks import GREY, Look

# Colours that stay apart for colour-blind readers too: at least 0.14 in OKLab, also as deuteranopes and protanopes see
# them (Machado et al. 2009), and three times as dark as the paper. The report's style sheet has the same, and lighter
# ones for dark screens.
PALETTE = ("#1745c2", "#db6b25", "#4d9f9c", "#45266e", "#ab3511", "#5c8af0", "#6c1519", "#1c6e80")
MARKERS = ("o", "s", "D", "^", "v", "P", "*")  # in the order of the report's symbols
INK, MUTED = "#222222", "#8a8a8a"
WIDTH = 3.8  # inches: on the width of a phone the font size below is read without zooming
WORSE_BETTER: Colormap = LinearSegmentedColormap.from_list("worse_better", ["#B35806", "#ffffff", "#2166AC"])
STYLE = RcParams(
    {
        "font.family": "sans-serif",
        "font.size": 8.5,
        "text.parse_math": False,  # a name may hold dollar signs
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


def shade(look: Look | None) -> str:
    """Returns the colour of an embedding, paler for its shuffled control; grey for what reads no audio.

    >>> shade(Look(0, 3)), shade(None)
    ('#1745c2', '#8a8a8a')
    """
    if look is None or look.color == GREY:
        return MUTED
    color = PALETTE[look.color]
    red, green, blue = (1 - (1 - part) * 0.45 for part in to_rgb(color))
    return to_hex((red, green, blue)) if look.hollow else color


def mark(look: Look | None) -> str:
    """Returns matplotlib's name for the marker of an embedding."""
    return "o" if look is None else MARKERS[look.marker]
