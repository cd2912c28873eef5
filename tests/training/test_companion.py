"""Runs that build on others: bimodal on its ELSA, trained first as a run of its own, and ensembles."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from omegaconf import DictConfig

from musicrec import stages
from musicrec.errors import MusicrecError
from musicrec.files import parquet_metadata
from musicrec.training.companion import companion_config
from musicrec.training.run import _attempt
from musicrec.training.run_name import run_name

SMALL = (
    *("data=custom", "embedding=random", "embedding.dim=6", "trainer=cpu", "logger=none", "eval.k=2", "eval.top_k=3"),
    *("recommender=bimodal", "recommender.hidden_dim=4", "recommender.max_epochs=2", "recommender.elsa.factors=3"),
)
ELSA = ("data=custom", "trainer=cpu", "logger=none", "eval.k=2", "eval.top_k=3", "recommender=elsa")


def record(root: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((root / "runs" / name / "run.json").read_text())
    return content


def test_elsa_is_trained_first_and_serves_all_that_need_it(
    compose: Callable[..., DictConfig], tiny_workspace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = compose(*SMALL)
    elsa = run_name(compose(*ELSA, "recommender.factors=3"))
    with caplog.at_level(logging.INFO):
        stages.train(cfg)
    assert f"{run_name(cfg)} needs {elsa}" in caplog.messages
    first = record(tiny_workspace, elsa)
    assert first["status"] == "finished" and first["settings"]["recommender"]["factors"] == 3
    for name in (elsa, run_name(cfg)):
        assert len(pd.read_parquet(tiny_workspace / "preds" / f"{name}.pqt"))
    info = parquet_metadata(tiny_workspace / "preds" / f"{run_name(cfg)}.pqt")
    assert info["table"] == "bimodal_content" and info["title"] == "Bimodal content"
    assert "ELSA" in record(tiny_workspace, run_name(cfg))["inputs"]
    stages.train(compose(*SMALL, "recommender.output=average"))
    assert record(tiny_workspace, elsa) == first
    stages.train(compose(*SMALL, "seed=1"))
    assert (tiny_workspace / "runs" / run_name(compose(*ELSA, "recommender.factors=3", "seed=1"))).is_dir()


def test_a_lost_checkpoint_is_made_again_and_another_elsa_starts_the_run_again(
    compose: Callable[..., DictConfig], tiny_workspace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = compose(*SMALL)
    stages.train(cfg)
    made = record(tiny_workspace, run_name(cfg))
    best = next((tiny_workspace / "checkpoints" / "elsa").glob("*_best.ckpt"))
    content = torch.load(best, weights_only=True)
    for damaged in (None, b"half a checkpoint"):
        best.unlink()
        if damaged:
            best.write_bytes(damaged)
        caplog.clear()
        with caplog.at_level(logging.INFO):
            stages.train(cfg)
        assert any("has no usable checkpoint any more; training it again" in line for line in caplog.messages)
        weight = torch.load(best, weights_only=True)["state_dict"]["weight"]
        assert torch.equal(weight, content["state_dict"]["weight"])
        assert record(tiny_workspace, run_name(cfg)) == made  # the same ELSA: nothing to do
    content["state_dict"]["weight"] += 1
    torch.save(content, best)
    caplog.clear()
    with caplog.at_level(logging.INFO):
        stages.train(cfg)
    assert f"{run_name(cfg)} was trained on different data or a different embedding; restarting" in caplog.messages
    assert record(tiny_workspace, run_name(cfg))["inputs"]["ELSA"] != made["inputs"]["ELSA"]


def test_an_ensemble_is_made_again_after_one_of_its_runs_was(
    compose: Callable[..., DictConfig], tiny_workspace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = ("data=custom", "trainer=cpu", "logger=none", "eval.k=2", "eval.top_k=3")
    for name in ("popularity", "itemknn"):
        stages.train(compose(*data, f"recommender={name}", f"run_name={name}"))
    cfg = compose(*data, "recommender=ensemble", "recommender.runs=[popularity,itemknn]", "run_name=both")
    stages.train(cfg)
    before = record(tiny_workspace, "both")
    assert before["inputs"]["files"].keys() == {"popularity", "itemknn"}
    with caplog.at_level(logging.INFO):
        stages.train(cfg)
    assert "both is already finished; set overwrite=true to rerun it" in caplog.messages
    stages.train(compose(*data, "recommender=itemknn", "run_name=itemknn", "recommender.shrinkage=9", "overwrite=true"))
    with caplog.at_level(logging.INFO):
        stages.train(cfg)
    assert "both was trained on different data or a different embedding; restarting" in caplog.messages
    assert record(tiny_workspace, "both")["inputs"] != before["inputs"]


def test_the_companion_has_its_own_training(compose: Callable[..., DictConfig]) -> None:
    cfg = compose(*SMALL, "trainer.max_epochs=77", "optimizer=adamw", "monitor=train/loss", "recommender.elsa.lr=0.05")
    wanted = companion_config(cfg)
    assert wanted is not None and cfg.recommender.name == "bimodal"
    assert wanted.trainer.max_epochs == 10 and wanted.monitor == "val/loss"
    assert wanted.optimizer._target_ == "torch.optim.NAdam" and wanted.optimizer.lr == 0.05
    assert not wanted.scheduler and wanted.embedding.name == "none"
    assert companion_config(compose(*ELSA)) is None


def test_the_recommender_chooses_its_monitor_unless_the_command_does(compose: Callable[..., DictConfig]) -> None:
    assert compose("recommender=bimodal").monitor == compose("recommender=hybrid").monitor == "val/ndcg@50"
    assert compose("recommender=bimodal", "monitor=train/loss").monitor == "train/loss"
    assert compose("recommender=shallow").monitor == "val/loss"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+recommender.elsa.depth=3", "recommender.elsa.depth is unknown; recommender.elsa takes factors, batch_size"),
        ("recommender.elsa=3", "recommender.elsa=3 is invalid; must be a mapping"),
        ("recommender.elsa.factors=0", "recommender.elsa.factors=0 is invalid; must be a whole number from 1"),
        ("recommender.elsa.shuffle=maybe", "recommender.elsa.shuffle=maybe is invalid; must be true or false"),
        ("recommender.elsa.lr=-1", "recommender.elsa.lr=-1 is invalid; must be a finite number above 0"),
    ],
)
def test_bad_options_of_the_companion(
    compose: Callable[..., DictConfig], tiny_workspace: Path, override: str, message: str
) -> None:
    with pytest.raises(MusicrecError, match=message):
        stages.train(compose(*SMALL, override))


def test_processes_that_the_first_run_launched_know_the_second_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_PROCID", "LOCAL_RANK", "MUSICREC_ATTEMPT"):
        monkeypatch.delenv(name, raising=False)
    first = _attempt()
    assert first and _attempt() != first  # nobody else knows it yet
    shared = _attempt()
    monkeypatch.setenv("LOCAL_RANK", "0")  # Lightning has launched the others, with this environment
    assert _attempt() == shared
    monkeypatch.setenv("MUSICREC_ATTEMPT", "")
