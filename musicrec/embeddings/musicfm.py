"""MusicFM: a conformer trained to predict random projections of masked log-mel spectra (BEST-RQ), 25 frames a second.

Won, Hung, Le: "A Foundation Model for Music Informatics", ICASSP 2024.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from musicrec.audio.decode import AudioError
from musicrec.embeddings.checkpoints import load as checkpoints
from musicrec.embeddings.networks.musicfm import HOP, N_FFT, MusicFMNet
from musicrec.embeddings.pretrained.base import TimeMean
from musicrec.errors import MusicrecError

# Names in the checkpoint of what the spectrogram needs -> ours.
_SPECTROGRAM = {
    "preprocessor_melspec_2048.mel_stft.spectrogram.window": "window",
    "preprocessor_melspec_2048.mel_stft.mel_scale.fb": "filters",
}
_STATISTICS = {"melspec_2048_mean": "mean", "melspec_2048_std": "deviation"}
# Of pre-training, and what can be calculated or is never used.
_UNUSED = ("quantizer_", "linear.", "cls_token", "conformer.embed_positions.", "conformer.pos_conv_embed.")
_SUPPORTED: dict[str, Any] = {"hidden_act": ("swish", "silu"), "position_embeddings_type": "rotary"}


class MusicFM(TimeMean):
    """A mean of a layer of MusicFM, by default over time of the last state: 1024-d.

    The study took the mean over the channels instead, which leaves one number a frame, the same 750 for every 30 s:
    `pooling="channel"`. Zeros that fill up a clip are attended to, as in the study.
    """

    native_rate = 24_000
    _net: MusicFMNet
    licence = "MIT, according to third parties; the upstream has no licence file for them"

    def __init__(
        self,
        name: str = "musicfm",
        hub: str = "minzwon/MusicFM",
        weights: str = "fma",
        pooling: str = "time",
        **common: Any,
    ):
        """
        Args:
            name: names the files.
            hub: repository of the published weights.
            weights: "fma" (trained on the Free Music Archive, the study's choice) or "msd" (Million Song Dataset).
            pooling: mean over "time" (one number a channel) or "channel" (one number a frame, the study's slip).
            common: the keys of every `TimeMean`.
        """
        super().__init__(name, hub, **common)
        for key, value, allowed in (
            ("weights", weights, ("fma", "msd")),
            ("pooling", pooling, ("time", "channel")),
            ("sample_rate", self.sample_rate, (self.native_rate,)),
        ):
            if value not in allowed:
                raise MusicrecError(f"embedding.{key}={value} is unknown; allowed: {', '.join(map(str, allowed))}")
        self.weights = weights
        self.pooling = pooling
        published = f"pretrained_{weights}"
        self.files = ((f"{published}.safetensors", f"{published}.pt"), (f"{weights}_stats.json",))
        self._frames: int | None = None

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"weights": self.weights, "pooling": self.pooling}

    @property
    def min_samples(self) -> int:
        return N_FFT // 2 + 1  # what reflection at the edges needs

    def build(self, path: Path) -> tuple[nn.Module, Path, int]:
        weights = path
        if path.is_dir():
            weights = checkpoints.find_file(path, "*.safetensors", "*.pt", prefer=self.weights)
        trained_on = next((name for name in ("fma", "msd") if name in weights.name), self.weights)
        source = checkpoints.find_file(weights, "*stats.json", prefer=trained_on)
        statistics = checkpoints.read_config(source)
        checkpoints.demand(statistics, source, _STATISTICS)
        source = weights.with_name("config.json")
        config = checkpoints.read_config(source)
        config |= config.get("transformers_config", {})
        checkpoints.demand(config, source, **_SUPPORTED)
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
        return net, weights, len(net.conformer.layers)

    def prepare(self, wave: np.ndarray) -> np.ndarray:
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
        with torch.autocast(waves.device.type, enabled=False):
            spectrum = self._net.spectrum(waves)
        return self._net(spectrum)

    def pool(self, state: Tensor) -> Tensor:
        return state.float().mean(dim=1 if self.pooling == "time" else 2)


def _frames(samples: int) -> int:
    """Returns how many frames the network makes of a wave."""
    return -(-(samples // HOP) // 4)
