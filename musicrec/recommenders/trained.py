"""What the trained recommenders share: optimiser, early-stopping monitor, randomness that a resumed run repeats."""

from __future__ import annotations

import hashlib
import logging
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch

from musicrec.columns import TRACK, USER
from musicrec.data.batches.base import BatchDataModule, BatchSource, derived_seed
from musicrec.errors import MusicrecError
from musicrec.recommenders.base import Recommender, check

if TYPE_CHECKING:
    from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig

    from musicrec.data.interactions import SplitData

log = logging.getLogger(__name__)

TRAIN_LOSS, VAL_LOSS = "train/loss", "val/loss"
# Val users whose lists are made at once for the monitor.
_USERS_AT_ONCE = 4096


class TrainedRecommender(Recommender, pl.LightningModule):
    """A recommender that Lightning trains with Adam; the rate falls to a tenth when the monitor stalls.

    Args:
        settings: what decides the numbers and the shape of the weights; a checkpoint of other settings is refused.
        lr: learning rate.
        max_epochs: for the trainer.
        patience: epochs without a better monitor before training stops.
        lr_patience: epochs without a better monitor before the rate falls.
        monitor: what chooses the best epoch, stops training and lowers the rate: `val/loss`, `train/loss`, or a metric
            of the lists of all val users after each epoch, such as `val/ndcg@50`.
        search: how lists are found, see `musicrec.recommenders.retrieval.top_k.searcher`.
        seed: decides initial weights, order, negatives, masks and dropout.
    """

    trainable = True

    def __init__(
        self,
        data: SplitData,
        item_embeddings: np.ndarray,
        *,
        name: str,
        lr: float,
        max_epochs: int,
        patience: int,
        lr_patience: int,
        monitor: str,
        search: str,
        seed: int,
    ):
        super().__init__(data, item_embeddings, name=name, search=search)
        check("lr", lr, lr > 0, "positive")
        check("seed", seed, seed >= 0, "0 or more")
        self.lr = lr
        self.max_epochs = max_epochs
        self.patience = patience
        self.lr_patience = lr_patience
        self.wanted_monitor = canonical_monitor(monitor)
        self.seed = seed
        self._sources: tuple[BatchSource, BatchSource | None] | None = None

    @abstractmethod
    def sources(self) -> tuple[BatchSource, BatchSource | None]:
        """Returns training and validation batches; None if there is nothing to validate on."""

    @abstractmethod
    def loss(self, batch: Any) -> tuple[torch.Tensor, int]:
        """Returns the mean loss of a batch and over how many examples it is the mean."""

    def penalty(self, batch: Any) -> torch.Tensor | float:
        """Returns what training adds to the loss."""
        return 0.0

    def _made(self) -> tuple[BatchSource, BatchSource | None]:
        if self._sources is None:
            self._sources = self.sources()
        return self._sources

    def datamodule(self) -> BatchDataModule:
        """Returns the batches for `Trainer.fit`."""
        return BatchDataModule(*self._made())

    @property
    def monitor(self) -> str:
        """Returns the metric that chooses the best epoch; without validation users it is the training loss."""
        return self.wanted_monitor if self._made()[1] is not None else TRAIN_LOSS

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
        # Dropout draws from torch's generator: its state follows from the step, so a resumed run repeats it.
        torch.manual_seed(derived_seed(self.seed, 3, self.current_epoch, batch_idx, self.global_rank))
        loss, size = self.loss(batch)
        self.log(TRAIN_LOSS, loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=size, sync_dist=True)
        return loss + self.penalty(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        loss, size = self.loss(batch)
        self.log(VAL_LOSS, loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=size, sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        learnt = [parameter for parameter in self.parameters() if parameter.requires_grad]
        # The fused kernel updates large tables in one pass; it exists for these devices only.
        optimizer = torch.optim.Adam(learnt, lr=self.lr, fused=self.device.type in ("cpu", "cuda"))
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, mode=self.monitor_mode, patience=self.lr_patience
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": self.monitor}}

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Does nothing: Lightning steps after checkpoints are written, so a resumed run would miss one step (it says so
        in `_FitLoop.on_advance_end`). `_plateau` steps before."""

    def on_validation_epoch_end(self) -> None:
        if self.trainer.sanity_checking or self.monitor == TRAIN_LOSS:
            return
        if self.monitor == VAL_LOSS:
            self._plateau(float(self.trainer.callback_metrics[VAL_LOSS]))
        else:
            value = self._val_metric()
            self.log(self.monitor, value, prog_bar=True)
            self._plateau(float(value))

    def on_train_epoch_end(self) -> None:
        if self.monitor == TRAIN_LOSS:
            self._plateau(float(self.trainer.callback_metrics[TRAIN_LOSS]))

    def _plateau(self, value: float) -> None:
        scheduler = self.lr_schedulers()
        assert isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
        scheduler.step(value)

    def _val_metric(self) -> torch.Tensor:
        """Returns the mean over all val users of the monitored metric, from lists as the final ones are made."""
        from musicrec.evaluation.retrieval_metric import RetrievalMetric

        column = self.monitor.removeprefix("val/")
        k = int(column.partition("@")[2])
        metric = RetrievalMetric(k).to(self.device)
        history = self.data.history("val")
        users, offsets, items = self._val_truth()
        mine = np.arange(len(users))[self.global_rank :: self.trainer.world_size]
        for start in range(0, len(mine), _USERS_AT_ONCE):
            rows = mine[start : start + _USERS_AT_ONCE]
            ranked, _ = self.recommend(users[rows], k, history)
            lengths = offsets[rows + 1] - offsets[rows]
            truth = np.full((len(rows), int(lengths.max())), -1)
            inside = np.arange(truth.shape[1]) < lengths[:, None]
            truth[inside] = items[(offsets[rows][:, None] + np.arange(truth.shape[1]))[inside]]
            metric.update(torch.from_numpy(ranked).to(self.device), torch.from_numpy(truth).to(self.device))
        value: torch.Tensor = metric.compute()[column]
        return value

    def _val_truth(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns val users (positions), and offsets and items: user i's are items[offsets[i]:offsets[i + 1]]."""
        import pandas as pd

        frame = self.data.truth["val"]
        positions = pd.Index(self.data.train.user_ids).get_indexer(pd.Index(frame[USER].to_numpy()))
        order = np.argsort(positions, kind="stable")
        order = order[positions[order] >= 0]
        users, counts = np.unique(positions[order], return_counts=True)
        return users, np.concatenate([[0], np.cumsum(counts)]), frame[TRACK].to_numpy(np.int64)[order]

    def identity(self) -> dict[str, Any]:
        """Returns what a checkpoint must share with the run that goes on from it."""
        train = self.data.train
        digest = hashlib.sha256()
        for part in (self.candidates, train.users, train.items):
            digest.update(np.ascontiguousarray(part).tobytes())
        return {
            "recommender": self.name,
            "seed": self.seed,
            "data": digest.hexdigest()[:16],
            "embedding": hashlib.sha256(self.vectors.tobytes()).hexdigest()[:16],
            "weights": {name: list(weight.shape) for name, weight in self.state_dict().items()},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["musicrec"] = self.identity()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        saved, own = checkpoint.get("musicrec", {}), self.identity()
        if different := [key for key in own if saved.get(key) != own[key]]:
            raise MusicrecError(
                f"the checkpoint belongs to another run (different: {', '.join(different)}): delete it, or choose "
                "another run_name=…"
            )


def canonical_monitor(monitor: str) -> str:
    """Returns a monitor as it is logged: `val/ndcg@50` as `val/NDCG@50`.

    Raises:
        MusicrecError: if there is no such metric.
    """
    from musicrec.evaluation.metrics import metric_columns

    if monitor in (TRAIN_LOSS, VAL_LOSS):
        return monitor
    name, _, k = monitor.partition("@")
    names = {
        f"val/{column.partition('@')[0]}".lower(): f"val/{column.partition('@')[0]}" for column in metric_columns(1)
    }
    if name.lower() not in names or not k.isdigit() or int(k) < 1:
        allowed = ", ".join(f"{known}@K" for known in names)
        raise MusicrecError(f"monitor={monitor} is not possible: it must be {VAL_LOSS}, {TRAIN_LOSS}, or {allowed}")
    return f"{names[name.lower()]}@{int(k)}"
