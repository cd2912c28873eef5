"""debug=…: the options run, and nothing they write is taken for a real run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import DictConfig

from musicrec import stages

SMALL = (
    *("data=custom", "embedding=random", "embedding.dim=6", "eval.k=2", "eval.top_k=3"),
    *("recommender.batch_size=2", "trainer.accelerator=cpu"),
)


def files(root: Path) -> set[Path]:
    """Returns the files of a workspace, locks and remembered hashes left out."""
    return {path for path in root.rglob("*") if path.is_file() and not path.name.startswith(".")}


@pytest.mark.parametrize("recommender", ["shallow", "bert"])
@pytest.mark.parametrize("option", ["default", "fast_dev_run", "limit", "profiler"])
def test_a_debug_run_runs_to_the_end_and_writes_apart(
    compose: Callable[..., DictConfig], tiny_workspace: Path, option: str, recommender: str
) -> None:
    before = files(tiny_workspace)
    cfg = compose(*SMALL, f"recommender={recommender}", f"debug={option}", "run_name=mine")
    for _ in range(2):  # a debug run is never "already finished"
        assert stages.train(cfg) is not None
    written = files(tiny_workspace) - before
    assert written
    assert all(path.is_relative_to(tiny_workspace / "debug") for path in written)
    assert (tiny_workspace / "debug" / "preds" / "mine.pqt").is_file()
    checkpoint = tiny_workspace / "debug" / "checkpoints" / recommender / "mine_best.ckpt"
    assert checkpoint.is_file() is (option != "fast_dev_run")
    assert bool(list((tiny_workspace / "debug" / "profile").glob("*"))) is (option == "profiler")


def test_a_dry_run_takes_one_step_and_says_that_its_weights_are_the_last(
    compose: Callable[..., DictConfig], tiny_workspace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stages.train(compose(*SMALL, "recommender=shallow", "debug=fast_dev_run", "run_name=mine"))
    assert "mine: no checkpoint was written; using the weights of the last step" in caplog.text
    history = pd.read_csv(tiny_workspace / "debug" / "runs" / "mine" / "metrics.csv")
    assert history["step"].tolist() == [1]
    assert "test/NDCG@2" in history


def test_limit_trains_two_epochs_of_three_batches(compose: Callable[..., DictConfig], tiny_workspace: Path) -> None:
    stages.train(compose(*SMALL, "recommender=shallow", "debug=limit", "run_name=mine"))
    history = pd.read_csv(tiny_workspace / "debug" / "runs" / "mine" / "metrics.csv")
    assert history["train/loss"].count() == 2
    assert history["step"].max() == 6


@pytest.mark.parametrize("recommender", ["shallow", "bert"])
def test_overfitting_one_batch_brings_its_loss_down(
    compose: Callable[..., DictConfig], tiny_workspace: Path, recommender: str
) -> None:
    more = ("recommender.lr=0.005", "recommender.dropout=0") if recommender == "bert" else ("recommender.lr=0.02",)
    stages.train(compose(*SMALL, f"recommender={recommender}", "debug=overfit", "run_name=mine", *more))
    losses = pd.read_csv(tiny_workspace / "debug" / "runs" / "mine" / "metrics.csv")["train/loss"].dropna().tolist()
    assert len(losses) == 50
    assert losses[-1] < 0.2 * losses[0]


def test_evaluate_does_not_see_a_debug_run(
    compose: Callable[..., DictConfig], tiny_workspace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stages.train(compose(*SMALL, "recommender=shallow", "debug=limit"))
    stages.train(compose(*SMALL[:-2], "recommender=knn", "logger=none", "trainer=cpu"))
    stages.evaluate(compose(*SMALL[:-2], "recommender=knn", "logger=none"))
    compared = pd.read_csv(tiny_workspace / "comparison.csv")
    assert set(compared["recommender"]) == {"knn"}
