"""What stops a training that must not go on: a loss that is not finite, a run that belongs to another process."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from musicrec.errors import MusicrecError
from musicrec.training.lease import Lease

# Losses are looked at together, since each look at one waits for the GPU.
_STEPS_AT_ONCE = 50


class FiniteLoss(pl.Callback):
    """Stops a run whose loss is not finite before a checkpoint is written.

    Args:
        run: name of the run.
        causes: what may be wrong, for the message.
    """

    def __init__(self, run: str, causes: str):
        self._run = run
        self._causes = causes
        self._losses: list[torch.Tensor] = []
        self._first = 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keeps the loss, and looks at the last ones now and then."""
        loss = outputs["loss"] if isinstance(outputs, Mapping) else outputs
        if not isinstance(loss, torch.Tensor):
            return
        if not self._losses:
            self._first = trainer.global_step
        self._losses.append(loss.detach())
        if len(self._losses) >= _STEPS_AT_ONCE or loss.device.type == "cpu":
            self._look(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Looks at the losses before the best epoch is chosen."""
        self._look(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Looks at what validation found."""
        for name, value in trainer.callback_metrics.items():
            if name.startswith("val/") and not math.isfinite(value):
                raise self._error(name, float(value), trainer.global_step, trainer.current_epoch)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Looks at the losses before the last checkpoint is written."""
        self._look(trainer)

    def _look(self, trainer: pl.Trainer) -> None:
        losses, self._losses = self._losses, []
        if not losses:
            return
        values = torch.stack([loss.float().reshape(()) for loss in losses]).cpu()
        bad = torch.nonzero(~torch.isfinite(values)).flatten().tolist()
        if bad:
            raise self._error("train/loss", float(values[bad[0]]), self._first + bad[0], trainer.current_epoch)

    def _error(self, name: str, value: float, step: int, epoch: int) -> MusicrecError:
        return MusicrecError(
            f"{self._run}: {name} is {value} at step {step} (epoch {epoch + 1}), and nothing is published; likely "
            f"causes: {self._causes}"
        )


class Ownership(pl.Callback):
    """Tells others how far the run is, and stops a training whose run another process has taken over.

    Args:
        lease: of the run.
    """

    def __init__(self, lease: Lease):
        self._lease = lease

    def on_train_batch_end(self, *args: Any) -> None:
        """Stops if the last heartbeat found another owner."""
        self._lease.check_flag()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tells the epoch."""
        self._lease.progress = f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}"


def refuse_infinite_weights(run: str, model: nn.Module, causes: str) -> None:
    """Refuses a model of which a weight is not finite (MusicrecError), naming the weight."""
    for name, weight in model.named_parameters():
        if not torch.isfinite(weight).all():
            raise MusicrecError(
                f"{run}: weights of {name} are not finite, and nothing is published; likely causes: {causes}"
            )
