"""TrainingProgress: epoch, losses and time left of a training."""

from __future__ import annotations

from contextlib import ExitStack

import pytorch_lightning as pl

from musicrec.progress import Advance, progress


class TrainingProgress(pl.Callback):
    """Shows epoch, losses, the best value of the monitored metric so far and the time left.

    Args:
        run: name of the run.
        monitor: name of the metric.
        mode: `min` or `max`: which value of the metric is the best.
        enabled: False shows nothing.
    """

    def __init__(self, run: str, monitor: str, mode: str, enabled: bool = True):
        self._run = run
        self._monitor = monitor
        self._better = min if mode == "min" else max
        self._enabled = enabled
        self._best: float | None = None
        self._open = ExitStack()
        self._advance: Advance | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Opens the bar or the log's lines."""
        if self._enabled and trainer.is_global_zero:
            total = max(trainer.max_epochs or 0, 0) * int(trainer.num_training_batches)
            shown = progress(self._run, total, unit="steps", done=trainer.global_step, transient=True)
            self._advance = self._open.enter_context(shown)

    def on_train_batch_end(self, trainer: pl.Trainer, *args: object) -> None:
        """Counts a step."""
        if self._advance is not None:
            self._advance(1)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Shows the metrics of the epoch."""
        if self._advance is None:
            return
        shown = {name: float(value) for name, value in trainer.callback_metrics.items() if "/" in name}
        value = shown.get(self._monitor)
        if value is not None:
            self._best = value if self._best is None else self._better(value, self._best)
        text = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        text += "".join(f"  {name} {value:.4f}" for name, value in shown.items())
        if self._best is not None:
            text += f"  best {self._best:.4f}"
        self._advance(0, text)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Closes the bar."""
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Closes the bar."""
        self._close()

    def _close(self) -> None:
        self._advance = None
        self._open.close()
