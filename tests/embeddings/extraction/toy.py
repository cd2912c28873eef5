"""A cheap audio embedding for tests of the machinery around it."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import numpy as np

from musicrec.audio.clip import Clip
from musicrec.embeddings.base import AudioEmbedding


class Toy(AudioEmbedding):
    """Loudness and length of a wave and the size of its batch, whose influence shows how tracks were grouped.

    Args:
        delay: seconds that each batch after the fifth takes.
        version: stands for the content of the weights.
    """

    native_rate = 8_000
    batches: list[list[int]]

    def __init__(
        self,
        name: str = "toy",
        scale: float = 1.0,
        delay: float = 0.0,
        version: str = "1",
        checkpoint: str | None = None,
        max_seconds: float | None = None,
        pad: bool = False,
    ):
        super().__init__(name, Clip(max_seconds, pad), checkpoint)
        self.scale = scale
        self.delay = delay
        self.version = version
        self.batches = []

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"model": "Toy", "scale": self.scale}

    @property
    def min_samples(self) -> int:
        return 800

    def load(self, device: str = "cpu", precision: str = "fp32") -> None:
        self.loaded_on = device, precision

    def checkpoint_hash(self) -> str:
        return hashlib.sha256(self.version.encode()).hexdigest()

    def embed(self, waves: list[np.ndarray]) -> np.ndarray:
        self.batches.append([len(wave) for wave in waves])
        if len(self.batches) > 5:
            time.sleep(self.delay)
        vectors = []
        for wave in waves:
            if wave.max() > 0.95:
                raise RuntimeError("too loud for me\nin detail")
            level = np.nan if 0.9 < wave.max() <= 0.95 else np.abs(wave).mean()
            vectors.append([self.scale * level, len(wave), len(waves)])
        return np.array(vectors, dtype=np.float64)
