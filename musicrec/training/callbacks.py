"""Callbacks of a training, from the group `callbacks`; early stopping and averaged weights that survive a resume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from pytorch_lightning.callbacks import LearningRateMonitor
from pytorch_lightning.loggers import Logger
from torch.optim.swa_utils import get_ema_multi_avg_fn

from musicrec.values import Decay

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from musicrec.recommenders.trained import TrainedRecommender


def configured(cfg: DictConfig, model: TrainedRecommender, loggers: Sequence[Logger]) -> list[pl.Callback]:
    """Returns the callbacks that the group `callbacks` describes.

    `${monitor}` and `${monitor_mode}` in them are what the model makes of them: the metric as it is logged, or the
    training loss where there is nothing to validate on.

    Args:
        cfg: the run's configuration; it is not changed.
        model: knows what is monitored.
        loggers: where the learning rate is logged; without any it is not.
    """
    resolved = cfg.copy()
    resolved.monitor, resolved.monitor_mode = model.monitor, model.monitor_mode
    nodes = [node for node in resolved.callbacks.values() if node is not None]
    made: list[pl.Callback] = [instantiate(node, _convert_="all") for node in nodes]
    made = [callback for callback in made if not isinstance(callback, WeightAverage) or callback.decay is not None]
    # LearningRateMonitor refuses a trainer without loggers, and only the first process of a DDP run has any.
    return [callback for callback in made if loggers or not isinstance(callback, LearningRateMonitor)]


class EarlyStopping(pl.callbacks.EarlyStopping):
    """Lightning's early stopping, exact across a resume.

    It decides when the metric is logged, which is before checkpoints are written, so that they hold the decision.

    Args:
        monitor: name of the metric.
        mode: `min` or `max`: which value of the metric is better.
        patience: epochs without a better value before training stops.
        min_delta: by how much a value must be better to count.
    """

    def __init__(self, monitor: str, mode: str, patience: int, min_delta: float = 0.0):
        super().__init__(
            monitor=monitor,
            mode=mode,
            patience=patience,
            min_delta=min_delta,
            check_on_train_epoch_end=monitor.startswith("train/"),
        )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keeps a run that was interrupted after the decision to stop from training one more epoch."""
        if self.wait_count >= max(self.patience, 1):
            trainer.should_stop = True


class WeightAverage(pl.Callback):
    """Exponential moving average of the learnt weights: what validation, checkpoints and predictions use.

    After each step the average becomes decay · average + (1 - decay) · weights, beginning with the initial weights;
    training itself goes on from the weights as they are. Lightning's own `EMAWeightAveraging` copies the whole module,
    data included, and hands the weights back before `TrainedRecommender` computes its monitor.

    A checkpoint has the average in `state_dict`, and under `trained_weights` what training resumes from.

    Args:
        decay: share of the average that a step keeps, below 1; None: nothing is averaged (`configured` leaves it out).
    """

    def __init__(self, decay: Decay | None = None):
        self.decay = decay
        self._update = get_ema_multi_avg_fn(0.0 if decay is None else decay)
        # The average, or during validation the weights that training goes on from.
        self._other: dict[str, torch.Tensor] = {}
        self._swapped = False
        self._step = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begins with the weights as they are, unless a checkpoint had an average."""
        learnt = _learnt(pl_module)
        known = self._other or {name: weight.detach().clone() for name, weight in learnt.items()}
        self._other = {name: known[name].to(weight.device) for name, weight in learnt.items()}
        self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Updates the average if the optimizer took a step."""
        if trainer.global_step > self._step:
            self._step = trainer.global_step
            with torch.no_grad():
                weights = [weight.detach() for weight in _learnt(pl_module).values()]
                self._update(list(self._other.values()), weights, 0)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Validates the average."""
        self._swap(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Gives training its weights back; checkpoints are written after that."""
        self._swap(pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leaves the average in the model."""
        self._swap(pl_module)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Stores the average as the weights, and the weights beside them."""
        inside = {name: checkpoint["state_dict"][name] for name in self._other}
        average, trained = (inside, self._other) if self._swapped else (self._other, inside)
        checkpoint["state_dict"] = {**checkpoint["state_dict"], **average}
        checkpoint["trained_weights"] = dict(trained)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Takes the average from the weights in a checkpoint, which the model has, and gives it those of training."""
        trained = checkpoint["trained_weights"]
        self._other = {name: checkpoint["state_dict"][name].clone() for name in trained}
        with torch.no_grad():
            for name, weight in _learnt(pl_module).items():
                weight.copy_(trained[name])

    def _swap(self, module: pl.LightningModule) -> None:
        """Exchanges the average and the weights in the model; nothing before the first step (the sanity check)."""
        if not self._other:
            return
        self._swapped = not self._swapped
        with torch.no_grad():
            for name, weight in _learnt(module).items():
                held = weight.detach().clone()
                weight.copy_(self._other[name])
                self._other[name].copy_(held)


def _learnt(module: pl.LightningModule) -> dict[str, torch.nn.Parameter]:
    return {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
