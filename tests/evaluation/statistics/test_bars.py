"""The recommenders without audio in tables, tests and the report."""

from __future__ import annotations

import re

import pandas as pd
import pytest
from scipy.stats import ttest_rel

from musicrec.evaluation.comparison import Comparison, compare
from musicrec.evaluation.report.html_report import write_report
from musicrec.evaluation.report.plots.draw import draw
from musicrec.evaluation.report.tables import latex, markdown, print_comparison
from musicrec.evaluation.statistics.bars import sentence
from musicrec.files import parquet_metadata, write_parquet
from tests.evaluation.made_up import MadeUp


def no_audio(made_up: MadeUp, recommender: str, title: str, first_hit: int, table: str = "baselines") -> str:
    """Writes a run as train.py writes that of a recommender without audio."""
    name = f"{recommender}_s0_01234567"
    return made_up.run(recommender, "", first_hit, name=name, table=table, title=title, size=None)


@pytest.fixture
def bars(made_up: MadeUp) -> Comparison:
    """Returns KNN on two embeddings beside EASE (better than both), popularity, and a BERT4Rec on ids."""
    made_up.run("knn", "musicnn", 3)
    made_up.run("knn", "random", 7)
    no_audio(made_up, "ease", "EASE", 1)
    no_audio(made_up, "popularity", "Popularity", 5)
    no_audio(made_up, "bert", "BERT4Rec", 2, table="bert")
    return compare(made_up.workspace, 10)


def test_they_have_a_table_of_their_own(bars: Comparison, made_up: MadeUp) -> None:
    table = pd.read_csv(made_up.workspace.root / "baselines.csv")
    assert bars.titles["baselines"] == "Baselines"
    # BERT4Rec on ids is a bar for the baselines, too.
    assert table.embedding.tolist() == ["ease", "bert", "popularity"]
    assert table.Size.isna().all()


def test_they_are_rows_of_every_other_table(bars: Comparison, made_up: MadeUp) -> None:
    table = pd.read_csv(made_up.workspace.root / "cosine.csv")
    assert table.embedding.tolist() == ["ease", "bert", "musicnn", "popularity", "random"]
    assert table["NDCG@10"].is_monotonic_decreasing
    assert bars.shown("cosine").row.tolist() == ["musicnn", "random"]


def test_the_bar_is_chosen_on_val(made_up: MadeUp) -> None:
    made_up.run("knn", "musicnn", 3)
    no_audio(made_up, "ease", "EASE", 1)
    no_audio(made_up, "elsa", "ELSA", 2)
    for name, better in (("ease", False), ("elsa", True)):
        run = made_up.workspace.predictions(f"{name}_s0_01234567")
        frame = pd.read_parquet(run)
        val = made_up.lists(1 if better else 6, split="val").assign(split="val")
        write_parquet(pd.concat([frame.assign(split="test"), val]), run, parquet_metadata(run))
    comparison = compare(made_up.workspace, 10)
    assert comparison.bar_rows("cosine").run.tolist() == ["elsa_s0_01234567", "ease_s0_01234567"]
    assert set(comparison.bars.bar) == {"elsa_s0_01234567"}


def test_embeddings_are_tested_against_the_bar(bars: Comparison, made_up: MadeUp) -> None:
    tests = bars.bars
    assert (made_up.workspace.root / "bars.csv").is_file()
    row = tests[(tests.table == "cosine") & (tests.metric == "NDCG@10") & (tests.embedding == "musicnn")].iloc[0]
    own = bars.scores["knn_musicnn_s0"]["test"]["NDCG@10"]
    ease = bars.scores["ease_s0_01234567"]["test"]["NDCG@10"]
    assert row.bar == "ease_s0_01234567"
    assert row.difference == pytest.approx(own.mean() - ease.mean())
    assert row.gain == pytest.approx(own.mean() / ease.mean() - 1)
    # Two tests: Holm doubles the smaller p value.
    both = [ttest_rel(bars.scores[f"knn_{name}_s0"]["test"]["NDCG@10"], ease).pvalue for name in ("musicnn", "random")]
    assert row.p_t == pytest.approx(min(1, 2 * both[0]) if both[0] <= both[1] else max(2 * both[1], both[0]))


def test_the_headline_compares_with_the_bar(bars: Comparison, made_up: MadeUp) -> None:
    plots = draw(made_up.workspace, bars)
    text = write_report(made_up.workspace, bars, plots).read_text()
    line = re.search(r'<section id="cosine">.*?<p>(.*?)\.</p>', text, re.DOTALL)
    assert line and re.search(r"; \d+ % below EASE, p (&lt; 0\.001|= 0\.0\d\d) \(-0\.\d{4} \[-0\.\d{4}, -0", line[1])
    assert "no shuffled control was run" in line[1]
    assert {"bars_cosine", "pairs_cosine", "ranks_cosine", "bars_baselines"} <= {plot.name for plot in plots}
    assert "EASE (no audio)" in text and "EASE (no audio)" in plots[0].svg.read_text() + text


def test_tables_show_them_without_marks(bars: Comparison, capsys: pytest.CaptureFixture[str]) -> None:
    lines = markdown(bars, "cosine").splitlines()
    assert [line.split(" | ")[0] for line in lines[2:7]] == [
        "| musicnn",
        "| random",
        "| EASE (no audio)",
        "| BERT4Rec (no audio)",
        "| Popularity (no audio)",
    ]
    assert "**" in lines[2] and "**" not in lines[4] and "†" not in "".join(lines[4:7])
    assert "EASE (no audio)" in latex(bars, "cosine")
    print_comparison(bars)
    assert "Popularity (no audio)" in capsys.readouterr().out


def test_without_them_nothing_is_compared(made_up: MadeUp) -> None:
    made_up.run("knn", "musicnn", 3)
    comparison = compare(made_up.workspace, 10)
    assert len(comparison.bars) == 0 and len(comparison.bar_rows()) == 0
    assert "no audio" not in markdown(comparison, "cosine").lower()
    text = write_report(made_up.workspace, comparison, draw(made_up.workspace, comparison)).read_text()
    assert "is the only one, with NDCG@10" in text


def test_small_differences_have_a_decimal() -> None:
    assert sentence("ELSA", 0.064, 0.01) == "6 % above ELSA, p = 0.010"
    assert sentence("ELSA", -0.0042, 0.6) == "not significantly different from ELSA (0.4 % below, p = 0.600)"
