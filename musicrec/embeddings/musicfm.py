"""MusicFM: a conformer trained to predict random projections of masked log-mel spectra (BEST-RQ), 25 frames per second.

Won, Hung, Le: "A Foundation Model for Music Informatics", ICASSP 2024.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from musicrec.audio.clip import Clip
from musicrec.audio.decode import AudioError
from musicrec.embeddings.base import one_of
from musicrec.embeddings.checkpoints import load as checkpoints
from musicrec.embeddings.checkpoints.published import PublishedWeights
from musicrec.embeddings.networks.musicfm import HOP, N_FFT, MusicFMNet
from musicrec.embeddings.pretrained.base import Built, TimeMean
from musicrec.embeddings.pretrained.layer import Layer
from musicrec.errors import MusicrecError

# Names in the checkpoint of what the spectrogram needs -> ours.
_SPECTROGRAM = {
    "preprocessor_melspec_2048.mel_stft.spectrogram.window": "window",
    "preprocessor_melspec_2048.mel_stft.mel_scale.fb": "filters",
}
_STATISTICS = {"melspec_2048_mean": "mean", "melspec_2048_std": "deviation"}
# Used in pre-training only, computed here, or never used.
_UNUSED = ("quantizer_", "linear.", "cls_token", "conformer.embed_positions.", "conformer.pos_conv_embed.")
_LICENCE = "MIT, according to third parties; the upstream has no licence file for them"
_SUPPORTED: dict[str, Any] = {"hidden_act": ("swish", "silu"), "position_embeddings_type": "rotary"}


class MusicFM(TimeMean):
    """A mean of a layer of MusicFM, by default over time of the last state: 1024-d.

    The study took the mean over the channels instead, which leaves one number per frame, 750 for every 30 s:
    `pooling="channel"`. Padding is attended to, as in the study.
    """

    native_rate = 24_000
    least_samples = N_FFT // 2 + 1  # what reflection at the edges needs
    _net: MusicFMNet

    def __init__(
        self,
        name: str = "musicfm",
        hub: str = "minzwon/MusicFM",
        revision: str = "main",
        weights: str = "fma",
        pooling: str = "time",
        checkpoint: str | None = None,
        max_seconds: float | None = None,
        pad: bool = False,
        layer: int | str | None = None,
        layer_pooling: str = "concat",
        sample_rate: int | None = None,
    ):
        """Keeps the choices; nothing is read yet.

        Args:
            name: names the files.
            hub: repository of the published weights.
            revision: commit, branch or tag of it.
            weights: "fma" (trained on the Free Music Archive, the study's choice) or "msd" (Million Song Dataset).
            pooling: mean over "time" (one number per channel) or "channel" (one number per frame, the study's slip).
            checkpoint: instead of the published weights: folder with one .pt and one *stats.json, or the .pt.
            max_seconds: how much of a track is used, from its start; None = all.
            pad: zero-pad shorter tracks to `max_seconds`.
            layer: None = the last state; 0 = what enters the first layer, 1 = the output of the first, ...; "all".
            layer_pooling: what "all" becomes: "concat" or "mean".
            sample_rate: only 24000 (or None) makes sense for this model.
        """
        one_of("weights", weights, ("fma", "msd"))
        one_of("pooling", pooling, ("time", "channel"))
        one_of("sample_rate", sample_rate or self.native_rate, (self.native_rate,))
        published = f"pretrained_{weights}"
        files = ((f"{published}.safetensors", f"{published}.pt"), (f"{weights}_stats.json",))
        super().__init__(
            name,
            PublishedWeights(hub, revision, checkpoint, files, _LICENCE),
            Clip(max_seconds, pad, sample_rate),
            Layer(layer, layer_pooling),
        )
        self.trained_on = weights
        self.pooling = pooling
        self._frames: int | None = None

    def settings(self) -> dict[str, Any]:
        """Returns those of `TimeMean`, the data set and the pooling."""
        return super().settings() | {"weights": self.trained_on, "pooling": self.pooling}

    def build(self, path: Path) -> Built:
        """Returns the network of a checkpoint in the upstream's format."""
        weights = path
        if path.is_dir():
            weights = checkpoints.find_file(path, "*.safetensors", "*.pt", prefer=self.trained_on)
        trained_on = next((name for name in ("fma", "msd") if name in weights.name), self.trained_on)
        source = checkpoints.find_file(weights, "*stats.json", prefer=trained_on)
        statistics = checkpoints.read_config(source)
        checkpoints.check_config(statistics, source, _STATISTICS)
        source = weights.with_name("config.json")
        config = checkpoints.read_config(source)
        config |= config.get("transformers_config", {})
        checkpoints.check_config(config, source, **_SUPPORTED)
        state = checkpoints.tensors(checkpoints.read(weights), weights)
        state = {name.removeprefix("model."): value for name, value in state.items()}
        state = {_SPECTROGRAM.get(name, name): value for name, value in state.items()}
        state |= {ours: torch.tensor(float(statistics[key])) for key, ours in _STATISTICS.items()}
        theirs = {ours: name for name, ours in _SPECTROGRAM.items()}
        try:
            with torch.device("meta"):
                net = MusicFMNet(state, config)
        except KeyError as error:
            name = error.args[0]
            raise MusicrecError(f"{weights} does not fit this model: missing {theirs.get(name, name)}") from None
        checkpoints.fill(net, state, weights, _UNUSED, called=lambda name: theirs.get(name, name))
        net.fuse()
        return Built(net, weights, len(net.conformer.layers), self.least_samples)

    def prepare(self, wave: np.ndarray) -> np.ndarray:
        """Returns a wave cut and padded; with `pooling=channel` all must give the same number of frames."""
        wave = super().prepare(wave)
        if self.pooling == "channel":
            frames = _frames(len(wave))
            expected = self._frames or (frames if self.max_samples is None else _frames(self.max_samples))
            self._frames = expected
            if frames != expected:
                raise AudioError(
                    f"pooling=channel gives {frames} numbers for this clip and {expected} for others: it needs "
                    "embedding.max_seconds and embedding.pad=true"
                )
        return wave

    def states(self, waves: Tensor) -> Iterator[Tensor]:
        """Yields what enters the first layer and what leaves each; the spectrogram is always float32."""
        with torch.autocast(waves.device.type, enabled=False):
            spectrum = self._net.spectrum(waves)
        return self._net(spectrum)

    def pool(self, state: Tensor) -> Tensor:
        """Returns the mean over time, (batch, dim) float32, or over the channels, (batch, frames)."""
        return state.float().mean(dim=1 if self.pooling == "time" else 2)


def _frames(samples: int) -> int:
    """Returns how many frames the network makes of a wave."""
    return -(-(samples // HOP) // 4)
