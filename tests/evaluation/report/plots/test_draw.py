"""All plots of a comparison as files."""

import pytest

from musicrec.evaluation.comparison import compare
from musicrec.evaluation.report.plots.draw import draw
from tests.evaluation.made_up import MadeUp


@pytest.mark.parametrize("name", [r"a$\frac$b", "$", "W" * 200, "\u202eabc\x00", "音楽", "a_b^{c}", "<b>&"])
def test_names_of_any_kind_are_drawn(made_up: MadeUp, name: str) -> None:
    """Warnings are errors here: of formulas that are none, of missing glyphs, of names that leave no room."""
    made_up.run("knn", name, 1, name="knn_a", size=100)
    made_up.run("knn", "musicnn", 3)
    made_up.run("ease", "", 2, name="ease_s0", table="baselines", title=name)
    plots = draw(made_up.workspace, compare(made_up.workspace, 10))
    assert {plot.name for plot in plots} >= {"bars_cosine", "pairs_cosine", "ranks_cosine", "groups_cosine", "size"}
    for plot in plots:
        assert plot.svg.stat().st_size > 1000 and plot.png.stat().st_size > 1000
    if len(name) > 100:
        text = (made_up.workspace.root / "report" / "bars_cosine.svg").read_text()
        assert "W" * 31 + "…" in text and "W" * 32 not in text
