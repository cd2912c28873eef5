"""Training that may be told to leave: SLURM preempts a job or its time is up, somebody stops the process.

The checkpoint of the last epoch is what a run goes on from, because an epoch is repeated exactly (its random numbers
follow from seed and epoch) and half of one is not. So a signal ends training at the end of an epoch if that is near,
else after the step, and what the resumed run computes is what the undisturbed one would have.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

log = logging.getLogger(__name__)

# USR2 is submitit's notice that the time is up; SLURM's preemption, scontrol requeue and scancel send TERM.
SIGNALS = (signal.SIGTERM, signal.SIGUSR2)
# SLURM kills KillWait (30 s by default) after TERM; writing a checkpoint and leaving takes some of it.
GRACE = 20.0  # seconds
# Tables of users and their optimiser state can be gigabytes: short epochs are not saved one by one.
SECONDS_BETWEEN_CHECKPOINTS = 60.0


class PreemptionGuard(pl.Callback):
    """Ends training on SIGTERM and SIGUSR2 so that it can be resumed, then does what the signal did before.

    submitit's own handler of SIGUSR2 queues the job again, so it comes last. Lightning's is not used: it waits for
    another signal and skips one that has a handler (lightning issue 14610).

    Args:
        grace: seconds in which an epoch may still be finished; None = GRACE.
    """

    def __init__(self, grace: float | None = None):
        self._grace = GRACE if grace is None else grace
        self._previous: dict[signal.Signals, Any] = {}
        self._received: signal.Signals | None = None
        self._deadline = 0.0
        self._epoch_start = 0.0

    @property
    def leaving(self) -> bool:
        """Returns whether this process was told to leave."""
        return self._received is not None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # A run that was told to leave after early stopping had decided must not train one more epoch.
        stopping = (callback for callback in trainer.callbacks if isinstance(callback, EarlyStopping))  # type: ignore[attr-defined]
        if any(callback.wait_count >= callback.patience for callback in stopping):
            trainer.should_stop = True
        if threading.current_thread() is not threading.main_thread():
            return  # only the main thread may handle signals
        for number in SIGNALS:
            self._previous[number] = signal.signal(number, self._receive)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._epoch_start = time.monotonic()
        if self._wanted(trainer):
            self._leave(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._wanted(trainer) and not self._epoch_ends_in_time(trainer, batch_idx + 1):
            self._leave(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._wanted(trainer):
            self._leave(trainer)
        self._restore()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._restore()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received = signal.Signals(number)
        self._deadline = time.monotonic() + self._grace
        log.warning("%s received: training stops as soon as it can be resumed", self._received.name)

    def _wanted(self, trainer: pl.Trainer) -> bool:
        """Returns whether any process of the run was told to leave: all must stop at the same step."""
        return _any(trainer, self.leaving)

    def _epoch_ends_in_time(self, trainer: pl.Trainer, done: int) -> bool:
        now = time.monotonic()
        left = (now - self._epoch_start) / done * (int(trainer.num_training_batches) - done)
        in_time = now + left < self._deadline
        return in_time if trainer.world_size == 1 else trainer.strategy.reduce_boolean_decision(in_time, all=True)

    def _leave(self, trainer: pl.Trainer) -> None:
        """Ends the process, by the handler that was there before if it does."""
        number = self._received or signal.SIGTERM
        handler = self._previous.get(number)
        self._restore()
        log.warning("training stops in epoch %d; started again, it goes on", trainer.current_epoch + 1)
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
    """Saves what a run goes on from: the last epoch, when the process was told to leave and now and then before.

    `ModelCheckpoint(save_last=True)` saves only when the monitored metric improved, which may be `patience` epochs ago.

    Args:
        path: `{run}_last.ckpt`.
        guard: knows whether the process was told to leave.
    """

    def __init__(self, path: Path, guard: PreemptionGuard):
        super().__init__(
            dirpath=path.parent, filename=path.stem, enable_version_counter=False, auto_insert_metric_name=False
        )
        self._guard = guard
        self._saved = time.monotonic()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._due(trainer):
            super().on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._due(trainer):
            super().on_train_epoch_end(trainer, pl_module)

    def _due(self, trainer: pl.Trainer) -> bool:
        final = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        long_ago = time.monotonic() - self._saved > SECONDS_BETWEEN_CHECKPOINTS
        if not _any(trainer, self._guard.leaving or final or long_ago):
            return False
        self._saved = time.monotonic()
        return True


def _any(trainer: pl.Trainer, here: bool) -> bool:
    """Returns whether something is true in any process of the run."""
    return here if trainer.world_size == 1 else trainer.strategy.reduce_boolean_decision(here, all=False)


def cluster_plugins() -> list[Any]:
    """Returns the plugins for the Trainer inside a SLURM job: none of Lightning's own requeueing."""
    from lightning_fabric.plugins.environments import SLURMEnvironment

    return [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []
