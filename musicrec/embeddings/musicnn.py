"""MusicNN: musically motivated CNN, trained on tags of the Million Song Dataset or MagnaTagATune.

Pons, Nieto, Prockup, Schmidt, Ehmann, Serra: "End-to-end learning for music audio tagging at scale", ISMIR 2018, and
Pons, Serra: "musicnn: pre-trained convolutional neural networks for music audio tagging", ISMIR 2019. The weights are
those of the package musicnn 0.1.0, converted by `musicrec.embeddings.checkpoints.convert_musicnn`.

Two things differ from what the published package does; both can be switched back (docs/converting-musicnn.md):

- its `penultimate` repeats the first 3-second patch instead of going through the track: `patches=first`;
- it was trained with the reflecting STFT of its time, but runs zero-padded under today's librosa: `pad_mode=reflect`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from musicrec.audio.clip import Clip
from musicrec.embeddings.base import AudioEmbedding, one_of
from musicrec.embeddings.checkpoints import convert_musicnn
from musicrec.errors import MusicrecError
from musicrec.values import Seconds

if TYPE_CHECKING:
    from musicrec.embeddings.networks.musicnn import MusicNNModel

_WEIGHTS = Path(__file__).parent / "weights"
_HOP = 256
_LAYERS = ("penultimate", "mean_pool", "max_pool", "taggram")


class MusicNN(AudioEmbedding):
    """The mean over a track's patches of a layer of MusicNN, by default the 200-d penultimate one.

    The last partial patch is dropped, as in the reference; a track shorter than one patch (47,616 samples for 3 s) has
    no embedding. Loudness is not normalised.
    """

    native_rate = 16_000
    same_length = False
    _model: MusicNNModel

    def __init__(
        self,
        name: str = "musicnn",
        weights: str = "msd",
        checkpoint: str | None = None,
        patches: str = "all",
        pad_mode: str = "constant",
        patch_seconds: Seconds = 3.0,
        hop_seconds: Seconds | None = None,
        layer: str | None = None,
        max_seconds: float | None = None,
        pad: bool = False,
        sample_rate: int | None = None,
    ):
        """Keeps the choices; nothing is read yet.

        Args:
            name: names the files.
            weights: "msd" (Million Song Dataset, the studies' choice) or "mtt" (MagnaTagATune).
            checkpoint: instead of the shipped weights: a converted .safetensors, or the upstream's wheel or folder.
            patches: "all", or "first" for what the package musicnn 0.1.0 returns.
            pad_mode: STFT edges, "constant" (zeros) or "reflect".
            patch_seconds: length of a patch.
            hop_seconds: time between the starts of patches; None = no overlap.
            layer: penultimate (200-d, default), mean_pool or max_pool (753-d), taggram (50-d).
            max_seconds: how much of a track is used, from its start; None = all.
            pad: zero-pad shorter tracks to `max_seconds`.
            sample_rate: only 16000 (or None) makes sense for this model.
        """
        super().__init__(name, Clip(max_seconds, pad, sample_rate), checkpoint)
        one_of("weights", weights, ("msd", "mtt"))
        one_of("patches", patches, ("all", "first"))
        one_of("pad_mode", pad_mode, ("constant", "reflect"))
        one_of("layer", layer or _LAYERS[0], _LAYERS)
        one_of("sample_rate", self.sample_rate, (self.native_rate,))
        self.weights = weights
        self.patches = patches
        self.pad_mode = pad_mode
        self.layer = layer or _LAYERS[0]
        self.patch_seconds = patch_seconds
        self.hop_seconds = hop_seconds
        # The reference's frame counts: 3 s are 187 frames, not 188; a given hop lacks the + 1.
        self.patch_frames = (int(self.sample_rate * patch_seconds) - _HOP) // _HOP + 1
        self.hop_frames = self.patch_frames
        if hop_seconds is not None:
            self.hop_frames = (int(self.sample_rate * hop_seconds) - _HOP) // _HOP
        if self.patch_frames < 1 or self.hop_frames < 1:
            raise MusicrecError("embedding.patch_seconds and embedding.hop_seconds must be at least 0.04 s")

    def settings(self) -> dict[str, Any]:
        """Returns those of every audio embedding, the layer, and how patches are cut."""
        own = {
            "layer": self.layer,
            "weights": self.weights,
            "patches": self.patches,
            "pad_mode": self.pad_mode,
            "patch_seconds": self.patch_seconds,
            "hop_seconds": self.hop_seconds,
        }
        return super().settings() | own

    @property
    def min_samples(self) -> int:
        """Returns the length of one patch."""
        return (self.patch_frames - 1) * _HOP

    def load(self, device: str = "cpu", precision: str = "fp32") -> None:
        """Reads the weights and puts the network on a device."""
        path = Path(self.checkpoint or _WEIGHTS / f"musicnn_{self.weights}.safetensors").expanduser()
        content = _read_weights(path, self.weights)
        self._hash = hashlib.sha256(content).hexdigest()
        # torch takes more than a second to import, and whoever reads stored vectors needs none of it.
        from musicrec.embeddings.networks.musicnn import MusicNNModel  # noqa: PLC0415

        self._model = MusicNNModel(
            content,
            device,
            precision,
            hop=_HOP,
            patch_frames=self.patch_frames,
            patch_hop=self.hop_frames,
            first_only=self.patches == "first",
            pad_mode=self.pad_mode,
        )

    def checkpoint_hash(self) -> str:
        """Returns the SHA-256 of the weights that `load` read."""
        return self._hash

    def embed(self, waves: list[np.ndarray]) -> np.ndarray:
        """Returns the means over the patches of the waves, (batch, dim) float32."""
        return np.stack([self._model.embed(wave, self.layer) for wave in waves])

    def features(self, wave: np.ndarray) -> dict[str, np.ndarray]:
        """Returns every stage of the network for every patch, channels last as in the reference, float32.

        Returns:
            logmel: (patches, time, 96); timbral, temporal, cnn1, cnn2, cnn3: (patches, time, channels);
            mean_pool, max_pool: (patches, 753); penultimate: (patches, 200); taggram: (patches, 50).
        """
        return self._model.features(wave)


def _read_weights(path: Path, variant: str) -> bytes:
    """Returns the content of a .safetensors file, converted from what upstream publishes if need be."""
    if not path.exists():
        raise MusicrecError(f"embedding.checkpoint: {path} does not exist; null uses the weights in musicrec")
    return path.read_bytes() if path.suffix == ".safetensors" else convert_musicnn.convert(path, variant)
