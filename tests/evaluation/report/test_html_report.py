"""The report: whole, self-contained, with every plot and a page for every run."""

import re
from itertools import pairwise
from urllib.parse import unquote

import pandas as pd
import pytest

from musicrec.evaluation.comparison import Comparison, compare
from musicrec.evaluation.report.html_report import write_report
from musicrec.evaluation.report.plots.draw import Plot, draw
from musicrec.files import write_text
from musicrec.workspace import Workspace
from tests.evaluation.made_up import MadeUp
from tests.evaluation.report.html_page import Page
from tests.evaluation.report.large_world import EMBEDDINGS, HOSTILE, RECOMMENDERS, make_large

Reported = tuple[Workspace, Comparison, list[Plot], str]


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
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    inside = {address.removeprefix("#") for address in page.addresses if address.startswith("#")}
    assert inside <= set(page.ids)
    others = [unquote(address) for address in page.addresses if not address.startswith("#")]
    assert others and all((workspace.root / address).is_file() for address in others)
    assert "shallow.csv" in others and "report/bars_shallow.svg" in others
    assert not re.search(r"https?://|@import|url\(", text)
    assert {f"run-{run}" for run in comparison.runs} <= set(page.ids)
    assert 'name="viewport"' in text
    assert workspace.report.name == "report.html"


def test_no_value_is_markup(made_up: MadeUp) -> None:
    made_up.run("knn", "<img src=x>", 1, name="knn_odd", title="<b>K</b>")
    comparison = compare(made_up.workspace, 10)
    text = write_report(made_up.workspace, comparison, []).read_text()
    assert "<img" not in text and "<b>K" not in text
    assert "&lt;img src=x&gt;" in text and "<h2>&lt;b&gt;K&lt;/b&gt;</h2>" in text
    Page(text)


def test_report_says_what_was_found(reported: Reported) -> None:
    _, _, _, text = reported
    assert "<p>musicnn is best with NDCG@10" in text
    assert 'class="answer">musicnn with Shallow net is best: NDCG@10 0.' in text
    assert "knn_cut.pqt" in text and "&lt;mert&gt;" in text and "note: &lt;b&gt;&amp;" in text
    for heading in ("Beyond accuracy", "Several seeds", "The data", "All runs", "Other runs", "Quality against size"):
        assert f"<h2>{heading}</h2>" in text
    assert re.search(r'class="best">\d\.\d{4}', text) and "‡" in text


def test_plots_lie_beside_it(reported: Reported) -> None:
    workspace, _, plots, text = reported
    names = {plot.name for plot in plots}
    assert names == {
        *("bars_shallow", "pairs_shallow", "ranks_shallow", "groups_shallow", "size", "popularity", "activity"),
    }
    for plot in plots:
        assert plot.png.read_bytes().startswith(b"\x89PNG") and b"<svg" in plot.svg.read_bytes()
        assert plot.folder == workspace.root / "report"
        assert f'href="report/{plot.name}.svg"' in text


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
    Page(text)
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
    Page(text)
    assert "nan" not in text.partition("<script>")[0].lower()


def test_dots_and_lines_of_the_first_screen(made_up: MadeUp) -> None:
    """A shuffled control is a hollow dot in the row of its real run; what reads no audio is a line."""
    made_up.run("knn", "musicnn", 2)
    shuffled = {"seed": 0, "recommender": {"name": "knn"}, "embedding": {"name": "musicnn", "shuffle": True}}
    made_up.run("knn", "musicnn", 7, name="knn_musicnn_shuffled_s0", settings=shuffled)
    made_up.run("ease", "", 1, name="ease_s0", table="baselines", title="EASE")
    made_up.foreign("als", made_up.lists(3))
    comparison = compare(made_up.workspace, 10)
    text = write_report(made_up.workspace, comparison, []).read_text()
    figure = text[text.index('<figure class="dots') : text.index("</figure>")]
    rows = re.findall(r"<tr>.*?</tr>", figure, re.DOTALL)
    assert [re.sub("<title>.*?</title>|<[^>]*>", " ", row).split() for row in rows] == [
        ["EASE", "0.8467"],
        ["chance", "0.1249"],
        ["musicnn", "0.6320"],
        ["als", "0.5360"],
    ]
    assert rows[2].count("<use") == 2 and rows[2].count('class="c0 hollow"') == 1 and 'class="join"' in rows[2]
    assert figure.count('class="bar"') == 3 + 1 and figure.count('class="chance"') == 3 + 1  # in each group and the key
    assert "EASE</span>, the best without audio on val." in figure


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], str]:
    """Returns the runs of 12 embeddings × 6 recommenders × 3 seeds and their report."""
    made_up = MadeUp(tmp_path_factory.mktemp("large")).data()
    runs = make_large(made_up)
    return runs, write_report(made_up.workspace, compare(made_up.workspace, 10), []).read_text(encoding="utf-8")


def test_many_runs_make_a_page_that_can_be_mailed(large: tuple[list[str], str]) -> None:
    runs, text = large
    assert len(runs) == 216 and len(text.encode()) < 1_500_000
    page = Page(text)
    assert len(page.ids) == len(set(page.ids)) and {f"run-{run}" for run in runs} <= set(page.ids)
    inside = {address[1:] for address in page.addresses if address.startswith("#")}
    assert inside <= set(page.ids)
    assert all(re.match(r"#|(runs|metrics)/|[\w-]+\.(csv|md|tex)$", address) for address in page.addresses)
    assert page.headings[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(page.headings))
    first_screen = text[text.index('<figure class="dots') : text.index("</figure>")]
    assert first_screen.count("<use") == len(EMBEDDINGS) * (len(RECOMMENDERS) + 1) + 1  # dots, legend, chance
    drawn = set(re.findall(r'class="(c\d)"><title>[^<]*</title><line[^>]*/>\s*<use href="(#m\d)"', first_screen))
    assert len(drawn) == len(EMBEDDINGS)  # no two embeddings look alike
    assert text.count("<path d=") == 0 and text.count('<path class="grey" d="M') == len(runs)


def test_hostile_names_stay_text(large: tuple[list[str], str]) -> None:
    _, text = large
    assert text.count("<script>") == text.count("</script>") == 1 and "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "a&#34;b&#39;c&amp;d" in text and HOSTILE[3] in text and "שמע" in text
    assert not re.search("[\u202a-\u202e\u200e\u200f]", text)


def test_runs_say_what_they_do_not_share(large: tuple[list[str], str]) -> None:
    _, text = large
    page = re.search(r'<article class="page" id="run-net2_e5_s1_0123abc1">.*?</article>', text, re.DOTALL)
    assert page
    assert "\nembedding.name: embedding_1</pre>" in page[0] and ">seed: 1\n" in page[0]
    assert "net2_option_7" not in page[0] and "callback_0" not in page[0]
    (anchor,) = re.findall(r'href="#(settings-\d)"', page[0])
    shared = text[text.index(f'id="{anchor}"') :].partition("</article>")[0]
    assert "recommender.net2_option_7: 1.0\n" in shared and "filename: ${run_name}_best" in shared
