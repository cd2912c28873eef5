"""layers.csv and the plot of NDCG by layer, from runs on tables that are called as those of layers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import DictConfig

from musicrec import stages
from musicrec.evaluation.comparison import compare
from musicrec.evaluation.cutoffs import Cutoffs
from musicrec.evaluation.layers import COLUMNS, write_layers
from musicrec.workspace import Workspace

SMALL = ("data=custom", "eval.k=2", "eval.top_k=3", "logger=none", "trainer=cpu", "trainer.max_epochs=1")


@pytest.fixture
def layered(compose: Callable[..., DictConfig], tiny_workspace: Path) -> Path:
    """Returns a workspace with runs of two recommenders on layers 0, 2 and 10, one with two seeds, and popularity."""
    for layer in (0, 2, 10):
        vectors = ("embedding=random", "embedding.dim=6", f"embedding.layer={layer}")
        for recommender in ("knn", "shallow") if layer != 2 else ("knn",):
            words = (*SMALL, *vectors, f"embedding.name=mert_layer{layer}", f"recommender={recommender}")
            stages.train(compose(*words, f"seed={layer}"))
    stages.train(compose(*SMALL, *vectors, "embedding.name=mert_layer10", "recommender=knn", "seed=1"))
    stages.train(compose(*SMALL, "embedding=random", "embedding.dim=6", "embedding.name=other_7", "embedding.layer=7"))
    stages.train(compose(*SMALL, "recommender=popularity"))
    return tiny_workspace


def test_layers_have_a_table_a_plot_and_a_section(compose: Callable[..., DictConfig], layered: Path) -> None:
    stages.evaluate(compose(*SMALL))
    table = pd.read_csv(layered / "layers.csv")
    assert list(table.columns) == list(COLUMNS)
    assert table[["embedding", "layer", "recommender", "split"]].values.tolist() == [
        ["mert", layer, title, "test"]
        for title, layers in (("KNN", (0, 2, 10)), ("Shallow net", (0, 10)))
        for layer in layers
    ]
    results = pd.read_csv(layered / "comparison.csv").set_index("run")
    of_runs = results.loc[table["run"]]
    assert of_runs["shown"].all() and set(table["metric"]) == {"NDCG@2"} and set(table["bar"]) == {"Popularity"}
    np.testing.assert_allclose(table["mean"], of_runs["NDCG@2"])
    np.testing.assert_allclose(table["high"] - table["mean"], of_runs["NDCG@2 conf"])
    np.testing.assert_allclose(table["mean"] - table["low"], of_runs["NDCG@2 conf"])
    np.testing.assert_allclose(table["chance"], pd.read_csv(layered / "chance.csv")["NDCG@2"].iloc[0])

    assert (layered / "report" / "layers.png").is_file()
    drawn = (layered / "report" / "layers.svg").read_text()
    assert drawn.count("Shallow net") == 1 and "Popularity" in drawn and ">layer<" in drawn
    section = (layered / "report.html").read_text().partition('<section id="layers">')[2].partition("</section>")[0]
    assert "Layer by layer" in section and "layers.csv" in section
    assert "KNN, layer 10: " in section and "Shallow net, layer 0: " in section

    # One layer is no comparison, and the file of an earlier evaluation goes.
    for path in (layered / "preds").glob("*layer*.pqt"):
        if not path.name.startswith("knn_mert_layer0"):
            path.unlink()
    write_layers(Workspace(layered), compare(Workspace(layered), Cutoffs.of(2)))
    assert not (layered / "layers.csv").exists()
