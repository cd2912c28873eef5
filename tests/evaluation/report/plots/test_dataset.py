"""Plots of the training data."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from musicrec.evaluation.report.plots.dataset import activity


def test_activity_axis_fits_the_data() -> None:
    def axis(counts: list[int]) -> Axes:
        users = [user for user, count in enumerate(counts) for _ in range(count)]
        return activity(pd.DataFrame({"user_id": users, "track_id": range(len(users))})).axes[0]

    alike, apart = axis([30, 31, 45]), axis([1, 10, 500])
    assert alike.get_xscale() == "linear" and alike.get_xlim()[0] > 25
    assert apart.get_xscale() == "log"
    for counts in ([30, 31, 45], [1, 10, 500], [7], [1, 1]):  # every user is in a bar
        assert sum(bar.get_height() for bar in axis(counts).patches if isinstance(bar, Rectangle)) == len(counts)
