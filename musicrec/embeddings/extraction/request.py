"""Request: what one process is asked to extract, and whether earlier rows agree with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from musicrec.embeddings.base import AudioEmbedding
from musicrec.embeddings.tables import store
from musicrec.errors import MusicrecError
from musicrec.workspace import TrackIndex, Workspace


class Recorded(Protocol):
    """What a file records of finished or unfinished rows: an `EmbeddingInfo` or a `Plan`."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Returns the settings of the embedding."""

    @property
    def precision(self) -> str | None:
        """Returns the precision of the arithmetic."""

    @property
    def resampler(self) -> str | None:
        """Returns "soxr" or "torchaudio"."""

    def stamp(self) -> dict[str, Any]:
        """Returns what is recorded of the track index."""


@dataclass(frozen=True)
class Request:
    """What one process is asked to extract.

    Attributes:
        embedding: what to extract.
        workspace: where to.
        tracks: gives the rows their order.
        files: track id -> audio file.
        precision: "fp32", "bf16" or "fp16".
        resampler: "soxr", "torchaudio" or "auto".
        shard: which part of the rows; None = all of them, and merge.
        num_shards: number of parts.
        overwrite: start from scratch.
    """

    embedding: AudioEmbedding
    workspace: Workspace
    tracks: TrackIndex
    files: Mapping[str, Path]
    precision: str = "fp32"
    resampler: str = "auto"
    shard: int | None = None
    num_shards: int = 1
    overwrite: bool = False

    @property
    def path(self) -> Path:
        """Returns the path of the `.npy` file."""
        return self.workspace.embedding(self.embedding.name)

    @property
    def info_path(self) -> Path:
        """Returns the path of the `.json` file."""
        return self.workspace.embedding_info(self.embedding.name)

    @property
    def command(self) -> str:
        """Returns the command that makes this embedding."""
        return f"python extract.py embedding={self.embedding.name}"

    def differences(self, recorded: Recorded) -> str:
        """Returns how finished or unfinished rows differ from this request in what decides the numbers."""
        earlier = {**recorded.settings, "precision": recorded.precision, "resampler": recorded.resampler}
        now = self.embedding.settings() | {"precision": self.precision}
        now["resampler"] = recorded.resampler if self.resampler == "auto" else self.resampler
        return store.differences(earlier, now)

    def refusal(self, found: str) -> MusicrecError:
        """Returns the error for rows that differ from this request."""
        return MusicrecError(
            f"{self.path} was extracted with {found}: give another embedding.name to keep both, or start from scratch "
            "with extract.overwrite=true"
        )

    def check(self, recorded: Recorded, path: Path) -> None:
        """Refuses to add to rows that were made otherwise.

        Args:
            recorded: what is known of these rows.
            path: where they are.
        """
        found = self.differences(recorded)
        if found:
            raise self.refusal(found)
        self.tracks.check(recorded.stamp(), path, f"{self.command} extract.overwrite=true")
