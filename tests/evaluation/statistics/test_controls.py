"""Real runs against their shuffled controls."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_rel

from musicrec.evaluation.comparison import compare
from musicrec.evaluation.report.html_report import write_report
from musicrec.evaluation.report.tables import latex, markdown, print_comparison
from tests.evaluation.made_up import MadeUp


def run(made_up: MadeUp, embedding: str, first_hit: int, shuffle: bool | str = False, **changes: Any) -> str:
    """Writes a run of KNN whose settings say whether it was shuffled."""
    seed = changes.pop("seed", 0)
    own: dict[str, Any] = {"name": embedding, **changes.pop("options", {})}
    settings = {
        "seed": seed,
        "recommender": {"name": "knn"},
        "embedding": own | ({"shuffle": shuffle} if shuffle else {}),
    }
    name = f"knn_{'_'.join(map(str, own.values()))}_{shuffle}_s{seed}"
    return made_up.run("knn", embedding, first_hit, seed=seed, name=name, settings=settings, **changes)


@pytest.fixture
def paired(made_up: MadeUp) -> MadeUp:
    """Returns runs of which musicnn beats its control, mfcc does not, and mert has none."""
    run(made_up, "musicnn", 1)
    run(made_up, "musicnn", 7, shuffle=True)
    run(made_up, "mfcc", 7)
    run(made_up, "mfcc", 7, shuffle=True)
    run(made_up, "mert", 2)
    return made_up


def test_pairs_and_their_numbers(paired: MadeUp) -> None:
    comparison = compare(paired.workspace, 10)
    table = pd.read_csv(paired.workspace.root / "controls.csv")
    assert set(table["embedding"]) == {"musicnn", "mfcc"} and set(table["control"]) == {"shuffled"}
    ndcg = table[table["metric"] == "NDCG@10"].set_index("embedding")
    real, control = (
        comparison.scores[f"knn_musicnn_{shuffle}_s0"]["test"]["NDCG@10"].to_numpy() for shuffle in (False, True)
    )
    row = ndcg.loc["musicnn"]
    assert row["real"] == pytest.approx(real.mean()) and row["shuffled"] == pytest.approx(control.mean())
    assert row["difference"] == pytest.approx((real - control).mean())
    assert row["gain %"] == pytest.approx(100 * (real.mean() - control.mean()) / control.mean())
    # Two pairs; the other one has p = 1, so Holm doubles this one.
    assert row["p_t"] == pytest.approx(2 * ttest_rel(real, control).pvalue)
    assert bool(row["better"]) and not ndcg.loc["mfcc", "better"]
    assert ndcg.loc["mfcc", "difference"] == 0 and ndcg.loc["mfcc", "gain %"] == 0


def test_the_mark_is_in_every_table_and_in_the_headline(paired: MadeUp, capsys: pytest.CaptureFixture[str]) -> None:
    comparison = compare(paired.workspace, 10)
    assert comparison.row_titles("cosine") == {
        "musicnn": "musicnn",
        "mert": "mert",
        "musicnn shuffled": "musicnn shuffled",
        "mfcc": "mfcc †",
        "mfcc shuffled": "mfcc shuffled",
    }
    assert "| mfcc † |" in markdown(comparison, "cosine") and "| musicnn |" in markdown(comparison, "cosine")
    assert r"mfcc $^\dagger$ &" in latex(comparison, "cosine")
    print_comparison(comparison)
    out = capsys.readouterr().out
    assert "mfcc † " in out
    assert "KNN · mfcc (test, seed 0): NDCG@10 0.3879, shuffled 0.3879 (+0 %)" in out
    assert "(+0 %), p = 1; † not better than shuffled" in out
    page = write_report(paired.workspace, comparison, []).read_text()
    assert "Real against shuffled vectors" in page and "mfcc †" in page and "own vectors shuffled" not in page
    assert list(pd.read_csv(paired.workspace.root / "cosine.csv").embedding) == list(comparison.row_titles("cosine"))


def test_a_headline_whose_best_is_no_better_than_shuffled_says_so(made_up: MadeUp) -> None:
    run(made_up, "mfcc", 3)
    run(made_up, "mfcc", 3, shuffle="all")
    page = write_report(made_up.workspace, compare(made_up.workspace, 10), []).read_text()
    assert "mfcc † is best with NDCG@10" in page and "mfcc is not better than its own vectors shuffled" in page
    assert "shuffled all" in page


def test_equal_settings_pair_of_the_nearest_seed_if_there_is_none_of_the_same(made_up: MadeUp) -> None:
    first = run(made_up, "musicnn", 1, seed=1)
    second = run(made_up, "musicnn", 4, seed=2)
    far = run(made_up, "musicnn", 7, seed=9)
    run(made_up, "musicnn", 7, shuffle=True, seed=1)
    run(made_up, "musicnn", 7, shuffle=True, seed=3)
    run(made_up, "musicnn", 7, shuffle="all", seed=4)
    run(made_up, "musicnn", 7, shuffle=True, seed=2, options={"transform": "zscore"})
    made_up.foreign("knn_mert", made_up.lists(2))
    found = compare(made_up.workspace, 10).controls
    pairs = set(zip(found["run"], found["control"], found["control run"], strict=True))
    assert pairs == {
        (first, "shuffled", "knn_musicnn_True_s1"),
        (second, "shuffled (seed 1)", "knn_musicnn_True_s1"),
        (far, "shuffled (seed 3)", "knn_musicnn_True_s3"),
        *((name, "shuffled all (seed 4)", "knn_musicnn_all_s4") for name in (first, second, far)),
    }
    assert sorted(found["seed"].unique()) == [1, 2, 9]


def test_the_shown_seed_has_its_mark_though_another_one_was_shuffled(made_up: MadeUp) -> None:
    run(made_up, "mfcc", 8, seed=0)
    run(made_up, "mfcc", 7, seed=1)  # the best on val, so the table shows it
    run(made_up, "mfcc", 7, shuffle=True, seed=0)
    assert compare(made_up.workspace, 10).row_titles("cosine")["mfcc"] == "mfcc †"


def test_without_controls_there_is_no_file(made_up: MadeUp, caplog: pytest.LogCaptureFixture) -> None:
    (made_up.workspace.root / "controls.csv").write_text("of an earlier evaluation")
    run(made_up, "musicnn", 1)
    with caplog.at_level(logging.WARNING):
        comparison = compare(made_up.workspace, 10)
    assert len(comparison.controls) == 0 and not (made_up.workspace.root / "controls.csv").exists()
    assert not caplog.records


def test_a_control_that_scores_nothing_has_no_gain_in_percent(made_up: MadeUp) -> None:
    run(made_up, "musicnn", 1)
    run(made_up, "musicnn", 9, shuffle=True)
    found = compare(made_up.workspace, 5).controls
    assert (found["shuffled"] == 0).all() and np.isnan(found["gain %"]).all() and found["better"].all()
