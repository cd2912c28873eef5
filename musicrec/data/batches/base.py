"""BatchSource and its data module: batches are made on the device that trains, from keys that the loader hands out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch


def derived_seed(*parts: int) -> int:
    """Returns a seed that depends on all of `parts` (≥ 0), so that each epoch and step has its own random numbers.

    Random state that is computed needs no saving: a run resumed at epoch e draws what the uninterrupted run would have.
    """
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


@dataclass(frozen=True)
class BatchKey:
    """Names one batch; `rank` of `world` processes (multi-GPU) get disjoint parts of it."""

    source: BatchSource
    epoch: int
    number: int
    rank: int
    world: int


class BatchSource(ABC):
    """A data set held in tensors. A batch is a pure function of (seed, epoch, number), computed on the device.

    Args:
        size: number of examples.
        batch_size: examples per step, over all processes together; the last batch of an epoch may be smaller.
        seed: decides order, negatives and masks.
        shuffle: False keeps the order and ignores the epoch: every epoch sees the same batches (validation).
    """

    def __init__(self, size: int, batch_size: int, seed: int, shuffle: bool):
        self.size = size
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self._order: tuple[int, torch.Tensor] | None = None

    def __len__(self) -> int:
        return -(-self.size // self.batch_size)

    @abstractmethod
    def make(self, examples: torch.Tensor, generator: torch.Generator) -> Any:
        """Returns the batch of these example numbers, on their device; `generator` lives there, too."""

    def tensors(self) -> Sequence[str]:
        """Returns the names of the attributes that move to the device."""
        return ()

    def batch(self, key: BatchKey, device: torch.device) -> Any:
        """Returns the batch that `key` names, on `device`."""
        for name in self.tensors():
            setattr(self, name, getattr(self, name).to(device))
        epoch = key.epoch if self.shuffle else 0
        generator = torch.Generator(device).manual_seed(derived_seed(self.seed, 1, epoch, key.number, key.rank))
        return self.make(self._examples(epoch, key, device), generator)

    def _examples(self, epoch: int, key: BatchKey, device: torch.device) -> torch.Tensor:
        start = key.number * self.batch_size
        stop = min(start + self.batch_size, self.size)
        if not self.shuffle:
            examples = torch.arange(start, stop, device=device)
        else:
            if self._order is None or self._order[0] != epoch or self._order[1].device != device:
                # The order is the same on every device and process: drawn on the CPU.
                generator = torch.Generator().manual_seed(derived_seed(self.seed, 0, epoch))
                self._order = epoch, torch.randperm(self.size, generator=generator).to(device)
            examples = self._order[1][start:stop]
        if key.world == 1:
            return examples
        # A process without a share would leave the others waiting for its gradients: let it repeat one.
        share = examples[key.rank :: key.world]
        return share if len(share) else examples[:1]


class BatchKeys:
    """The keys of one epoch, what Lightning iterates over instead of a DataLoader."""

    def __init__(self, source: BatchSource, trainer: pl.Trainer | None):
        self.source = source
        self.trainer = trainer

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[BatchKey]:
        epoch, rank, world = 0, 0, 1
        if self.trainer is not None:
            epoch, rank, world = self.trainer.current_epoch, self.trainer.global_rank, self.trainer.world_size
            if self.trainer.overfit_batches:  # type: ignore[attr-defined]
                epoch = 0  # the same examples, negatives and masks again and again
        for number in range(len(self.source)):
            yield BatchKey(self.source, epoch, number, rank, world)


class BatchDataModule(pl.LightningDataModule):
    """Train and validation batches of a recommender; `val` is None when there is nothing to validate on."""

    def __init__(self, train: BatchSource, val: BatchSource | None):
        super().__init__()
        self.train = train
        self.val = val

    def train_dataloader(self) -> BatchKeys:
        """Returns the keys of the training batches."""
        return BatchKeys(self.train, self.trainer)

    def val_dataloader(self) -> BatchKeys | list[BatchKeys]:
        """Returns the keys of the validation batches, [] if there are none."""
        return BatchKeys(self.val, self.trainer) if self.val is not None else []

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Returns the batch that the key names, made on `device`."""
        return batch.source.batch(batch, device)
