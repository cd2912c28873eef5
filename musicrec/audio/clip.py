"""Clip: the part of a track that a model is given, and at what sample rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

from musicrec.errors import MusicrecError
from musicrec.values import Seconds, check_fields


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

    max_seconds: Seconds | None = None
    pad: bool = False
    sample_rate: Annotated[int, Ge(1), Le(10_000_000)] | None = None

    def __post_init__(self) -> None:
        check_fields(self, "embedding")
        if self.pad and self.max_seconds is None:
            raise MusicrecError("embedding.pad=true needs embedding.max_seconds, the length to pad to")
