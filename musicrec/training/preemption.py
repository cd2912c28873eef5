"""Graceful stop and resume on SIGTERM and SIGUSR2 (preemption, time limit, a stopped process).

A run resumes from the checkpoint of the last whole epoch, because an epoch can be repeated exactly (its random numbers
follow from seed and epoch) and half of one cannot. So a signal ends training at the end of an epoch if that is near,
else after the step, and the resumed run computes what the uninterrupted one would have.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins.environments import SLURMEnvironment
from pytorch_lightning.callbacks import ModelCheckpoint

from musicrec.values import NotNegative

log = logging.getLogger(__name__)

# USR2 is submitit's notice that the time is up; SLURM's preemption, scontrol requeue and scancel send TERM.
SIGNALS = (signal.SIGTERM, signal.SIGUSR2)


class PreemptionGuard(pl.Callback):
    """Ends training on SIGTERM and SIGUSR2 so that it can be resumed, then does what the signal did before.

    submitit's own handler of SIGUSR2 queues the job again, so it comes last. Lightning's is not used: it waits for
    another signal and skips one that has a handler (lightning issue 14610).

    Args:
        grace: seconds in which an epoch may still be finished. SLURM kills the process KillWait (30 s by default) after
            SIGTERM; writing a checkpoint and leaving takes some of it.
    """

    def __init__(self, grace: NotNegative = 20.0):
        self._grace = grace
        self._previous: dict[signal.Signals, Any] = {}
        self._received: signal.Signals | None = None
        self._deadline = 0.0
        self._epoch_start = 0.0

    @property
    def leaving(self) -> bool:
        """Returns whether this process received a signal to stop."""
        return self._received is not None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Takes the signals over."""
        if threading.current_thread() is not threading.main_thread():
            return  # only the main thread may handle signals
        for number in SIGNALS:
            self._previous[number] = signal.signal(number, self._receive)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leaves before an epoch that would have to be repeated."""
        self._epoch_start = time.monotonic()
        if self._wanted(trainer):
            self._leave(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Leaves in an epoch that does not end in time."""
        if self._wanted(trainer) and not self._epoch_ends_in_time(trainer, batch_idx + 1):
            self._leave(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leaves after the last epoch, or gives the signals back."""
        if self._wanted(trainer):
            self._leave(trainer)
        self._restore()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Gives the signals back."""
        self._restore()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received = signal.Signals(number)
        self._deadline = time.monotonic() + self._grace
        log.warning("%s received: training stops as soon as it can be resumed", self._received.name)

    def _wanted(self, trainer: pl.Trainer) -> bool:
        """Returns whether any process of the run received a signal: all must stop at the same step."""
        return _any(trainer, self.leaving)

    def _epoch_ends_in_time(self, trainer: pl.Trainer, done: int) -> bool:
        now = time.monotonic()
        left = (now - self._epoch_start) / done * (int(trainer.num_training_batches) - done)
        in_time = now + left < self._deadline
        return in_time if trainer.world_size == 1 else trainer.strategy.reduce_boolean_decision(in_time, all=True)

    def _leave(self, trainer: pl.Trainer) -> None:
        """Ends the process, through the handler that was there before if there was one."""
        number = self._received or signal.SIGTERM
        handler = self._previous.get(number)
        self._restore()
        log.warning("training stops in epoch %d; run the same command to resume", trainer.current_epoch + 1)
        for logger in trainer.loggers:
            logger.finalize("preempted")
        if number == signal.SIGUSR2 and callable(handler):
            handler(number, None)
        sys.exit(128 + number)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._previous = {}


class LastCheckpoint(ModelCheckpoint):
    """Saves what a run resumes from: the last epoch, when a signal was received, and now and then before.

    `ModelCheckpoint(save_last=True)` saves only when the monitored metric improved, which may be `patience` epochs ago.

    Args:
        dirpath: folder of the checkpoint.
        filename: its name without `.ckpt`.
        seconds: at least so many between two checkpoints; tables of users and their optimiser state can be gigabytes.
    """

    def __init__(self, dirpath: str, filename: str, seconds: NotNegative = 60.0):
        super().__init__(
            dirpath=dirpath, filename=filename, enable_version_counter=False, auto_insert_metric_name=False
        )
        self._seconds = seconds
        self._guards: list[PreemptionGuard] = []
        self._saved = time.monotonic()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Finds the callback that knows whether a signal was received."""
        super().setup(trainer, pl_module, stage)
        callbacks = trainer.callbacks  # type: ignore[attr-defined]
        self._guards = [callback for callback in callbacks if isinstance(callback, PreemptionGuard)]

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Saves if it is time."""
        if self._due(trainer):
            super().on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Saves if it is time."""
        if self._due(trainer):
            super().on_train_epoch_end(trainer, pl_module)

    def _due(self, trainer: pl.Trainer) -> bool:
        final = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        long_ago = time.monotonic() - self._saved > self._seconds
        leaving = any(guard.leaving for guard in self._guards)
        if not _any(trainer, leaving or final or long_ago):
            return False
        self._saved = time.monotonic()
        return True


def _any(trainer: pl.Trainer, here: bool) -> bool:
    """Returns whether something is true in any process of the run."""
    return here if trainer.world_size == 1 else trainer.strategy.reduce_boolean_decision(here, all=False)


def cluster_plugins() -> list[Any]:
    """Returns the plugins for the Trainer inside a SLURM job: none of Lightning's own requeueing."""
    return [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []
