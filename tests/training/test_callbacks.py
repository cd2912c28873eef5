"""The moving average of the weights: what is validated, saved and evaluated; training itself is unchanged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from pytorch_lightning.callbacks import ModelCheckpoint

from musicrec import stages
from musicrec.errors import MusicrecError
from musicrec.recommenders.shallow import Shallow
from musicrec.training import callbacks
from musicrec.training.callbacks import WeightAverage
from musicrec.training.checkpoints import load_weights
from musicrec.training.run_name import run_name
from musicrec.workspace import Workspace
from tests.recommenders.conftest import made, planted

TINY = ("data=custom", "embedding=random", "embedding.dim=6", "trainer=cpu", "logger=none", "eval.k=2", "eval.top_k=3")


class Steps(pl.Callback):
    """Keeps the weights before the first step and after each, and those that each validation sees."""

    def __init__(self) -> None:
        self.taken: list[np.ndarray] = []
        self.validated: list[np.ndarray] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.taken.append(weights(pl_module))

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        self.taken.append(weights(pl_module))

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.validated.append(weights(pl_module))


def weights(module: Any) -> np.ndarray:
    learnt = [weight.detach().double().numpy().ravel() for weight in module.parameters() if weight.requires_grad]
    return np.concatenate(learnt)


def model() -> Shallow:
    data, audio = planted()
    return made(Shallow, data, audio, hidden_dim=4, batch_size=100, neg_samples=3, lr=0.05, monitor="val/ndcg@5")


def trained(
    folder: Path, decay: float | None, epochs: int, resume: Path | None = None, accumulate: int = 1
) -> tuple[Shallow, Steps, Path]:
    """Returns the model, its steps and the last checkpoint."""
    one, steps = model(), Steps()
    best = ModelCheckpoint(folder, "best", monitor=one.monitor, mode="max")
    last = ModelCheckpoint(folder, "last", enable_version_counter=False)
    averages = [] if decay is None else [WeightAverage(decay)]
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[steps, *averages, best, last],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accumulate_grad_batches=accumulate,
    )
    trainer.fit(one, datamodule=one.datamodule(), ckpt_path=resume, weights_only=True)
    return one, steps, folder / "last.ckpt"


def test_the_average_is_that_of_the_recursion_and_training_does_not_see_it(tmp_path: Path) -> None:
    plain, alone, _ = trained(tmp_path / "plain", None, 3)
    averaged, beside, last = trained(tmp_path / "averaged", 0.75, 3)
    assert len(alone.taken) == 1 + 3 * 5 == len(beside.taken)
    assert all(np.array_equal(one, other) for one, other in zip(alone.taken, beside.taken, strict=True))
    expected = alone.taken[0]
    after_epochs = []
    for step, taken in enumerate(alone.taken[1:], start=1):
        expected = 0.75 * expected + 0.25 * taken
        after_epochs += [expected] if step % 5 == 0 else []
    # The first validation is Lightning's check before training.
    np.testing.assert_allclose(beside.validated[-3:], after_epochs, atol=1e-6)
    np.testing.assert_allclose(weights(averaged), expected, atol=1e-6)
    assert np.abs(weights(plain) - expected).max() > 0.01
    content = torch.load(last, weights_only=True)
    assert content["trained_weights"].keys() == {name for name, _ in averaged.named_parameters()}
    for name, weight in plain.named_parameters():
        assert torch.equal(content["trained_weights"][name], weight)
    for name, weight in averaged.named_parameters():
        assert torch.equal(content["state_dict"][name], weight)


def test_the_monitor_is_that_of_the_average(tmp_path: Path) -> None:
    one, _, last = trained(tmp_path, 0.9, 2)
    states = torch.load(last, weights_only=True)["callbacks"].values()
    best = next(float(state["best_model_score"]) for state in states if state.get("monitor"))
    one.load_state_dict(load_weights(tmp_path / "best.ckpt"))
    assert best == pytest.approx(float(one._val_metric()), abs=1e-7)
    one.load_state_dict(torch.load(tmp_path / "best.ckpt", weights_only=True)["trained_weights"], strict=False)
    assert abs(best - float(one._val_metric())) > 1e-4


def test_a_decay_of_0_changes_nothing(tmp_path: Path) -> None:
    plain, _, _ = trained(tmp_path / "plain", None, 2)
    averaged, _, _ = trained(tmp_path / "averaged", 0.0, 2)
    assert np.array_equal(weights(plain), weights(averaged))


def test_a_resumed_average_is_that_of_an_uninterrupted_training(tmp_path: Path) -> None:
    whole, _, last = trained(tmp_path / "whole", 0.9, 4)
    _, _, half = trained(tmp_path / "half", 0.9, 2)
    rest, steps, again = trained(tmp_path / "rest", 0.9, 4, resume=half)
    assert len(steps.taken) == 1 + 2 * 5
    assert np.array_equal(weights(whole), weights(rest))
    wanted, found = (torch.load(path, weights_only=True)["trained_weights"] for path in (last, again))
    assert all(torch.equal(weight, found[name]) for name, weight in wanted.items())


def test_batches_without_a_step_do_not_count(tmp_path: Path) -> None:
    averaged, steps, _ = trained(tmp_path, 0.5, 1, accumulate=5)
    first, last = steps.taken[0], steps.taken[-1]
    np.testing.assert_allclose(weights(averaged), (first + last) / 2, atol=1e-6)


@pytest.mark.parametrize("recommender", ["shallow", "bert", "sasrec", "elsa"])
def test_train_publishes_the_average(
    compose: Callable[..., DictConfig], tiny_workspace: Path, recommender: str
) -> None:
    settings = (*TINY, f"recommender={recommender}", "trainer.max_epochs=3", "trainer.num_sanity_val_steps=0")
    found = {}
    for run, decay in (("plain", "null"), ("zero", "0.0"), ("half", "0.5")):
        stages.train(compose(*settings, f"run_name={run}", f"++recommender.ema_decay={decay}"))
        found[run] = pd.read_parquet(Workspace(tiny_workspace).predictions(run))
        saved = load_weights(tiny_workspace / f"checkpoints/{recommender}/{run}_best.ckpt")
        assert saved.keys() == load_weights(tiny_workspace / f"checkpoints/{recommender}/plain_best.ckpt").keys()
    pd.testing.assert_frame_equal(found["plain"], found["zero"])
    assert not found["plain"]["score"].equals(found["half"]["score"])


def test_without_a_decay_nothing_is_averaged_and_names_stay(compose: Callable[..., DictConfig]) -> None:
    for keys, there in (((), False), (("recommender.ema_decay=0.98",), True)):
        cfg = compose("recommender=shallow", "run_name=x", *keys)
        assert any(isinstance(one, WeightAverage) for one in callbacks.configured(cfg, model(), ())) is there
    plain, null, other = (
        run_name(compose("recommender=shallow", *keys))
        for keys in ((), ("recommender.ema_decay=null",), ("recommender.ema_decay=0.98",))
    )
    assert plain == null != other and "ema_decay-0.98" in other


@pytest.mark.parametrize("key", ["recommender.ema_decay", "callbacks.weight_average.decay"])
@pytest.mark.parametrize("value", ["1", "-0.1", "nan", "often", "true", "[0.9]"])
def test_a_decay_that_is_none(compose: Callable[..., DictConfig], tiny_workspace: Path, key: str, value: str) -> None:
    with pytest.raises(MusicrecError, match=rf"{key}=.*must be a finite number from 0 and below 1 or null"):
        stages.train(compose(*TINY, "recommender=bert", f"{key}={value}"))
