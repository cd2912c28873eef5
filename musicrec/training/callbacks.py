"""The callbacks of a training: made from the group `callbacks`; early stopping that survives a resume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytorch_lightning as pl
from hydra.utils import instantiate
from pytorch_lightning.callbacks import LearningRateMonitor
from pytorch_lightning.loggers import Logger

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
