"""What every embedding is: a table of vectors, one row a track; and what the ones computed from audio add to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from musicrec.embeddings import store
from musicrec.errors import MusicrecError

if TYPE_CHECKING:
    import numpy as np

    from musicrec.workspace import TrackIndex, Workspace


# Keys that every conf/embedding/*.yaml has; embeddings that read no audio take and ignore them.
AUDIO_KEYS = ("checkpoint", "max_seconds", "pad", "layer", "sample_rate")


class Embedding(ABC):
    """A table of item vectors. Constructing one is cheap: nothing is read or loaded.

    Attributes:
        name: names the files, `embeddings/{name}.npy`.
        needs_audio: whether `extract.py` has to decode audio for it.
        trainable: the table is only a starting point that the recommenders learn on.
    """

    needs_audio: bool = False

    def __init__(self, name: str, trainable: bool = False):
        if not name or name.startswith(".") or "/" in name:
            raise MusicrecError(f"embedding.name={name!r} must be a plain file name: it names embeddings/{{name}}.npy")
        self.name = name
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

    def checkpoint_hash(self) -> str | None:
        """Returns the SHA-256 of the file the numbers come from (of the weights that `load` read), None without one."""
        return None


class AudioEmbedding(Embedding):
    """An embedding computed from waveforms by a model.

    Attributes:
        native_rate: Hz the model was trained on, the default of `sample_rate`.
        layers: the values `layer` may have; empty if it has no meaning here.
        same_length: whether the waves of one batch must have the same number of samples.
        precisions: the values of `extract.precision` that `load` takes.
    """

    needs_audio = True
    native_rate: int
    layers: tuple[Any, ...] = ()
    same_length: bool = True
    precisions: tuple[str, ...] = ("fp32", "bf16", "fp16")

    def __init__(
        self,
        name: str,
        checkpoint: str | None = None,
        max_seconds: float | None = None,
        pad: bool = False,
        layer: Any = None,
        sample_rate: int | None = None,
    ):
        """
        Args:
            name: names the files.
            checkpoint: local file or folder as the upstream publishes it; None = the published one.
            max_seconds: how much of a track is used, from its start; None = all.
            pad: shorter tracks are filled up with zeros to `max_seconds`.
            layer: which output of the model; None = the model's default.
            sample_rate: Hz at which the audio is given to the model; None = the rate it was trained on.
        """
        super().__init__(name)
        if max_seconds is not None and max_seconds <= 0:
            raise MusicrecError(f"embedding.max_seconds={max_seconds} must be above 0, or null for the whole track")
        if pad and max_seconds is None:
            raise MusicrecError("embedding.pad=true needs embedding.max_seconds, the length to pad to")
        if sample_rate is not None and sample_rate <= 0:
            raise MusicrecError(f"embedding.sample_rate={sample_rate} must be above 0, or null for the model's own")
        if layer is not None and layer not in self.layers:
            allowed = ", ".join(map(str, self.layers)) if self.layers else "null"
            raise MusicrecError(f"embedding.layer={layer} is not offered by {name}; allowed: {allowed}")
        self.checkpoint = checkpoint
        self.max_seconds = max_seconds
        self.pad = pad
        self.layer = layer
        self.sample_rate = sample_rate or self.native_rate

    def settings(self) -> dict[str, Any]:
        return {
            "model": type(self).__name__,
            "checkpoint": self.checkpoint,
            "layer": self.layer,
            "max_seconds": self.max_seconds,
            "pad": self.pad,
            "sample_rate": self.sample_rate,
        }

    @property
    @abstractmethod
    def min_samples(self) -> int:
        """Returns the shortest wave the model can take, in samples at `sample_rate`."""

    @property
    def max_samples(self) -> int | None:
        """Returns `max_seconds` in samples at `sample_rate`."""
        return None if self.max_seconds is None else round(self.max_seconds * self.sample_rate)

    @abstractmethod
    def load(self, device: str = "cpu", precision: str = "fp32") -> None:
        """Reads the weights and puts the model on a device.

        Args:
            device: "cpu", "cuda" or "cuda:N".
            precision: "fp32", "bf16" or "fp16".
        """

    @abstractmethod
    def embed(self, waves: list[np.ndarray]) -> np.ndarray:
        """Returns one vector a wave, (batch, dim) float32; each wave is (samples,) float32 mono at `sample_rate`.

        A wave's vector must not depend on the other waves of the batch beyond rounding.
        """

    def prepare(self, wave: np.ndarray) -> np.ndarray:
        """Returns a decoded wave as the model wants it: cut to `max_seconds`, zero-padded to it if `pad`.

        Raises:
            AudioError: shorter than the model can take.
        """
        import numpy as np

        from musicrec.audio.decode import AudioError

        if self.max_samples is not None:
            wave = wave[: self.max_samples]
            if self.pad and len(wave) < self.max_samples:
                wave = np.pad(wave, (0, self.max_samples - len(wave)))
        if len(wave) < self.min_samples:
            have, need = len(wave) / self.sample_rate, self.min_samples / self.sample_rate
            raise AudioError(f"too short: {have:.2f} s ({len(wave)} samples), the model needs {need:.3f} s")
        return wave


def reject_unknown(name: str, values: dict[str, Any]) -> None:
    """Refuses keys of a configuration that no embedding has."""
    for key in values:
        if key not in AUDIO_KEYS:
            raise MusicrecError(f"embedding.{key} is unknown to embedding={name}")
