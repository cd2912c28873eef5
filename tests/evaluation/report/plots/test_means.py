"""Plots of means with intervals."""

import numpy as np
import pandas as pd

from musicrec.evaluation.report.plots.means import bars, error_bars

ROWS = pd.DataFrame({"row": ["a", "b"], "NDCG@5": [0.5, 0.25], "NDCG@5 conf": [0.1, np.nan]})


def test_intervals_are_students_or_both_ends_of_the_bootstrap() -> None:
    np.testing.assert_allclose(error_bars(ROWS, "NDCG@5"), [[0.1, 0], [0.1, 0]])
    ends = ROWS.assign(**{"NDCG@5 low": [0.45, np.nan], "NDCG@5 high": [0.7, np.nan]})
    np.testing.assert_allclose(error_bars(ends, "NDCG@5"), [[0.05, 0], [0.2, 0]])


def test_bars_are_named_and_labelled() -> None:
    (axes,) = bars(ROWS, "NDCG@5", ["#0072B2"] * 2).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert [text.get_text() for text in axes.texts] == ["0.5000", "0.2500"]
    assert axes.texts[0].get_position()[0] > 0.6  # behind the end of the interval
