"""EmbeddingInfo: the content of `{name}.json`, which says what the rows of `{name}.npy` are."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

_LIBRARIES = ("musicrec", "torch", "numpy", "soundfile", "soxr", "transformers")
# Fields that only embeddings made from audio have; the file of another embedding leaves them out.
_AUDIO_FIELDS = ("precision", "resampler", "failed_files", "throughput")


@dataclass(frozen=True)
class EmbeddingInfo:
    """What `{name}.json` records of an embedding.

    Attributes:
        name: of the embedding, names its files.
        model: name of its class.
        dim: length of a vector.
        tracks: number of rows; None in a file that does not say.
        tracks_hash: fingerprint of the track index the rows belong to; None in a file that does not say.
        settings: what decides the numbers, as `Embedding.settings` returns it.
        versions: of Python and the libraries that may change the numbers.
        precision: of the arithmetic; None if the embedding was not made from audio.
        resampler: "soxr" or "torchaudio"; None if the embedding was not made from audio.
        checkpoint_sha256: of the file the numbers come from.
        failed: track id -> why its row is NaN.
        failed_files: track id -> signature of the file that failed, None for no file.
        silent: ids of tracks that were embedded although they contain no sound.
        damaged: track id -> what was wrong with a file that was embedded nevertheless.
        throughput: tracks per second and where the time went.
        vectors_hash: of the numbers in the `.npy` file; None in a file of an earlier version.
        created: date and time of writing, ISO 8601.
    """

    name: str
    model: str
    dim: int
    tracks: int | None
    tracks_hash: str | None
    settings: Mapping[str, Any]
    versions: Mapping[str, str] = field(default_factory=dict)
    precision: str | None = None
    resampler: str | None = None
    checkpoint_sha256: str | None = None
    failed: Mapping[str, str] = field(default_factory=dict)
    failed_files: Mapping[str, list[int] | None] = field(default_factory=dict)
    silent: tuple[str, ...] = ()
    damaged: Mapping[str, str] = field(default_factory=dict)
    throughput: Mapping[str, Any] = field(default_factory=dict)
    vectors_hash: str | None = None
    created: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the content of the file."""
        content = asdict(self)
        if self.precision is None:
            content = {key: value for key, value in content.items() if key not in _AUDIO_FIELDS}
        if self.vectors_hash is None:
            del content["vectors_hash"]
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> EmbeddingInfo:
        """Returns the info in a file; keys that older versions did not write get their defaults.

        Raises:
            TypeError, ValueError: an entry has a type of its own.
        """
        settings = dict(content.get("settings", {}))
        precision = content.get("precision")
        tracks, tracks_hash = content.get("tracks"), content.get("tracks_hash")
        return cls(
            name=str(content.get("name", "")),
            model=str(content.get("model", settings.get("model", ""))),
            dim=int(content.get("dim", 0)),
            tracks=None if tracks is None else int(tracks),
            tracks_hash=None if tracks_hash is None else str(tracks_hash),
            settings=settings,
            versions=dict(content.get("versions", {})),
            precision=precision,
            resampler=content.get("resampler", None if precision is None else "soxr"),
            checkpoint_sha256=content.get("checkpoint_sha256"),
            failed=dict(content.get("failed", {})),
            failed_files=dict(content.get("failed_files", {})),
            silent=tuple(content.get("silent", ())),
            damaged=dict(content.get("damaged", {})),
            throughput=dict(content.get("throughput", {})),
            vectors_hash=content.get("vectors_hash"),
            created=content.get("created"),
        )

    def stamp(self) -> dict[str, Any]:
        """Returns what the file records of the track index, as `TrackIndex.check` takes it."""
        return {} if self.tracks_hash is None else {"tracks": self.tracks, "tracks_hash": self.tracks_hash}


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the libraries that may change the numbers."""
    found = {"python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
