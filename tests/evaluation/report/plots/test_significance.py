"""Plots of pairwise effects."""

import pandas as pd

from musicrec.evaluation.report.plots.significance import pair_map


def test_pair_map_drops_the_leading_zero_alone() -> None:
    pairs = pd.DataFrame({"first": ["a"], "second": ["b"], "p_t": [0.001], "effect": [10.25]})
    texts = {text.get_text() for text in pair_map(["a", "b"], pairs).axes[0].texts}
    assert {"10.25", "−10.25"} <= texts
    pairs["effect"] = 0.25
    assert {".25", "−.25"} <= {text.get_text() for text in pair_map(["a", "b"], pairs).axes[0].texts}


def test_crowded_pair_map_says_each_number_once() -> None:
    names = [f"e{number}" for number in range(10)]
    pairs = pd.DataFrame({"first": ["e0"], "second": ["e9"], "p_t": [0.001], "effect": [0.25]})
    texts = [text.get_text() for text in pair_map(names, pairs).axes[0].texts]
    assert texts.count(".25") == 1 and "−.25" not in texts
