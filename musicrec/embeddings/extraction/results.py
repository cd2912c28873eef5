"""What becomes of each track during an extraction: DecodedClip, then Embedded or Failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class DecodedClip:
    """A wave that is ready for the model.

    Attributes:
        row: of the track.
        wave: (samples,) float32.
        file: it was decoded from.
        silent: whether it contains no sound.
        damaged: what was wrong with the file, None if nothing.
        audio_seconds: length of the wave.
        seconds: time spent by kind of work: "decode", "resample" and "waiting".
    """

    row: int
    wave: np.ndarray
    file: Path
    silent: bool
    damaged: str | None
    audio_seconds: float
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class Embedded:
    """A track that has a vector.

    Attributes:
        row: of the track.
        vector: (dim,) float32.
        silent: whether the clip contains no sound.
        damaged: what was wrong with the file, None if nothing.
        audio_seconds: length of the audio.
        seconds: time spent by kind of work, those of `DecodedClip` and "model".
    """

    row: int
    vector: np.ndarray
    silent: bool
    damaged: str | None
    audio_seconds: float
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class Failed:
    """A track that has no vector.

    Attributes:
        row: of the track.
        reason: why.
        signature: of its file, see `signature`; None if there is no file.
        seconds: time spent by kind of work.
    """

    row: int
    reason: str
    signature: list[int] | None
    seconds: Mapping[str, float] = field(default_factory=dict)


Outcome = Embedded | Failed


def signature(file: Path | None) -> list[int] | None:
    """Returns what changes when a file is replaced: its size and modification time; None if there is no file."""
    try:
        return None if file is None else [file.stat().st_size, file.stat().st_mtime_ns]
    except OSError:
        return None


def reasons(failed: Mapping[str, str]) -> str:
    """Returns how many tracks failed for which reason.

    >>> reasons({"a": "too short: 0.1 s", "b": "empty file (0 bytes)", "c": "too short: 0.2 s"})
    '2 too short, 1 empty file'
    """
    kinds = Counter(reason.split(":")[0].split(" (")[0] for reason in failed.values())
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(4))
