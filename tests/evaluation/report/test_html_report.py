"""The report: whole, self-contained, with every plot and a page for every run."""

import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from musicrec.evaluation.comparison import Comparison, compare
from musicrec.evaluation.report.html_report import write_report
from musicrec.evaluation.report.plots.draw import Plot, draw
from musicrec.files import write_text
from musicrec.workspace import Workspace
from tests.evaluation.made_up import MadeUp

Reported = tuple[Workspace, Comparison, list[Plot], str]

VOID = {"meta", "img", "br", "wbr", "!doctype"}


class Balanced(HTMLParser):
    """Collects ids and addresses, and checks that every element is closed where it was opened."""

    def __init__(self, text: str):
        super().__init__()
        self.stack: list[str] = []
        self.ids: list[str | None] = []
        self.addresses: list[str] = []
        self.feed(text)
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.stack += [] if tag in VOID else [tag]
        self.ids += [value for key, value in attrs if key == "id"]
        self.addresses += [value or "" for key, value in attrs if key in ("href", "src")]

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Reported:
    made_up = MadeUp(tmp_path_factory.mktemp("reported")).data()
    for embedding, first_hit, size in (("musicnn", 1, 200), ("random", 6, 128), ("<mert>", 2, 1024)):
        for seed in range(2):
            name = f"shallow_{embedding.strip('<>')}_s{seed}_0123abc{seed}"
            made_up.run("shallow", embedding, first_hit + seed, seed=seed, name=name, size=size)
    made_up.foreign("als", made_up.lists(2))
    made_up.workspace.predictions("knn_cut").write_bytes(b"PAR1")
    folder = made_up.workspace.run_dir("shallow_musicnn_s0_0123abc0")
    write_text(folder / "config.yaml", "recommender:\n  note: <b>&\n")
    write_text(folder / "metrics.csv", "step,epoch,train/loss,val/loss\n1,0,3,\n1,0,,4\n2,1,2,3.5\n3,2,1,3.9\n")
    comparison = compare(made_up.workspace, 10)
    plots = draw(made_up.workspace, comparison)
    return made_up.workspace, comparison, plots, write_report(made_up.workspace, comparison, plots).read_text()


def test_report_is_one_whole_file(reported: Reported) -> None:
    workspace, comparison, _, text = reported
    page = Balanced(text)
    assert len(page.ids) == len(set(page.ids))
    inside = {address.removeprefix("#") for address in page.addresses if address.startswith("#")}
    assert inside <= set(page.ids)
    others = [address for address in page.addresses if not address.startswith(("#", "data:"))]
    assert others == [] and "<script" not in text and "@import" not in text
    assert {f"run-{run}" for run in comparison.runs} <= set(page.ids)
    assert 'name="viewport"' in text
    assert workspace.report.name == "report.html"


def test_no_value_is_markup(made_up: MadeUp) -> None:
    made_up.run("knn", "<img src=x>", 1, name="knn_odd", title="<b>K</b>")
    comparison = compare(made_up.workspace, 10)
    text = write_report(made_up.workspace, comparison, []).read_text()
    assert "<img" not in text and "<b>K" not in text
    assert "&lt;img src=x&gt;" in text and "<h2>&lt;b&gt;K&lt;/b&gt;</h2>" in text
    Balanced(text)


def test_report_says_what_was_found(reported: Reported) -> None:
    _, _, _, text = reported
    assert "<b>Shallow net</b>: musicnn is best" in text
    assert "knn_cut.pqt" in text and "&lt;mert&gt;" in text and "note: &lt;b&gt;&amp;" in text
    for heading in ("Beyond accuracy", "Several seeds", "The data", "All runs", "Other runs", "Quality against size"):
        assert f"<h2>{heading}</h2>" in text
    assert re.search(r'class="best">\d\.\d{4}', text) and "‡" in text


def test_plots_lie_beside_it(reported: Reported) -> None:
    workspace, _, plots, text = reported
    names = {plot.name for plot in plots}
    assert names == {
        *("bars_shallow", "pairs_shallow", "ranks_shallow", "groups_shallow", "size", "popularity", "activity"),
        "curves_shallow_musicnn_s0_0123abc0",
    }
    for plot in plots:
        assert plot.png.read_bytes().startswith(b"\x89PNG") and b"<svg" in plot.svg.read_bytes()
        assert plot.folder == workspace.root / "report"
    assert text.count("<img") == len(plots) and text.count("data:image/svg+xml") == len(plots)


def test_smallest_workspace(made_up: MadeUp) -> None:
    """One run, nothing but data and predictions, hot_cold's names for the splits, no train."""
    made_up.foreign("knn_x", made_up.lists(1))
    made_up.workspace.split("train").unlink()
    made_up.workspace.split("val").unlink()
    made_up.workspace.split("test").rename(made_up.workspace.split("cold_test"))
    comparison = compare(made_up.workspace, 10)
    plots = draw(made_up.workspace, comparison)
    assert [plot.name for plot in plots] == ["bars_cosine"]
    text = write_report(made_up.workspace, comparison, plots).read_text()
    Balanced(text)
    assert "cold_test" in text and "Beyond accuracy" not in text and "No configuration is known" in text


def test_one_test_user(made_up: MadeUp) -> None:
    """No interval, no test, but still a report."""
    for name in ("val", "test"):
        path = made_up.workspace.split(name)
        pd.read_parquet(path).iloc[:2].to_parquet(path)
    for embedding in ("musicnn", "random"):
        made_up.run("knn", embedding, 1)
    comparison = compare(made_up.workspace, 10)
    text = write_report(made_up.workspace, comparison, draw(made_up.workspace, comparison)).read_text()
    assert "nan" not in re.sub(r"data:[^\"]*", "", text).lower()
