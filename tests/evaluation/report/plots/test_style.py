"""Colours of tables and embeddings."""

from musicrec.evaluation.report.plots.style import PALETTE, colors


def test_colours_depend_on_the_names_alone_and_repeat_when_used_up() -> None:
    assert colors(["b", "a", "b"]) == colors(["a", "b"]) == {"a": PALETTE[0], "b": PALETTE[1]}
    names = [f"e{number:02d}" for number in range(len(PALETTE) + 1)]
    assert colors(names)["e00"] == colors(names)[names[-1]] == PALETTE[0]
