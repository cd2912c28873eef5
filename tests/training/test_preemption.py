"""A run that was interrupted by a signal ends with the numbers of one that was not."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from omegaconf import DictConfig

from musicrec import stages
from musicrec.files import read_json, write_json
from musicrec.recommenders.trained import TrainedRecommender
from musicrec.training import preemption
from musicrec.training.run_name import run_name

SETTINGS = (
    "data=custom",
    "embedding=random",
    "embedding.dim=6",
    "trainer=cpu",
    "eval.k=2",
    "eval.top_k=3",
    "logger=csv",
)


@pytest.fixture
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in preemption.SIGNALS}
    yield
    after = {number: signal.getsignal(number) for number in preemption.SIGNALS}
    for number, handler in before.items():
        signal.signal(number, handler)
    assert after == before


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Callable[[signal.Signals, int], None]:
    """Returns a function that makes the process get a signal at a step of the next training."""
    original = TrainedRecommender.training_step

    def at(number: signal.Signals, step: int) -> None:
        sent: list[int] = []

        def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
            if self.trainer.global_step == step and not sent:
                sent.append(step)
                os.kill(os.getpid(), number)
            return original(self, batch, batch_idx)

        monkeypatch.setattr(TrainedRecommender, "training_step", training_step)

    return at


def metrics(root: Path, run: str) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(root / "metrics" / f"{run}_{split}.pqt") for split in ("val", "test")])


@pytest.mark.parametrize("recommender", [("shallow",), ("bert", "recommender.ema_decay=0.9")])
@pytest.mark.parametrize("grace", [0.0, 1000.0])
@pytest.mark.usefixtures("handlers")
def test_an_interrupted_run_ends_like_an_undisturbed_one(
    compose: Callable[..., DictConfig],
    tiny_workspace: Path,
    interrupted: Callable[[signal.Signals, int], None],
    recommender: tuple[str, ...],
    grace: float,
) -> None:
    # Batches of two: an epoch has more than one step, so the signal at step 3 comes in the middle of one.
    name, *options = recommender
    settings = (*SETTINGS, f"recommender={name}", "recommender.batch_size=2", "trainer.max_epochs=4", *options)
    stages.train(compose(*settings, "run_name=undisturbed"))

    patient = (*settings, f"callbacks.preemption.grace={grace}", "run_name=again")
    interrupted(signal.SIGTERM, 3)
    with pytest.raises(SystemExit) as left:
        stages.train(compose(*patient))
    assert left.value.code == 128 + signal.SIGTERM
    record = read_json(tiny_workspace / "runs" / "again" / "run.json")
    assert record["status"] == "started"
    stages.train(compose(*patient))
    pd.testing.assert_frame_equal(metrics(tiny_workspace, "again"), metrics(tiny_workspace, "undisturbed"))
    paths = [tiny_workspace / "runs" / run / "metrics.csv" for run in ("again", "undisturbed")]
    again, undisturbed = map(pd.read_csv, paths)
    pd.testing.assert_frame_equal(again, undisturbed)


@pytest.mark.usefixtures("handlers")
def test_submitits_handler_comes_last_and_queues_the_job_again(
    compose: Callable[..., DictConfig], tiny_workspace: Path, interrupted: Callable[[signal.Signals, int], None]
) -> None:
    seen = []

    def requeue(number: int, frame: object) -> None:
        seen.append((number, (tiny_workspace / "checkpoints" / "shallow" / "mine_last.ckpt").is_file()))
        raise SystemExit(-1)

    before = signal.signal(signal.SIGUSR2, requeue)
    try:
        interrupted(signal.SIGUSR2, 2)
        with pytest.raises(SystemExit) as left:
            stages.train(compose(*SETTINGS, "recommender=shallow", "trainer.max_epochs=4", "run_name=mine"))
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert left.value.code == -1
    assert seen == [(signal.SIGUSR2, True)]


def test_a_run_that_stopped_early_does_not_train_on_when_it_is_resumed(
    compose: Callable[..., DictConfig], tiny_workspace: Path
) -> None:
    cfg = compose(*SETTINGS, "recommender=shallow", "recommender.patience=1", "recommender.lr=10.0")
    stages.train(cfg)
    name = run_name(cfg)
    rows = pd.read_csv(tiny_workspace / "runs" / name / "metrics.csv")
    record = tiny_workspace / "runs" / name / "run.json"
    assert rows["val/loss"].count() < cfg.trainer.max_epochs
    write_json(record, {**read_json(record), "status": "started"})
    before = metrics(tiny_workspace, name)
    stages.train(cfg)
    again = pd.read_csv(tiny_workspace / "runs" / name / "metrics.csv")
    assert again["val/loss"].count() == rows["val/loss"].count()
    pd.testing.assert_frame_equal(metrics(tiny_workspace, name), before)


def test_lightning_does_not_requeue_by_itself_inside_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_NTASKS", "SLURM_JOB_NAME"):
        monkeypatch.delenv(name, raising=False)
    assert preemption.cluster_plugins() == []
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("SLURM_JOB_NAME", "musicrec-train")
    (plugin,) = preemption.cluster_plugins()
    assert plugin.auto_requeue is False
