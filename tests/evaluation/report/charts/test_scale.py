"""Positions on axes and their ticks."""

import math

import pytest

from musicrec.evaluation.report.charts.scale import Scale, Tick


def test_axes_hold_their_values() -> None:
    assert Scale.of([0.1, 0.5, math.nan], margin=0) == Scale(0, 0.5)
    assert Scale.of([2, 4], from_zero=False, margin=0.5) == Scale(1, 5)
    assert Scale.of([-1, 1], margin=0) == Scale(-1, 1)
    assert Scale.of([10, 1000], log=True, margin=0).at(100) == 50


@pytest.mark.parametrize("values", [[], [math.nan], [0.0], [0.3], [math.inf, 0.2]])
def test_axes_of_little_have_a_length(values: list[float]) -> None:
    for scale in (Scale.of(values), Scale.of(values, from_zero=False)):
        assert scale.high > scale.low and all(0 <= tick.at <= 100 for tick in scale.ticks())


def test_ticks_are_round_numbers() -> None:
    assert Scale(0, 0.34).ticks() == [Tick(0, "0"), Tick(29.4, "0.1"), Tick(58.8, "0.2"), Tick(88.2, "0.3")]
    assert [tick.text for tick in Scale(0, 25_000).ticks()] == ["0", "5,000", "10,000", "15,000", "20,000", "25,000"]
    assert [tick.text for tick in Scale(1, 500, log=True).ticks()] == ["1", "10", "100"]
    assert [tick.text for tick in Scale(3, 60, log=True).ticks()] == ["5", "10", "20", "50"]
