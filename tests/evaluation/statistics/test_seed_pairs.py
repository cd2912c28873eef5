"""Differences over users and seeds, from runs to the file and the report."""

import numpy as np
import pandas as pd
import pytest

from musicrec.evaluation.comparison import compare
from musicrec.evaluation.report.html_report import write_report
from musicrec.evaluation.statistics.crossed import crossed
from tests.evaluation.made_up import MadeUp


def test_pairs_of_settings_with_seeds(made_up: MadeUp) -> None:
    for seed in range(3):
        made_up.run("shallow", "musicnn", 1 + seed, seed=seed)
        made_up.run("shallow", "random", 4 + seed, seed=seed)
    made_up.run("knn", "musicnn", 1)
    made_up.run("knn", "random", 2)
    comparison = compare(made_up.workspace, 10)
    rows = pd.read_csv(made_up.workspace.root / "seeds_significance.csv")
    assert set(rows["table"]) == {"shallow"} and len(rows) == 5  # a pair, five metrics
    row = rows[rows["metric"] == "NDCG@10"].iloc[0]
    names = [f"shallow_{embedding}_s{seed}" for embedding in ("musicnn", "random") for seed in range(3)]
    scores = np.stack([comparison.scores[name]["test"]["NDCG@10"] for name in names], axis=1)
    expected = crossed(scores[:, :3] - scores[:, 3:])
    assert (row["first"], row["second"], row["seeds first"]) == ("musicnn", "random", 3)
    assert (row["low"], row["high"]) == pytest.approx(expected.interval())
    assert row["p"] == pytest.approx(expected.p_value()) and row["detectable"] == pytest.approx(expected.detectable())
    assert row["margin"] == pytest.approx(0.05 * scores[:, :3].mean())
    text = write_report(made_up.workspace, comparison, []).read_text()
    assert "Differences over users and seeds" in text and "musicnn − random" in text


def test_one_seed_each_makes_no_file(made_up: MadeUp) -> None:
    made_up.run("knn", "musicnn", 1)
    made_up.run("knn", "random", 2)
    comparison = compare(made_up.workspace, 10, margin=0.9)
    assert comparison.seed_pairs.empty and not (made_up.workspace.root / "seeds_significance.csv").exists()
    pair = comparison.pairs("cosine").iloc[0]
    assert pair["margin"] == pytest.approx(0.9 * comparison.shown("cosine")["NDCG@10"].max())
    assert pair["p_equivalence"] < 0.05


def test_means_have_an_interval_over_users_and_seeds(made_up: MadeUp) -> None:
    for seed in range(2):
        made_up.run("shallow", "musicnn", 1 + 3 * seed, seed=seed)
    row = compare(made_up.workspace, 10).seeds.iloc[0]
    low, high = row["NDCG@10 low"], row["NDCG@10 high"]
    assert low < row["NDCG@10"] < high and high - low > 2 * 0.9 * row["NDCG@10 conf"]
