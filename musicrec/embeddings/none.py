"""No embedding: for recommenders that use plays alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from musicrec.embeddings.base import Embedding
from musicrec.workspace import TrackIndex, Workspace


class NoEmbedding(Embedding):
    """Vectors without dimensions: recommenders that need none are given nothing, others learn vectors or refuse.

    Args:
        name: what it is called.
        checkpoint: ignored, like all keys that follow: accepted so that a sweep can set them for every embedding.
        max_seconds: ignored.
        pad: ignored.
        layer: ignored.
        sample_rate: ignored.
    """

    def __init__(
        self,
        name: str = "none",
        checkpoint: str | None = None,
        max_seconds: float | None = None,
        pad: bool = False,
        layer: int | str | None = None,
        sample_rate: int | None = None,
    ):
        super().__init__(name)

    def settings(self) -> dict[str, Any]:
        """Returns the name of the class alone."""
        return {"model": "NoEmbedding"}

    def table(self, workspace: Workspace, tracks: TrackIndex) -> np.ndarray:
        """Returns (tracks, 0) float32; nothing is read."""
        return np.empty((len(tracks), 0), dtype=np.float32)
