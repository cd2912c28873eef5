"""Ours beside theirs: which runs correspond, differences, verdicts."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from musicrec.errors import MusicrecError
from musicrec.evaluation.comparison import compare
from musicrec.evaluation.report.reference_page import print_reference
from tests.evaluation.made_up import MadeUp

THEIRS = """split,recommender,embedding,control,metric,k,printed k,mean,conf,runs,note
hot_test,knn,musicnn,real,NDCG,10,5,0.9,0.01,3,a slip
hot_test,knn,musicnn,shuffled,NDCG,10,10,0.01,0.005,3,
hot_test,shallow,musicnn,real,MRR,10,10,0.75,,1,
hot_test,bert,musicnn,real,NDCG,10,10,0.5,,1,
hot_test,elsa,,real,NDCG,10,10,0.5,,1,
hot_test,knn,musicnn,real,NDCG,50,50,0.2,0.01,3,
"""


def test_the_runs_that_correspond(made_up: MadeUp, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_up.run("knn", "musicnn_first", 3)
    shuffled = {"seed": 0, "recommender": {"name": "knn"}, "embedding": {"name": "musicnn", "shuffle": "all"}}
    made_up.run("knn", "musicnn", 6, name="control", settings=shuffled)
    zscore = {"seed": 0, "recommender": {"name": "shallow"}, "embedding": {"name": "musicnn", "transform": "zscore"}}
    made_up.run("shallow", "musicnn", 1, name="transformed", settings=zscore)
    for seed in range(2):
        made_up.run("shallow_paper_2026", "musicnn", 1, seed=seed, table="shallow", title="Shallow net")
    theirs = tmp_path / "theirs.csv"
    theirs.write_text(THEIRS)
    comparison = compare(made_up.workspace, 10)
    path = print_reference(made_up.workspace, comparison, str(theirs))
    rows = {(str(row["recommender"]), str(row["control"])): row for row in pd.read_csv(path).to_dict("records")}
    assert list(rows) == [("shallow", "real"), ("knn", "real"), ("knn", "shuffled")]
    shallow = rows["shallow", "real"]
    assert shallow["ours"] == pytest.approx(0.75) and shallow["verdict"] == "agrees" and shallow["row"] == "musicnn"
    knn = rows["knn", "real"]
    ours = comparison.scores["knn_musicnn_first_s0"]["test"]["NDCG@10"].mean()
    assert knn["difference"] == pytest.approx(ours - 0.9) and knn["verdict"] == "lower"
    assert knn["within"] == pytest.approx((0.01**2 + knn["ours conf"] ** 2) ** 0.5)
    assert rows["knn", "shuffled"]["verdict"] == "higher"
    printed = capsys.readouterr().out
    assert "NDCG@10 (as @5)" in printed and "lower; a slip" in printed and "0.0100 ± 0.0050" in printed


def test_no_run_corresponds(made_up: MadeUp) -> None:
    made_up.run("knn", "musicnn", 1)
    comparison = compare(made_up.workspace, 10)
    with pytest.raises(
        MusicrecError, match=r"no run here has a published counterpart.* eval.k=50 .*experiment=paper_2026"
    ):
        print_reference(made_up.workspace, comparison, "study2026")
