"""Settings tried per row, and warnings where they are unequal."""

import pandas as pd
import pytest

from musicrec.evaluation.comparison import compare
from musicrec.evaluation.report.tables import markdown, print_comparison
from tests.evaluation.made_up import MadeUp


def tuned(made_up: MadeUp, embedding: str, settings: int, seeds: int = 1) -> None:
    """Writes runs with several settings, each with several seeds."""
    for number in range(settings):
        for seed in range(seeds):
            made_up.run(
                "shallow",
                embedding,
                1 + number,
                name=f"shallow_{embedding}_{number}_s{seed}",
                settings={"seed": seed, "recommender": {"lr": number}, "embedding": {"name": embedding}},
                seed=seed,
            )


def test_settings_are_counted_and_seeds_are_not(made_up: MadeUp, capsys: pytest.CaptureFixture[str]) -> None:
    tuned(made_up, "musicnn", 3, seeds=2)
    tuned(made_up, "random", 1, seeds=2)
    comparison = compare(made_up.workspace, 10)
    tried = comparison.shown("shallow").set_index("row")["tried"]
    assert tried.to_dict() == {"musicnn": 3, "random": 1}
    assert set(pd.read_csv(made_up.workspace.root / "comparison.csv")["tried"]) == {1, 3}
    expected = "Shallow net: musicnn is the best of 3 settings, random of 1: embeddings with unequal tuning budgets"
    assert [warning.startswith(expected) for warning in comparison.warnings] == [True]
    print_comparison(comparison)
    assert "tried" in capsys.readouterr().out
    text = markdown(comparison, "shallow")
    assert "| Size | tried |" in text and "| 200 | 3 |" in text and "best on val is shown" in text


def test_equal_budgets_say_nothing(made_up: MadeUp) -> None:
    tuned(made_up, "musicnn", 2)
    tuned(made_up, "random", 2)
    comparison = compare(made_up.workspace, 10)
    assert comparison.warnings == []
    tuned(made_up, "single", 1)


def test_one_setting_each_needs_no_column(made_up: MadeUp) -> None:
    made_up.run("knn", "musicnn", 1)
    comparison = compare(made_up.workspace, 10)
    assert "tried" not in markdown(comparison, "cosine")


def test_controls_need_no_tuning_and_the_bar_does(made_up: MadeUp) -> None:
    tuned(made_up, "musicnn", 2)
    shuffled = {"seed": 0, "embedding": {"name": "musicnn", "shuffle": True}}
    made_up.run("shallow", "musicnn", 6, name="shallow_shuffled", settings=shuffled)
    made_up.run("ease", "", 1, name="ease_s0", table="baselines", title="EASE", settings={"seed": 0})
    warnings = compare(made_up.workspace, 10).warnings
    assert len(warnings) == 1 and "ease, the best recommender without audio, of 1" in warnings[0]
