"""Fusion: several stored embeddings side by side, each scaled first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from musicrec.columns import TRACK
from musicrec.embeddings.base import Embedding
from musicrec.embeddings.tables import store
from musicrec.embeddings.tables.transforms import transformed
from musicrec.embeddings.tables.vector_options import VectorOptions
from musicrec.errors import MusicrecError, demand
from musicrec.workspace import TrackIndex, Workspace

SCALES = ("zscore", "l2", "none")
MISSING = ("row", "mean")


class Fusion(Embedding):
    """The vectors of several embeddings, one after the other; made when it is read, nothing is stored.

    Scaling makes parts comparable, whatever their units: `zscore` lets each dimension count alike, so a part counts by
    its size; after `l2` each part counts alike. Use `embedding.pca` to reduce the result.
    """

    def __init__(
        self,
        name: str = "fusion",
        parts: Sequence[str] = (),
        scale: str = "zscore",
        missing: str = "row",
        checkpoint: str | None = None,
        max_seconds: float | None = None,
        pad: bool = False,
        layer: int | str | None = None,
        sample_rate: int | None = None,
    ):
        """Keeps the names; nothing is read yet.

        Args:
            name: what it is called; `fusion` becomes the names of the parts, e.g. `musicnn+mert`.
            parts: names of stored embeddings, `embeddings/{part}.npy`, two or more.
            scale: of each part: `zscore`, `l2` or `none`. Statistics come from the tracks of train.
            missing: a track that a part lacks is missing altogether (`row`), or has the part's mean (`mean`).
            checkpoint: ignored, like all keys that follow: accepted so that a sweep can set them for every embedding.
            max_seconds: ignored.
            pad: ignored.
            layer: ignored.
            sample_rate: ignored.
        """
        demand("embedding.scale", scale, scale in SCALES, ", ".join(SCALES))
        demand("embedding.missing", missing, missing in MISSING, ", ".join(MISSING))
        demand("embedding.parts", parts, not isinstance(parts, str), "a list of names: [musicnn,mert]")
        self.parts = [str(part) for part in parts]
        self.scale = scale
        self.missing = missing
        if name == "fusion" and self.parts:
            options = [scale] * (scale != "zscore") + [missing] * (missing != "row")
            name = "-".join(["+".join(self.parts), *options])
        super().__init__(name)

    def settings(self) -> dict[str, Any]:
        """Returns the parts and how they are joined."""
        return {"model": "Fusion", "parts": self.parts, "scale": self.scale, "missing": self.missing}

    def table(self, workspace: Workspace, tracks: TrackIndex) -> np.ndarray:
        """Returns the joined vectors, (tracks, sum of the dims) float32, NaN where a track is missing.

        Raises:
            MusicrecError: fewer than two parts, a part that is not stored, or no track that all parts have.
        """
        if len(set(self.parts)) < max(2, len(self.parts)):
            raise MusicrecError(
                f"embedding.parts=[{','.join(self.parts)}] is invalid; must be two or more different names of "
                "embeddings/{name}.npy, e.g. [musicnn,mert]; for a single one use embedding=musicnn "
                "embedding.transform=zscore"
            )
        train = _train_tracks(workspace, len(tracks))
        parts = [self._part(workspace, tracks, name, train) for name in self.parts]
        known = np.stack([np.isfinite(part).all(axis=1) for part in parts], axis=1)
        if self.missing == "mean":
            rows = known.any(axis=1)
            for part, own in zip(parts, known.T, strict=True):
                part[rows & ~own] = part[own & train].mean(axis=0, dtype=np.float64)
        else:
            rows = known.all(axis=1)
        if not rows.any():
            counts = ", ".join(f"{name} {count}" for name, count in zip(self.parts, known.sum(axis=0), strict=True))
            raise MusicrecError(
                f"no track has a vector in all parts (tracks: {counts}): choose other parts or embedding.missing=mean"
            )
        table = np.concatenate(parts, axis=1)
        table[~rows] = np.nan
        return table

    def _part(self, workspace: Workspace, tracks: TrackIndex, name: str, train: np.ndarray) -> np.ndarray:
        """Returns a part, scaled, as a copy."""
        vectors = store.load(workspace, name, None, tracks)
        rows = np.flatnonzero(np.isfinite(vectors).all(axis=1) & train)
        if not len(rows):
            raise MusicrecError(f"embedding={name} has no row of any track of train: leave it out of embedding.parts")
        return transformed(vectors, rows, VectorOptions(self.scale), name)


def _train_tracks(workspace: Workspace, count: int) -> np.ndarray:
    """Returns (tracks,) whether each is in train; all are where there is no split yet."""
    path = workspace.split("train")
    if not path.is_file():
        return np.ones(count, dtype=bool)
    mask = np.zeros(count, dtype=bool)
    items = pd.read_parquet(path, columns=[TRACK])[TRACK].to_numpy(np.int64)
    mask[items[items < count]] = True
    return mask
