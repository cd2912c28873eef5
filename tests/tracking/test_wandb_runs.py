"""What a run tells W&B and TensorBoard, read back from their files; W&B's failures are not the run's."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import wandb
from omegaconf import DictConfig
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from musicrec import cli, stages
from musicrec.errors import MusicrecError
from musicrec.tracking import wandb_access, wandb_runs
from musicrec.tracking.wandb_runs import finish_wandb
from musicrec.training import outputs
from musicrec.training.run_name import run_name
from tests.tracking.wandb_reader import OfflineRun, read_offline_run

SETTINGS = (
    "data=custom",
    "data.name=tiny",
    "recommender=shallow",
    "embedding=random",
    "embedding.dim=6",
    "trainer=cpu",
)
SHORT = (*SETTINGS, "trainer.max_epochs=2", "eval.k=2", "eval.top_k=3")


def offline_runs(root: Path) -> list[OfflineRun]:
    """Returns the finished runs: W&B's own process may still be writing when ours continues."""
    deadline = time.monotonic() + 20
    while True:
        runs = [read_offline_run(folder) for folder in sorted((root / "wandb").glob("offline-run-*"))]
        if all(run.exit_code is not None for run in runs) or time.monotonic() > deadline:
            return runs
        time.sleep(0.1)


def test_an_offline_run_holds_configuration_history_and_summary(
    compose: Callable[..., DictConfig], tiny_workspace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    cfg = compose(*SHORT, "logger=wandb", "logger.wandb.group=june")
    stages.train(cfg)
    name = run_name(cfg)
    (run,) = offline_runs(tiny_workspace)
    assert {key: value for key, value in run.run.items() if key != "id"} == {
        "name": name,
        "project": "musicrec",
        "group": "june",
        "job_type": "train",
        "tags": ["random", "shallow", "tiny"],
    }
    assert run.config["recommender"]["neg_samples"] == 20
    assert run.config["seed"] == 0
    assert run.config["trainer"]["max_epochs"] == 2
    assert run.config["paths"]["root"] == str(tiny_workspace)
    facts = run.config["facts"]
    assert (facts["embedding_size"], facts["users"], facts["tracks"], facts["items"]) == (6, 4, 7, 7)
    assert (facts["train_rows"], facts["val_users"], facts["test_users"]) == (16, 2, 2)

    losses = [row["val/loss"] for row in run.history if "val/loss" in row]
    assert len(losses) == 2
    assert sum("train/loss" in row for row in run.history) == 2
    assert run.summary["val/loss"] == {"min": pytest.approx(min(losses))}
    assert run.metrics["val/loss"].summary.min
    for split in ("val", "test"):
        means = pd.read_parquet(tiny_workspace / "metrics" / f"{name}_{split}.pqt").drop(columns="user_id").mean()
        for metric, value in means.items():
            assert run.summary[f"{split}/{metric}"] == pytest.approx(value)
    assert run.metrics["*"].step_metric == "trainer/global_step"
    assert run.exit_code == 0
    assert caplog.text.count("upload it with: wandb sync ") == 1


def test_tensorboard_holds_the_same_with_hparams(compose: Callable[..., DictConfig], tiny_workspace: Path) -> None:
    cfg = compose(*SHORT, "logger=tensorboard")
    stages.train(cfg)
    events = EventAccumulator(str(tiny_workspace / "runs" / run_name(cfg))).Reload()
    assert len(events.Scalars("val/loss")) == 2
    assert len(events.Scalars("test/NDCG@2")) >= 1
    plugin = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"recommender/neg_samples" in plugin
    assert b"facts/embedding_size" in plugin


def test_wandb_that_cannot_start_is_a_warning(
    compose: Callable[..., DictConfig],
    tiny_workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def init(**options: Any) -> None:
        raise wandb.errors.CommError("no route to host")

    monkeypatch.setattr(wandb, "init", init)
    assert stages.train(compose(*SHORT, "logger=wandb")) is not None
    assert "W&B logging is disabled for this run: no route to host" in caplog.text


def test_wandb_that_fails_in_the_middle_is_one_warning(
    compose: Callable[..., DictConfig],
    tiny_workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def log(self: Any, *args: Any, **kwargs: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(wandb.Run, "log", log)
    try:
        assert stages.train(compose(*SHORT, "logger=wandb")) is not None
    finally:
        finish_wandb()
    assert caplog.text.count("W&B failed; no further logging for this run: disk full") == 1


def test_a_failing_run_leaves_no_open_wandb_run_for_the_next_job(
    compose: Callable[..., DictConfig], tiny_workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise RuntimeError("no lists")

    monkeypatch.setattr(outputs, "predictions", fail)
    with pytest.raises(RuntimeError, match="no lists"):
        cli.run(stages.train, compose(*SHORT, "logger=wandb"))
    assert wandb.run is None
    (run,) = offline_runs(tiny_workspace)
    assert run.exit_code == 1


class FakeRun:
    """Stands in for a run that W&B's server knows."""

    def __init__(self, options: dict[str, Any]):
        self.options = options
        self.id = options["id"]
        self.settings = SimpleNamespace(mode=options["mode"])
        self.dir = "files"

    def define_metric(self, name: str, **options: Any) -> None:
        pass


def online(monkeypatch: pytest.MonkeyPatch, fails: bool = False) -> list[dict[str, Any]]:
    """Makes W&B look logged in; returns what its runs are started with."""
    started: list[dict[str, Any]] = []

    def init(**options: Any) -> FakeRun:
        started.append(options)
        if fails and options["mode"] == "online":
            raise wandb.errors.CommError("timed out")
        return FakeRun(options)

    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setattr(wandb_access, "unreachable", lambda url: None)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    wandb.teardown()  # forgets the mode of earlier tests
    return started


def test_a_resumed_run_continues_its_wandb_run_and_a_new_one_does_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started = online(monkeypatch)
    for _ in range(2):
        assert wandb_runs.start_run(str(tmp_path), "a", tags=["x" * 100, ""]) is not None
    (tmp_path / "runs" / "a" / wandb_runs.WANDB_ID).unlink()
    wandb_runs.start_run(str(tmp_path), "a")
    first, resumed, new = started
    assert first["id"] == resumed["id"] != new["id"]
    assert {options["resume"] for options in started} == {"allow"}
    assert {options["mode"] for options in started} == {"online"}
    assert first["tags"] == ["x" * 64]


def test_offline_attempts_have_their_own_ids_in_one_group(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started = online(monkeypatch)
    for _ in range(2):
        wandb_runs.start_run(str(tmp_path), "a", mode="offline", group="g")
    assert started[0]["id"] != started[1]["id"]
    assert [options["group"] for options in started] == ["g", "g"]
    assert [options["resume"] for options in started] == [None, None]


def test_a_server_that_does_not_answer_means_offline(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    started = online(monkeypatch, fails=True)
    assert wandb_runs.start_run(str(tmp_path), "a") is not None
    assert [options["mode"] for options in started] == ["online", "offline"]
    assert "W&B does not answer; the run is logged offline: timed out" in caplog.text


def test_modes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started = online(monkeypatch)
    assert wandb_runs.start_run(str(tmp_path), "a", mode="disabled") is None
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert wandb_runs.start_run(str(tmp_path), "a") is None
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    wandb.teardown()  # forgets the key
    wandb_runs.start_run(str(tmp_path), "a")
    assert [options["mode"] for options in started] == ["offline"]
    with pytest.raises(MusicrecError, match="must be auto, online, offline or disabled"):
        wandb_runs.start_run(str(tmp_path), "a", mode="sometimes")  # type: ignore[arg-type]
