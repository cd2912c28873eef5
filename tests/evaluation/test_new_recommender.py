"""A recommender that evaluation has never heard of gets its table, tests, plots and section of the report."""

from typing import Any

import pandas as pd
import pytest

from musicrec.evaluation.comparison import Comparison, compare
from musicrec.evaluation.report.html_report import write_report
from musicrec.evaluation.report.plots.draw import draw
from musicrec.evaluation.report.tables import print_comparison, write_formats
from tests.evaluation.made_up import MadeUp

FAMILY: dict[str, Any] = {"table": "two_towers", "title": "Two <towers>"}


@pytest.fixture
def compared(made_up: MadeUp) -> Comparison:
    made_up.run("knn", "musicnn", 3)
    made_up.run("towers", "musicnn", first_hit=1, **FAMILY)
    made_up.run("towers", "mert", 5, size=1024, **FAMILY)
    made_up.run("towers", "mfcc", 2, size=104, **FAMILY)
    return compare(made_up.workspace, 10)


def test_files_tests_and_order(compared: Comparison, made_up: MadeUp, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(compared.titles.items()) == [("two_towers", "Two <towers>"), ("cosine", "KNN")]  # the best NDCG first
    root = made_up.workspace.root
    assert pd.read_csv(root / "two_towers.csv")["embedding"].tolist() == ["musicnn", "mfcc", "mert"]
    tests = pd.read_csv(root / "significance.csv")
    assert set(tests["table"]) == {"two_towers"} and len(tests) == 3 * 5
    write_formats(made_up.workspace, compared)
    assert (root / "two_towers.md").is_file() and "Two <towers>".replace("<", "$<$").replace(">", "$>$") in (
        root / "two_towers.tex"
    ).read_text()
    print_comparison(compared)
    printed = capsys.readouterr().out
    assert 0 <= printed.index("two_towers · test") < printed.index("cosine · test")


def test_plots_and_report(compared: Comparison, made_up: MadeUp) -> None:
    plots = draw(made_up.workspace, compared)
    assert {"bars_two_towers", "pairs_two_towers", "ranks_two_towers", "size"} <= {plot.name for plot in plots}
    text = write_report(made_up.workspace, compared, plots).read_text()
    assert '<section id="two_towers">\n<h2>Two &lt;towers&gt;</h2>' in text
    assert "<p>musicnn is best with NDCG@10" in text[text.index('<section id="two_towers">') :]


def test_recommenders_without_an_embedding_are_rows_of_their_own(made_up: MadeUp) -> None:
    family: dict[str, Any] = {"table": "baselines", "title": "No audio", "size": None}
    made_up.run("popularity", "", 6, name="popularity_s0", **family)
    made_up.run("ease", "", 2, name="ease_s0", **family)
    made_up.run("ease", "", 4, name="ease_s1", **family)
    comparison = compare(made_up.workspace, 10)
    table = pd.read_csv(made_up.workspace.root / "baselines.csv")
    assert table["embedding"].tolist() == ["ease", "popularity"] and table["Size"].isna().all()
    assert comparison.shown("baselines")["run"].tolist() == ["ease_s0", "popularity_s0"]
    assert list(comparison.per_user("baselines")) == ["ease", "popularity"]
    draw(made_up.workspace, comparison)


def test_old_tables_of_any_recommender_are_named(compared: Comparison, made_up: MadeUp) -> None:
    for path in made_up.workspace.preds_dir.glob("towers_*"):
        path.unlink()
    (made_up.workspace.root / "mine.csv").write_text("embedding,note\n")  # a user's own
    warnings = compare(made_up.workspace, 10).warnings
    assert warnings == ["two_towers.csv is from an earlier evaluation: preds/ has no such run now"]
