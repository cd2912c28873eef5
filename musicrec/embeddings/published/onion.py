"""Onion: the feature files of Music4All-Onion as published, `id_{feature}.tsv.bz2`; no audio is needed.

Moscati, Parada-Cabaleiro, Deldjoo, Zangerle, Schedl: "Music4All-Onion: A Large-Scale Multi-faceted Content-Centric
Music Recommendation Dataset", CIKM 2022.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from musicrec.embeddings.precomputed import Precomputed
from musicrec.errors import MusicrecError
from musicrec.workspace import TrackIndex, Workspace

# Extensions in the order of preference: as published, and unpacked or compressed otherwise.
_EXTENSIONS = (".tsv.bz2", ".tsv", ".tsv.gz", ".tsv.zst")


class Onion(Precomputed):
    """Vectors of one feature of Music4All-Onion, e.g. `feature="jukebox"` from `id_jukebox.tsv.bz2`."""

    def __init__(
        self,
        name: str = "onion",
        feature: str | None = None,
        trainable: bool = False,
        checkpoint: str | None = None,
        max_seconds: float | None = None,
        pad: bool = False,
        layer: int | str | None = None,
        sample_rate: int | None = None,
    ):
        """Keeps the choices; nothing is read yet.

        Args:
            name: names the files; give each feature its own.
            feature: what stands between `id_` and the extension of the file's name.
            trainable: recommenders learn the table, starting from these values.
            checkpoint: folder with the files, or one of them.
            max_seconds: ignored, like all keys that follow: accepted so that a sweep can set them for every embedding.
            pad: ignored.
            layer: ignored.
            sample_rate: ignored.
        """
        super().__init__(name, None, None, trainable, checkpoint)
        self.feature = feature

    def settings(self) -> dict[str, Any]:
        """Returns the feature and the folder."""
        return super().settings() | {"model": "Onion", "feature": self.feature}

    def table(self, workspace: Workspace, tracks: TrackIndex) -> np.ndarray:
        """Returns the vectors in the order of the track index, (tracks, dim) float32, NaN where the file lacks one."""
        if self.path is None and not workspace.embedding(self.name).is_file():
            raise MusicrecError(
                "embedding=onion needs embedding.checkpoint=FOLDER with id_*.tsv.bz2 of Music4All-Onion, and "
                "embedding.feature=NAME, e.g. embedding.feature=jukebox"
            )
        return super().table(workspace, tracks)

    def _existing(self) -> Path:
        path = super()._existing()
        if path.is_file():
            return path
        files = [path / f"id_{self.feature}{extension}" for extension in _EXTENSIONS]
        found = next((file for file in files if file.is_file()), None)
        if found is None:
            names = {file.name.removeprefix("id_").split(".tsv")[0] for file in path.glob("id_*.tsv*")}
            there = f"it has {', '.join(sorted(names))}" if names else "no id_*.tsv.bz2 is there"
            raise MusicrecError(f"embedding.feature={self.feature}: {path} has no id_{self.feature}.tsv.bz2; {there}")
        return found
