"""Charts of comparison tables: ranks with letters, the map of effects, groups, sizes."""

import numpy as np
import pandas as pd
import pytest

from musicrec.evaluation.comparison import compare
from musicrec.evaluation.report.charts.of_tables import Effect, effect_map, group_charts, rank_rows, size_charts
from musicrec.evaluation.report.looks import GREY, Look
from musicrec.evaluation.statistics.significance import pairwise
from tests.evaluation.made_up import MadeUp


def test_systems_that_do_not_differ_share_a_letter(generator: np.random.Generator) -> None:
    base = generator.normal(size=200)
    noise = generator.normal(scale=0.1, size=(2, 200))
    scores = {"good": base + 1, "same": base + noise[0], "alike": base + noise[1], "bad": base - 1}
    ranks = rank_rows(scores, pairwise(scores), {"good": Look(1, 0)})
    assert [row.name for row in ranks.rows][::3] == ["good", "bad"]
    assert [row.value.split()[1:] for row in ranks.rows] == [[], ["a"], ["a"], []]
    assert ranks.rows[0].value == "1.00" and ranks.rows[3].value == "4.00" and ranks.test == "p < 0.001"
    assert ranks.rows[0].dots[0].look == Look(1, 0) and ranks.rows[3].dots[0].look is None


def test_effects_say_who_beats_whom() -> None:
    pairs = pd.DataFrame(
        {"first": ["a", "a", "b"], "second": ["b", "c", "c"], "p_t": [0.001, 0.2, 0.01], "effect": [0.5, 0.1, -10.25]}
    )
    rows = effect_map(["a", "b", "c"], pairs).rows
    assert rows[0] == [Effect(""), Effect(".50", 3, True), Effect("·")]
    assert rows[1] == [Effect("−.50", 3, False), Effect(""), Effect("−10.25", 55, False)]
    assert rows[2][1] == Effect("10.25", 55, True)


def test_infinite_effects() -> None:
    pairs = pd.DataFrame({"first": ["a"], "second": ["b"], "p_t": [0.0], "effect": [-np.inf]})
    assert effect_map(["a", "b"], pairs).rows[0][1] == Effect("−∞", 55, False)


def test_groups_and_sizes(made_up: MadeUp) -> None:
    made_up.run("knn", "musicnn", 1, size=200)
    made_up.run("knn", "random", 3, size=128)
    made_up.run("ease", "", 2, name="ease_s0", table="baselines", title="EASE", size=None)
    comparison = compare(made_up.workspace, 10)
    looks = {"musicnn": Look(0, 0), "random": Look(1, 1), "ease": Look(GREY, 0)}
    charts = group_charts(comparison, "cosine", "test", looks, {"ease": "EASE (no audio)"})
    assert [chart.title for chart in charts] == ["by mainstream"]  # all users are equally active
    for chart in charts:
        assert [series.name for series in chart.series] == ["musicnn", "random", "EASE (no audio)"]
        assert [series.look for series in chart.series] == list(looks.values())
        assert len(chart.rules) == len(chart.x_ticks)
    (chart,) = size_charts(comparison, looks)
    assert [tick.text for tick in chart.x_ticks] == ["128", "200"] and chart.rules[0].text == "EASE"
    (point,) = chart.series[0].points
    assert point.title == "musicnn, 200 dimensions: 0.8467 ± 0.1156"
    assert point.low is not None and point.high is not None and point.high < point.y < point.low


def test_one_size_is_no_chart(made_up: MadeUp) -> None:
    made_up.run("knn", "musicnn", 1)
    assert size_charts(compare(made_up.workspace, 10), {}) == []


@pytest.mark.parametrize("users", [1, 2])
def test_few_users_have_no_interval(made_up: MadeUp, users: int) -> None:
    path = made_up.workspace.split("test")
    pd.read_parquet(path).iloc[: 2 * users].to_parquet(path)
    made_up.run("knn", "musicnn", 1)
    made_up.run("knn", "random", 3, size=128)
    (chart,) = size_charts(compare(made_up.workspace, 10), {})
    assert (chart.series[0].points[0].low is None) == (users == 1)
