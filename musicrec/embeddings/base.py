"""Base classes of embeddings: Embedding, and AudioEmbedding for those computed from audio."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from musicrec.audio.clip import Clip
from musicrec.audio.decode import AudioError
from musicrec.embeddings.tables import store
from musicrec.errors import demand
from musicrec.values import FileName, checked
from musicrec.workspace import TrackIndex, Workspace


class Embedding(ABC):
    """A matrix of item vectors. Constructing one is cheap: nothing is read or loaded.

    Attributes:
        name: names the files, `embeddings/{name}.npy`.
        needs_audio: whether `extract.py` has to decode audio for it.
        trainable: whether the vectors are only the starting point of a table that the recommenders learn.
    """

    needs_audio: bool = False

    def __init__(self, name: str, trainable: bool = False):
        self.name = checked("embedding.name", name, FileName)
        self.trainable = trainable

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Returns what decides the numbers, as JSON values; recorded in `{name}.json` and compared on every use."""

    def table(self, workspace: Workspace, tracks: TrackIndex) -> np.ndarray:
        """Returns the vectors, (tracks, dim) float32, with NaN rows for missing tracks.

        Raises:
            MusicrecError: not extracted yet, or with other settings, or for other tracks; names the command that helps.
        """
        return store.load(workspace, self.name, self.settings(), tracks)

    def reason(self, track: str) -> str:
        """Returns why the table has no vector of a track, as recorded in `{name}.json`."""
        return "no vector"

    def checkpoint_hash(self) -> str | None:
        """Returns the SHA-256 of the file the numbers come from (of the weights that `load` read), None without one."""
        return None


@runtime_checkable
class TextSearch(Protocol):
    """What an embedding offers whose space is shared by audio and text."""

    def embed_texts(self, texts: list[str]) -> np.ndarray:
        """Returns the unit vectors of texts, (texts, dim) float32."""


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


class AudioEmbedding(Embedding):
    """An embedding computed from waveforms by a model.

    Attributes:
        native_rate: Hz the model was trained on, the default of `embedding.sample_rate`.
        same_length: whether the waves of one batch must have the same number of samples.
        precisions: the values of `extract.precision` that `load` accepts.
        clip: the part of a track that the model is given.
        checkpoint: local file or folder as the upstream publishes it; None = the published one.
    """

    needs_audio = True
    native_rate: int
    same_length: bool = True
    precisions: tuple[str, ...] = ("fp32", "bf16", "fp16")

    def __init__(self, name: str, clip: Clip, checkpoint: str | None = None):
        super().__init__(name)
        self.clip = clip
        self.checkpoint = checkpoint

    def settings(self) -> dict[str, Any]:
        """Returns what decides the numbers; a class adds its own keys, `layer` among them if it has a choice."""
        return {
            "model": type(self).__name__,
            "checkpoint": self.checkpoint,
            "layer": None,
            "max_seconds": self.clip.max_seconds,
            "pad": self.clip.pad,
            "sample_rate": self.sample_rate,
        }

    @property
    def sample_rate(self) -> int:
        """Returns the rate in Hz at which the audio is given to the model."""
        return self.clip.sample_rate or self.native_rate

    @property
    def max_samples(self) -> int | None:
        """Returns `embedding.max_seconds` in samples at `sample_rate`."""
        return None if self.clip.max_seconds is None else round(self.clip.max_seconds * self.sample_rate)

    @property
    @abstractmethod
    def min_samples(self) -> int:
        """Returns the length of the shortest wave the model accepts, in samples at `sample_rate`."""

    @abstractmethod
    def load(self, device: str = "cpu", precision: str = "fp32") -> None:
        """Reads the weights and puts the model on a device.

        Args:
            device: "cpu", "cuda" or "cuda:N".
            precision: "fp32", "bf16" or "fp16".
        """

    @abstractmethod
    def embed(self, waves: list[np.ndarray]) -> np.ndarray:
        """Returns one vector per wave, (batch, dim) float32; each wave is (samples,) float32 mono at `sample_rate`.

        A wave's vector must not depend on the other waves of the batch beyond rounding.
        """

    def prepare(self, wave: np.ndarray) -> np.ndarray:
        """Returns a decoded wave as the model expects it: cut to `max_seconds`, zero-padded to it if `pad`.

        Raises:
            AudioError: shorter than the model accepts.
        """
        if self.max_samples is not None:
            wave = wave[: self.max_samples]
            if self.clip.pad and len(wave) < self.max_samples:
                wave = np.pad(wave, (0, self.max_samples - len(wave)))
        if len(wave) < self.min_samples:
            have, need = len(wave) / self.sample_rate, self.min_samples / self.sample_rate
            raise AudioError(f"too short: {have:.2f} s ({len(wave)} samples), the model needs {need:.3f} s")
        return wave


def one_of(key: str, value: object, allowed: Sequence[object]) -> None:
    """Refuses a value of `embedding.{key}` that is not in `allowed`.

    Raises:
        MusicrecError: names the allowed values.
    """
    demand(f"embedding.{key}", value, value in allowed, " or ".join(map(str, allowed)))
