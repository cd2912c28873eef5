"""What stands between the vectors of tracks and a network: statistics, layers, and a free vector per track."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn

from musicrec.embeddings.tables.transforms import transformed
from musicrec.embeddings.tables.vector_options import VectorOptions
from musicrec.errors import MusicrecError
from musicrec.recommenders.networks.rowwise_adam import rows_of
from musicrec.values import Dropout, check_fields

log = logging.getLogger(__name__)

Adapter = Literal["linear", "mlp", "whiten"]
ADAPTERS: tuple[Adapter, ...] = ("linear", "mlp", "whiten")


@dataclass(frozen=True)
class AudioSettings:
    """How the vector of a track becomes what a network reads.

    Attributes:
        adapter: `linear`, one layer; `mlp`, Linear + ReLU + Linear; `whiten`, one layer after the vectors got the
            identity as covariance (statistics of train).
        item_ids: `add` a free vector per track, which starts at 0, to what the adapter returns. What audio does not
            say about a track is then learnt from plays; tracks that nobody played have their audio alone. `none`: not.
        id_dropout: probability that a track is read without its free vector in a training step, so that the adapter
            learns to do without, as cold tracks have to (DropoutNet: Volkovs, Yu and Poutanen, NIPS 2017).
    """

    adapter: Adapter = "linear"
    item_ids: Literal["none", "add"] = "none"
    id_dropout: Dropout = 0.0

    def __post_init__(self) -> None:
        check_fields(self, "recommender")

    def without_embedding(self) -> AudioSettings:
        """Returns the settings where there is no embedding, as each track is a free vector then; says so."""
        for key, value, default in (("adapter", self.adapter, "linear"), ("item_ids", self.item_ids, "none")):
            if value != default:
                log.warning(
                    "recommender.%s=%s has no effect without an embedding: each track is a learnt vector", key, value
                )
        return AudioSettings()

    def prepared(self, vectors: np.ndarray, cold: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the vectors of the candidates and of the cold tracks, whitened if `adapter` says so.

        Args:
            vectors: (candidates, dim).
            cold: (cold, dim).
            rows: the candidates that somebody played, from which the statistics come.
        """
        if self.adapter != "whiten":
            return vectors, cold
        whitened = standardised(np.concatenate([vectors, cold]), rows, "whiten")
        return whitened[: len(vectors)], whitened[len(vectors) :]

    def layers(self, dim: int, size: int, dropout: float = 0.0) -> list[nn.Module]:
        """Returns the layers from vectors of `dim` to `size` dimensions; `dropout` is that of the hidden layer."""
        if self.adapter != "mlp":
            return [nn.Linear(dim, size)]
        return [nn.Linear(dim, size), nn.ReLU(), nn.Dropout(dropout), nn.Linear(size, size)]

    def ids(self, candidates: int, size: int, played: np.ndarray) -> ItemIds | None:
        """Returns the free vectors, None if there are none.

        Args:
            candidates: number of candidates.
            size: dimensions.
            played: the candidates that somebody played.
        """
        return ItemIds(candidates, size, played, self.id_dropout) if self.item_ids == "add" else None


class ItemIds(nn.Module):
    """Adds a free vector to each track; those start at 0, and tracks that nobody played have none.

    Args:
        candidates: number of tracks.
        size: dimensions.
        played: the tracks that somebody played.
        dropout: probability that a track is left as it is, in training.
    """

    known: torch.Tensor

    def __init__(self, candidates: int, size: int, played: np.ndarray, dropout: float):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(candidates, size))
        self.dropout = dropout
        known = torch.zeros(candidates, 1)
        known[torch.from_numpy(played)] = 1
        self.register_buffer("known", known, persistent=False)

    def forward(self, vectors: torch.Tensor, rows: torch.Tensor | None = None, sparse: bool = False) -> torch.Tensor:
        """Returns (n, size) sums.

        Args:
            vectors: (n, size) what the adapter returned.
            rows: (n,) the tracks; all of them by default.
            sparse: give the free vectors a sparse gradient, see `rows_of`.
        """
        free = self.weight if rows is None else rows_of(self.weight, rows, sparse)
        kept = self.known if rows is None else self.known[rows]
        if self.training and self.dropout:
            kept = kept * (torch.rand(len(kept), 1, device=kept.device) >= self.dropout)
        return vectors + free * kept


def standardised(vectors: np.ndarray, rows: np.ndarray, kind: str = "zscore") -> np.ndarray:
    """Returns (candidates, dim) float32 vectors after `embedding.transform=zscore`, or `whiten`.

    Args:
        vectors: (candidates, dim).
        rows: those that the statistics come from.
        kind: name of the transform.

    Raises:
        MusicrecError: if all rows are alike.
    """
    try:
        return transformed(vectors, rows, VectorOptions(kind))
    except MusicrecError:
        raise MusicrecError(
            "all tracks of train have the same vector: there is nothing to learn from this embedding"
        ) from None
