"""Comparison tables in Markdown and LaTeX."""

import pytest

from musicrec.evaluation.comparison import compare
from musicrec.evaluation.report.tables import latex, markdown, write_formats
from tests.evaluation.made_up import MadeUp


@pytest.fixture
def marked(made_up: MadeUp) -> MadeUp:
    """Returns a workspace where musicnn beats a_b for every user, and is beaten by nobody; a_c is as good."""
    made_up.run("knn", "musicnn", 1)
    made_up.run("knn", "a_c", 1)
    made_up.run("knn", "a_b", 6)
    return made_up


def test_markdown_and_latex(marked: MadeUp) -> None:
    comparison = compare(marked.workspace, 10)
    rows = {line.split(" | ")[0].strip("| "): line for line in markdown(comparison, "cosine").splitlines()}
    assert rows["musicnn"].count("**") == 10 and "‡" not in rows["musicnn"]
    assert rows["a_b"].count("‡") == 2 and "200 |" in rows["a_b"]  # MRR and NDCG; the other three are equal
    text = latex(comparison, "cosine")
    assert r"a\_b & $\mathbf{1.0000 \pm 0.0000}$" in text and text.count(r"^\ddagger$") == 3  # and the legend
    for word in (r"\toprule", r"\midrule", r"\bottomrule", r"95 \%", r"\label{tab:cosine-test}"):
        assert word in text
    write_formats(marked.workspace, comparison)
    assert (marked.workspace.root / "cosine.md").read_text() == markdown(comparison, "cosine")
    assert (marked.workspace.root / "cosine.tex").read_text() == text


def test_any_name_is_a_name_in_latex(made_up: MadeUp) -> None:
    made_up.run("knn", "a_b<c^2~", 1, name="knn_odd")
    text = latex(compare(made_up.workspace, 10), "cosine")
    assert r"a\_b$<$c\textasciicircum{}2\textasciitilde{} &" in text
    assert "p $<$ 0.05" in text
