"""Yambda: the audio vectors that are published with the data set of the same name, `embeddings.parquet`.

Ploshkin et al.: "Yambda-5B: A Large-Scale Multi-modal Dataset for Ranking And Retrieval", arXiv 2505.22238.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from musicrec.embeddings.feature_files.block import Block
from musicrec.embeddings.feature_files.read import read_blocks
from musicrec.embeddings.precomputed import Precomputed
from musicrec.errors import MusicrecError
from musicrec.workspace import TrackIndex, Workspace

_FILE = "embeddings.parquet"


class Yambda(Precomputed):
    """The 128 dimensions of a convolutional network on the audio: the column `embed` or `normalized_embed`."""

    def __init__(
        self,
        name: str = "yambda",
        normalised: bool = False,
        trainable: bool = False,
        checkpoint: str | None = None,
        max_seconds: float | None = None,
        pad: bool = False,
        layer: int | str | None = None,
        sample_rate: int | None = None,
    ):
        """Keeps the choices; nothing is read yet.

        Args:
            name: names the files.
            normalised: the vectors of length 1 (`normalized_embed`) instead of the raw ones (`embed`).
            trainable: recommenders learn the table, starting from these values.
            checkpoint: embeddings.parquet, or its folder.
            max_seconds: ignored, like all keys that follow: accepted so that a sweep can set them for every embedding.
            pad: ignored.
            layer: ignored.
            sample_rate: ignored.
        """
        super().__init__(name, None, None, trainable, checkpoint)
        self.normalised = normalised

    def settings(self) -> dict[str, Any]:
        """Returns the file and the column."""
        return super().settings() | {"model": "Yambda", "normalised": self.normalised}

    def table(self, workspace: Workspace, tracks: TrackIndex) -> np.ndarray:
        """Returns the vectors in the order of the track index, (tracks, 128) float32, NaN where the file lacks one."""
        if self.path is None and not workspace.embedding(self.name).is_file():
            raise MusicrecError(f"embedding=yambda needs embedding.checkpoint=FILE: Yambda's {_FILE}, or its folder")
        return super().table(workspace, tracks)

    def _blocks(self, path: Path) -> Iterator[Block]:
        return read_blocks(path, column="normalized_embed" if self.normalised else "embed")

    def _existing(self) -> Path:
        path = super()._existing()
        if path.is_dir() and not (path / _FILE).is_file():
            raise MusicrecError(f"embedding.checkpoint: {path} has no {_FILE}")
        return path / _FILE if path.is_dir() else path
