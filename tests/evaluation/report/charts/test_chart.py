"""Lines of charts, and the charts of runs and data."""

import pandas as pd

from musicrec.evaluation.report.charts.chart import Point, placed
from musicrec.evaluation.report.charts.of_data import data_charts
from musicrec.evaluation.report.charts.of_runs import training_charts
from musicrec.evaluation.report.charts.scale import Scale
from musicrec.evaluation.report.looks import Look


def test_long_lines_are_thinned_and_keep_their_ends() -> None:
    scale = Scale(0, 100)
    points = placed(scale, scale, [(float(x), float(x)) for x in range(101)], most=20)
    assert points[0] == Point(0, 100) and points[-1] == Point(100, 0)
    assert len(points) == 18 and points[1].x == 6
    assert len(placed(scale, scale, [(float(x), 0.0) for x in range(7)], most=20)) == 7


def test_training_curves_mark_the_best_epoch() -> None:
    curves = pd.DataFrame(
        {"train/loss": [3.0, 2.0, 1.0], "val/loss": [4.0, 2.5, float("nan")], "val/NDCG@5": [0.1, 0.3, 0.2]}
    )
    loss, ndcg = training_charts(curves, Look(4, 2))
    assert loss.note == "train/loss (grey), val/loss" and loss.summary.endswith("Lowest val/loss at epoch 1: 2.5.")
    assert ndcg.title == "val/NDCG@5" and ndcg.summary.endswith("Highest val/NDCG@5 at epoch 1: 0.3.")
    train, val, best = loss.series
    assert train.muted and not val.muted and val.look == Look(4, 2)
    assert len(val.points) == 2 and not best.line and best.points[0].x == 50
    assert [tick.text for tick in loss.x_ticks] == ["0", "1", "2"]


def test_curves_of_one_value_are_drawn() -> None:
    (chart,) = training_charts(pd.DataFrame({"train/loss": [2.0, 2.0]}, index=[5.0, 5.0]), None)
    assert all(0 <= point.x <= 100 and 0 <= point.y <= 100 for series in chart.series for point in series.points)


def test_every_user_is_in_a_bar() -> None:
    for counts in ([30, 31, 45], [1, 10, 500], [7], [1, 1]):
        users = [user for user, count in enumerate(counts) for _ in range(count)]
        popularity, activity = data_charts(pd.DataFrame({"user_id": users, "track_id": range(len(users))}))
        assert sum(int(box.title.split(": ")[1].split()[0]) for box in activity.boxes) == len(counts)
        assert all(box.x >= 0 and box.x + box.width <= 100.2 for box in activity.boxes)
        assert popularity.series[0].points[0].x == 0
    assert activity.rules[0].text == "median 1"
    assert data_charts(pd.DataFrame({"user_id": [], "track_id": []})) == []
