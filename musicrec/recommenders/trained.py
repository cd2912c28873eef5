"""TrainedRecommender: what all recommenders share that Lightning trains, and the names of monitors."""

from __future__ import annotations

import hashlib
import inspect
import logging
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from musicrec.columns import TRACK, USER
from musicrec.data.batches.base import BatchDataModule, BatchSource, derived_seed
from musicrec.errors import MusicrecError, demand
from musicrec.evaluation.metrics import metric_columns
from musicrec.evaluation.retrieval_metric import RetrievalMetric
from musicrec.recommenders.base import Recommender
from musicrec.recommenders.inputs import VAL_LOSS, Inputs, Training
from musicrec.recommenders.schedules import follows_metrics, is_plateau

if TYPE_CHECKING:
    from pytorch_lightning.utilities.types import OptimizerLRScheduler

__all__ = ["TRAIN_LOSS", "VAL_LOSS", "TrainedRecommender", "Training", "canonical_monitor"]

log = logging.getLogger(__name__)

TRAIN_LOSS = "train/loss"
# Val users whose lists are made at once for the monitor.
_USERS_AT_ONCE = 4096


class TrainedRecommender(Recommender, pl.LightningModule):
    """A recommender that Lightning trains. A resumed run repeats an uninterrupted one to the bit.

    Args:
        inputs: split, item embeddings, seed (initial weights, order, negatives, masks and dropout) and training
            settings (optimizer, scheduler, monitor).
    """

    trainable = True

    def __init__(self, inputs: Inputs):
        super().__init__(inputs)
        self.settings = inputs.training
        self.wanted_monitor = canonical_monitor(inputs.training.monitor)

    @abstractmethod
    def sources(self) -> tuple[BatchSource, BatchSource | None]:
        """Returns training and validation batches; None if there is nothing to validate on."""

    @abstractmethod
    def loss(self, batch: Any) -> tuple[torch.Tensor, int]:
        """Returns the mean loss of a batch and over how many examples it is the mean."""

    def penalty(self, batch: Any) -> torch.Tensor | float:
        """Returns what training adds to the loss."""
        return 0.0

    @cached_property
    def _batches(self) -> tuple[BatchSource, BatchSource | None]:
        return self.sources()

    def datamodule(self) -> BatchDataModule:
        """Returns the batches for `Trainer.fit`."""
        return BatchDataModule(*self._batches)

    @property
    def monitor(self) -> str:
        """Returns the metric that chooses the best epoch; without validation users it is the training loss."""
        return self.wanted_monitor if self._batches[1] is not None else TRAIN_LOSS

    @property
    def monitor_mode(self) -> Literal["min", "max"]:
        """Returns `min` for a loss, `max` for a metric."""
        return "min" if self.monitor in (TRAIN_LOSS, VAL_LOSS) else "max"

    @contextmanager
    def seeded(self) -> Iterator[None]:
        """Draws initial weights from `seed`, whatever was drawn before, and leaves torch's generator as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(self.seed, 2))
            yield

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """Returns loss plus penalty; logs the loss."""
        # Dropout draws from torch's generator: its state follows from the step, so a resumed run repeats it.
        torch.manual_seed(derived_seed(self.seed, 3, self.current_epoch, batch_idx, self.global_rank))
        loss, size = self.loss(batch)
        self.log(TRAIN_LOSS, loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=size, sync_dist=True)
        return loss + self.penalty(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Logs the loss."""
        loss, size = self.loss(batch)
        self.log(VAL_LOSS, loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=size, sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Returns the optimizer of all learnt parameters and, if there is one, the schedule."""
        if self.row_wise:
            self._check_row_wise()
        learnt = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = self.settings.optimizer(learnt, **self._fused())
        make = self.settings.scheduler
        if make is None:
            return optimizer
        follows = is_plateau(make)
        if follows and self.monitor_mode == "max" and not follows_metrics(make):
            if self.global_rank == 0:
                log.info(
                    "the learning rate stays as it is: from epoch to epoch %s jumps more than it rises "
                    "(scheduler=plateau_metric lets it fall nevertheless)",
                    self.monitor,
                )
            return optimizer
        scheduler = make(optimizer, **({"mode": self.monitor_mode} if follows else {}))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": self.monitor}}

    @property
    def row_wise(self) -> bool:
        """Returns whether the optimizer takes sparse gradients (`RowwiseAdam`)."""
        make = self.settings.optimizer
        return bool(getattr(getattr(make, "func", make), "row_wise", False))

    def _check_row_wise(self) -> None:
        """Refuses what torch has no sparse gradients for."""
        clip, processes = self.trainer.gradient_clip_val, self.trainer.world_size
        demand("trainer.gradient_clip_val", clip, not clip, "null with optimizer=rowwise_adam; or use optimizer=adam")
        allowed = "1 with optimizer=rowwise_adam; or use optimizer=adam"
        demand("trainer.devices", processes, processes == 1, allowed)

    def _fused(self) -> dict[str, bool]:
        """Returns the option that lets one kernel update large tables in one pass, where there is such a kernel."""
        make = self.settings.optimizer
        if "fused" in getattr(make, "keywords", {}) or "fused" not in inspect.signature(make).parameters:
            return {}
        return {"fused": self.device.type in ("cpu", "cuda")}

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Does nothing.

        Lightning steps after checkpoints are written, so a resumed run would miss one step (it says so in
        `_FitLoop.on_advance_end`). `_step_scheduler` steps before.
        """

    def on_validation_epoch_end(self) -> None:
        """Computes the monitor and steps the schedule."""
        if self.trainer.sanity_checking or self.monitor == TRAIN_LOSS:
            return
        if self.monitor == VAL_LOSS:
            self._step_scheduler(float(self.trainer.callback_metrics[VAL_LOSS]))
        else:
            value = self._val_metric()
            self.log(self.monitor, value, prog_bar=True)
            self._step_scheduler(float(value))

    def on_train_epoch_end(self) -> None:
        """Steps the schedule if the training loss is the monitor."""
        if self.monitor == TRAIN_LOSS:
            self._step_scheduler(float(self.trainer.callback_metrics[TRAIN_LOSS]))

    def _step_scheduler(self, value: float) -> None:
        scheduler: Any = self.lr_schedulers()
        if isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step(value)
        elif scheduler:
            scheduler.step()

    def _val_metric(self) -> torch.Tensor:
        """Returns the mean over all val users of the monitored metric, from lists as the final ones are made."""
        column = self.monitor.removeprefix("val/")
        k = int(column.partition("@")[2])
        metric = RetrievalMetric(k).to(self.device)
        history = self.data.history("val")
        retriever = self.retriever(history)
        users, offsets, items = self._val_truth
        mine = np.arange(len(users))[self.global_rank :: self.trainer.world_size]
        for start in range(0, len(mine), _USERS_AT_ONCE):
            rows = mine[start : start + _USERS_AT_ONCE]
            ranked, _ = self.recommend(users[rows], k, history, retriever)
            lengths = offsets[rows + 1] - offsets[rows]
            truth = np.full((len(rows), int(lengths.max())), -1)
            inside = np.arange(truth.shape[1]) < lengths[:, None]
            truth[inside] = items[(offsets[rows][:, None] + np.arange(truth.shape[1]))[inside]]
            metric.update(torch.from_numpy(ranked).to(self.device), torch.from_numpy(truth).to(self.device))
        value: torch.Tensor = metric.compute()[column]
        return value

    @cached_property
    def _val_truth(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns val users (indices), and offsets and items: user i's are items[offsets[i]:offsets[i + 1]]."""
        frame = self.data.truth["val"]
        indices = pd.Index(self.data.train.user_ids).get_indexer(pd.Index(frame[USER].to_numpy()))
        order = np.argsort(indices, kind="stable")
        order = order[indices[order] >= 0]
        users, counts = np.unique(indices[order], return_counts=True)
        return users, np.concatenate([[0], np.cumsum(counts)]), frame[TRACK].to_numpy(np.int64)[order]

    @cached_property
    def _identity(self) -> dict[str, Any]:
        """Returns what a checkpoint must share with the run that resumes from it."""
        train = self.data.train
        digest = hashlib.sha256()
        for part in (self.candidates, train.users, train.items):
            digest.update(np.ascontiguousarray(part).data)
        vectors = b"" if self.vectors is None else np.ascontiguousarray(self.vectors).data
        return {
            "recommender": type(self).__name__,
            "seed": self.seed,
            "data": digest.hexdigest()[:16],
            "embedding": hashlib.sha256(vectors).hexdigest()[:16],
            "weights": {name: list(weight.shape) for name, weight in self.state_dict().items()},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what the run that resumes from the checkpoint must share."""
        checkpoint["musicrec"] = self._identity

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses the checkpoint of another run.

        Raises:
            MusicrecError: naming what differs.
        """
        saved = checkpoint.get("musicrec", {})
        if different := [key for key, own in self._identity.items() if saved.get(key) != own]:
            raise MusicrecError(
                f"the checkpoint belongs to another run (different: {', '.join(different)}): delete it, or choose "
                "another run_name=…"
            )


def canonical_monitor(monitor: str) -> str:
    """Returns a monitor as it is logged: `val/ndcg@50` as `val/NDCG@50`.

    Raises:
        MusicrecError: if there is no such metric.
    """
    if monitor in (TRAIN_LOSS, VAL_LOSS):
        return monitor
    name, _, k = monitor.partition("@")
    columns = (column.partition("@")[0] for column in metric_columns(1))
    names = {f"val/{column}".lower(): f"val/{column}" for column in columns}
    if name.lower() not in names or not k.isdigit() or int(k) < 1:
        allowed = ", ".join(f"{known}@K" for known in names)
        demand("monitor", monitor, False, f"{VAL_LOSS}, {TRAIN_LOSS}, or {allowed}")
    return f"{names[name.lower()]}@{int(k)}"
