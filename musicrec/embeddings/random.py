"""Random vectors: the baseline that knows nothing of the music."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from musicrec.embeddings.base import Embedding, reject_unknown
from musicrec.errors import MusicrecError

if TYPE_CHECKING:
    import numpy as np

    from musicrec.workspace import TrackIndex, Workspace


class Random(Embedding):
    """Standard normal vectors, the same for the same seed, whatever was extracted before.

    Row i does not depend on how many rows there are: numbers are drawn row by row from one stream.
    """

    def __init__(self, name: str = "random", dim: int = 128, seed: int = 0, trainable: bool = False, **unused: Any):
        """
        Args:
            name: names the files.
            dim: length of a vector.
            seed: of the generator.
            trainable: recommenders learn the table, starting from these values.
            unused: the keys of embeddings made from audio; without effect, so that a sweep may set them.
        """
        super().__init__(name, trainable)
        if dim < 1:
            raise MusicrecError(f"embedding.dim={dim} must be at least 1")
        reject_unknown(name, unused)
        self.dim = dim
        self.seed = seed

    def settings(self) -> dict[str, Any]:
        return {"model": "Random", "dim": self.dim, "seed": self.seed}

    def table(self, workspace: Workspace, tracks: TrackIndex) -> np.ndarray:
        import numpy as np

        return np.random.default_rng(self.seed).standard_normal((len(tracks), self.dim), dtype=np.float32)
