"""Means over runs of which only the seeds differ."""

import numpy as np
import pytest

from musicrec.evaluation.comparison import compare
from musicrec.evaluation.confidence import half_width
from tests.evaluation.made_up import MadeUp


def test_mean_over_seeds(made_up: MadeUp) -> None:
    for seed, first_hit in enumerate((1, 3, 4)):
        made_up.run("shallow", "musicnn", first_hit, seed=seed, name=f"shallow_musicnn_s{seed}_0123abc{seed}")
    made_up.run("shallow", "musicnn", 2, seed=0, name="other", settings={"seed": 0, "recommender": {"l2": 0.1}})
    made_up.foreign("knn_x", made_up.lists(1))
    comparison = compare(made_up.workspace, 10)
    seeds = comparison.seeds.set_index("setting")
    assert seeds["seeds"].to_dict() == {"shallow_musicnn": 3, "other": 1, "knn_x": 1}
    means = comparison.results.set_index("run")["MRR@10"]
    three = means[means.index.str.startswith("shallow")].to_numpy()
    assert seeds.loc["shallow_musicnn", "MRR@10"] == pytest.approx(three.mean())
    assert seeds.loc["shallow_musicnn", "MRR@10 conf"] == pytest.approx(float(half_width(three)))
    assert np.isnan(seeds["MRR@10 conf"].loc["other"])
    assert (made_up.workspace.root / "seeds.csv").exists()
