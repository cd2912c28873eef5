"""Training progress: one bar over all epochs in a terminal, a line now and then in a log file."""

from __future__ import annotations

import logging
import sys
import time

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 15.0


class TrainingProgress(pl.Callback):
    """Shows epoch, losses, the best value of the monitored metric so far and the time left."""

    def __init__(self, run: str, monitor: str, mode: str):
        self._run = run
        self._monitor = monitor
        self._better = min if mode == "min" else max
        self._best: float | None = None
        self._last_line = 0.0
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._last_line = time.monotonic()
        if not (trainer.is_global_zero and sys.stderr.isatty()):
            return
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        total = (trainer.max_epochs or 0) * int(trainer.num_training_batches)
        self._task = self._bar.add_task(self._run, total=total, completed=trainer.global_step)
        self._bar.start()

    def on_train_batch_end(self, trainer: pl.Trainer, *args: object) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=trainer.global_step)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        shown = {name: float(value) for name, value in trainer.callback_metrics.items() if "/" in name}
        value = shown.get(self._monitor)
        if value is not None:
            self._best = value if self._best is None else self._better(value, self._best)
        text = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        text += "".join(f"  {name} {value:.4f}" for name, value in shown.items())
        if self._best is not None:
            text += f"  best {self._best:.4f}"
        if self._bar is not None:
            self._bar.update(self._task, description=f"{self._run}  {text}")
        elif trainer.is_global_zero and time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            log.info("%s  %s", self._run, text)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
