"""LastRow: the metrics of an epoch, kept in its checkpoint so that a killed run's metrics.csv is whole again."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl

from musicrec.tracking.metrics_csv import MetricsCsv

_KEY = "logged_at_the_end_of_the_epoch"


class LastRow(pl.Callback):
    """Carries what Lightning logs of an epoch after its checkpoints: a process killed in between never logs it.

    What validation found is logged before. Only metrics.csv is completed: W&B and TensorBoard may already hold it.
    """

    def __init__(self) -> None:
        self._loaded: dict[str, Any] | None = None

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Adds the metrics and the step that they are logged at."""
        logged = {name: float(value) for name, value in trainer.logged_metrics.items()}
        values = {name: value for name, value in logged.items() if not name.startswith("val/")}
        checkpoint[_KEY] = {
            "step": trainer.global_step - 1,
            "metrics": {"epoch": float(trainer.current_epoch), **values} if values else {},
        }

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Remembers them; checkpoints of earlier versions have none."""
        self._loaded = checkpoint.get(_KEY)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Completes metrics.csv."""
        loaded, self._loaded = self._loaded, None
        if not loaded or not loaded["metrics"]:
            return
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCsv):
                logger.complete(int(loaded["step"]), loaded["metrics"])
