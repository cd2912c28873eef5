"""Clip: the part of a track that a model is given, and at what sample rate."""

from __future__ import annotations

from dataclasses import dataclass

from musicrec.errors import MusicrecError, demand


@dataclass(frozen=True)
class Clip:
    """The part of a track that a model is given.

    Attributes:
        max_seconds: how much of a track is used, from its start; None = all.
        pad: whether shorter tracks are zero-padded to `max_seconds`.
        sample_rate: Hz at which the audio is given to the model; None = the rate it was trained on.

    Raises:
        MusicrecError: a value that makes no sense; names the configuration key.
    """

    max_seconds: float | None = None
    pad: bool = False
    sample_rate: int | None = None

    def __post_init__(self) -> None:
        seconds, rate = self.max_seconds, self.sample_rate
        demand("embedding.max_seconds", seconds, seconds is None or seconds > 0, "above 0, or null for the whole track")
        if self.pad and seconds is None:
            raise MusicrecError("embedding.pad=true needs embedding.max_seconds, the length to pad to")
        demand("embedding.sample_rate", rate, rate is None or rate > 0, "above 0, or null for the model's own")
