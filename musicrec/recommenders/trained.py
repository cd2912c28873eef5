"""What the trained recommenders share: optimiser, early-stopping monitor, randomness that a resumed run repeats."""

from __future__ import annotations

import hashlib
import logging
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch

from musicrec.data.batches import BatchDataModule, BatchSource, derived_seed
from musicrec.errors import MusicrecError
from musicrec.recommenders.base import Recommender, check

if TYPE_CHECKING:
    from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig

    from musicrec.data.interactions import SplitData

log = logging.getLogger(__name__)


class TrainedRecommender(Recommender, pl.LightningModule):
    """A recommender that Lightning trains with Adam; the rate falls to a tenth when the monitor stalls.

    Args:
        settings: what decides the numbers and the shape of the weights; a checkpoint of other settings is refused.
        lr: learning rate.
        max_epochs: for the trainer.
        patience: epochs without a better monitor before training stops.
        lr_patience: epochs without a better monitor before the rate falls.
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
        seed: int,
    ):
        super().__init__(data, item_embeddings, name=name)
        check("lr", lr, lr > 0, "positive")
        check("seed", seed, seed >= 0, "0 or more")
        self.lr = lr
        self.max_epochs = max_epochs
        self.patience = patience
        self.lr_patience = lr_patience
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
        """Returns the metric that chooses the best epoch: the validation loss where there is one."""
        return "val/loss" if self._made()[1] is not None else "train/loss"

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
        self.log("train/loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=size, sync_dist=True)
        return loss + self.penalty(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        loss, size = self.loss(batch)
        self.log("val/loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=size, sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        learnt = [parameter for parameter in self.parameters() if parameter.requires_grad]
        # The fused kernel updates large tables in one pass; it exists for these devices only.
        optimizer = torch.optim.Adam(learnt, lr=self.lr, fused=self.device.type in ("cpu", "cuda"))
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=self.lr_patience)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": self.monitor}}

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Does nothing: Lightning steps after checkpoints are written, so a resumed run would miss one step (it says so
        in `_FitLoop.on_advance_end`). `_plateau` steps before."""

    def on_validation_epoch_end(self) -> None:
        if not self.trainer.sanity_checking and self.monitor == "val/loss":
            self._plateau()

    def on_train_epoch_end(self) -> None:
        if self.monitor == "train/loss":
            self._plateau()

    def _plateau(self) -> None:
        scheduler = self.lr_schedulers()
        assert isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
        scheduler.step(float(self.trainer.callback_metrics[self.monitor]))

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
