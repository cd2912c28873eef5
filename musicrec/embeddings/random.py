"""Random vectors: the baseline that knows nothing about the music."""

from __future__ import annotations

from typing import Any

import numpy as np

from musicrec.embeddings.base import Embedding
from musicrec.values import Seed, Size
from musicrec.workspace import TrackIndex, Workspace


class Random(Embedding):
    """Standard normal vectors, the same for the same seed, whatever was extracted before.

    Row i does not depend on the number of rows: numbers are drawn row by row from one stream.
    """

    def __init__(
        self,
        name: str = "random",
        dim: Size = 128,
        seed: Seed = 0,
        trainable: bool = False,
        checkpoint: str | None = None,
        max_seconds: float | None = None,
        pad: bool = False,
        layer: int | str | None = None,
        sample_rate: int | None = None,
    ):
        """Keeps the seed; nothing is drawn yet.

        Args:
            name: names the files.
            dim: length of a vector.
            seed: of the generator.
            trainable: recommenders learn the table, starting from these values.
            checkpoint: ignored, like all keys that follow: accepted so that a sweep can set them for every embedding.
            max_seconds: ignored.
            pad: ignored.
            layer: ignored.
            sample_rate: ignored.
        """
        super().__init__(name, trainable)
        self.dim = dim
        self.seed = seed

    def settings(self) -> dict[str, Any]:
        """Returns size and seed."""
        return {"model": "Random", "dim": self.dim, "seed": self.seed}

    def table(self, workspace: Workspace, tracks: TrackIndex) -> np.ndarray:
        """Returns the vectors, (tracks, dim) float32; nothing is read."""
        return np.random.default_rng(self.seed).standard_normal((len(tracks), self.dim), dtype=np.float32)
