"""MULE: a normaliser-free convolutional network trained by contrast on 3 s windows of log-mel spectra.

McCallum, Korzeniowski, Oramas, Gouyon, Ehmann: "Supervised and Unsupervised Learning of Audio Representations for Music
Understanding", ISMIR 2022.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from musicrec.audio.clip import Clip
from musicrec.audio.spectrogram import centre_pad, hann, power_spectrogram
from musicrec.embeddings.base import one_of
from musicrec.embeddings.checkpoints import load as checkpoints
from musicrec.embeddings.checkpoints.published import PublishedWeights
from musicrec.embeddings.networks.mule import PUBLISHED, MuleNet
from musicrec.embeddings.pretrained.base import Built, Pretrained
from musicrec.embeddings.pretrained.layer import Layer
from musicrec.errors import MusicrecError, demand

_FILES = (("config.json",), ("model.safetensors",))
_LICENCE = "CC BY-NC 4.0 (not for commercial use)"
AMPLITUDES = {"full": 1.0, "half": 0.5}
# What precedes the network, as published, in the names of `config.json`.
_FRONT_END: dict[str, Any] = {
    "sample_rate": 16_000,
    "n_fft": 2048,
    "hop_length": 160,
    "win_length": 400,
    "n_mels": 96,
    "slice_hop": 200,
    "look_backward": 150,
    "look_forward": 150,
    "std_floor": 0.01,
}
_SUPPORTED: dict[str, Any] = {
    "window": "hann",
    "power": 2.0,
    "center": True,
    "pad_mode": "reflect",
    "mag_compression": "log10_nonneg",
    "standard_normalize": True,
    "scaled_activation": "gelu",
}
_FILTERS = "frontend.mel_fb"
_DISCRETE_FOURIER = "frontend.stft."  # matrices that a converted checkpoint may have; the transform is calculated
_BACKBONE = "backbone."
# Spectra calculated at once, 16 MB each thousand, and windows that the network is given at once.
_SPECTRA_AT_ONCE = 2000
_WINDOWS_AT_ONCE = 16


class MULE(Pretrained):
    """The mean over the 3 s windows, one every 2 s, of the whole track: 1728-d.

    The study used the original package, which divides 16-bit samples by 2^16 and so halves the amplitude:
    `amplitude="half"`. The logarithm is of 10,000 p + 1, so the numbers differ a little (3e-3 with random weights).
    """

    native_rate = 16_000
    same_length = False
    least_samples = 1025  # what reflection at the edges needs
    _net: MuleNet
    _filters: Tensor

    def __init__(
        self,
        name: str = "mule",
        hub: str = "matteospanio/mule",
        revision: str = "main",
        checkpoint: str | None = None,
        amplitude: str = "full",
        max_seconds: float | None = None,
        pad: bool = False,
        layer: int | str | None = None,
        layer_pooling: str = "concat",
        sample_rate: int | None = None,
    ):
        """Keeps the choices; nothing is read yet.

        Args:
            name: names the files.
            hub: repository of the weights, converted from the published ones.
            revision: commit, branch or tag of it.
            checkpoint: instead of these: folder with config.json and model.safetensors.
            amplitude: "full" (samples from -1 to 1) or "half" (as in the original package and the study).
            max_seconds: how much of a track is used, from its start; None = all.
            pad: zero-pad shorter tracks to `max_seconds`.
            layer: only None: the network is convolutional, and its output is the vector.
            layer_pooling: has no effect.
            sample_rate: only 16000 (or None) makes sense for this model.
        """
        one_of("amplitude", amplitude, tuple(AMPLITUDES))
        one_of("sample_rate", sample_rate or self.native_rate, (self.native_rate,))
        demand("embedding.layer", layer, layer is None, f"null for {name}, which offers only its output")
        weights = PublishedWeights(hub, revision, checkpoint, _FILES, _LICENCE)
        super().__init__(name, weights, Clip(max_seconds, pad, sample_rate), Layer(layer, layer_pooling))
        self.amplitude = amplitude
        self._front_end = _FRONT_END

    def settings(self) -> dict[str, Any]:
        """Returns those of `Pretrained`, and the amplitude."""
        return super().settings() | {"amplitude": self.amplitude}

    def load(self, device: str = "cpu", precision: str = "fp32") -> None:
        """Reads the weights and puts the model on a device."""
        super().load(device, precision)
        sizes = self._front_end
        rest = sizes["n_fft"] - sizes["win_length"]
        self._window = F.pad(hann(sizes["win_length"]), (rest // 2, rest - rest // 2)).to(self._device)
        self._filters = self._filters.to(self._device)

    def build(self, path: Path) -> Built:
        """Returns the network of a checkpoint in the format of the converted weights."""
        weights = checkpoints.find_file(path, "model.safetensors", "*.safetensors") if path.is_dir() else path
        source = weights.with_name("config.json")
        config = PUBLISHED | _FRONT_END | checkpoints.read_config(source)
        checkpoints.check_config(config, source, **_SUPPORTED, sample_rate=self.native_rate)
        read = checkpoints.tensors(checkpoints.read(weights), weights)
        shape = (config["n_mels"], config["n_fft"] // 2 + 1)
        filters = read.pop(_FILTERS, None)
        if filters is None:
            raise MusicrecError(f"{weights} does not fit this model: missing {_FILTERS}")
        if filters.shape != shape:
            found = f"{_FILTERS} {tuple(filters.shape)} instead of {shape}"
            raise MusicrecError(f"{weights} does not fit this model: wrong shapes: {found}")
        state = {name.removeprefix(_BACKBONE): value for name, value in read.items()}
        with torch.device("meta"):
            net = MuleNet(config)
        checkpoints.fill(net, state, weights, (_DISCRETE_FOURIER,), called=_theirs)
        net.fuse(config["ws_eps"])
        self._front_end = {key: config[key] for key in _FRONT_END}
        self._filters = filters.T.contiguous()
        return Built(net, weights, 0, config["n_fft"] // 2 + 1)

    @torch.inference_mode()
    def embed(self, waves: list[np.ndarray]) -> np.ndarray:
        """Returns one vector per wave, (batch, dim) float32."""
        # Track by track, so that the numbers of a track never depend on the others.
        return np.stack([self.timeline(wave).mean(axis=0) for wave in waves])

    @torch.inference_mode()
    def timeline(self, wave: np.ndarray) -> np.ndarray:
        """Returns one vector per window of a track, (windows, dim) float32."""
        mel = self.log_mel(wave)
        vectors = []
        for some in self.windows(mel.shape[1]).split(_WINDOWS_AT_ONCE):
            standardised = self.slices(mel, some)
            with self._autocast():
                vectors.append(self._net(standardised).float().cpu().numpy())
        return np.concatenate(vectors)

    def log_mel(self, wave: np.ndarray) -> Tensor:
        """Returns log10(10,000 p + 1) of the mel power p, (mel, frames); frames are 10 ms apart."""
        n_fft, hop = self._front_end["n_fft"], self._front_end["hop_length"]
        samples = torch.from_numpy(np.ascontiguousarray(wave)).to(self._device) * AMPLITUDES[self.amplitude]
        padded = centre_pad(samples, n_fft, "reflect")
        frames = 1 + len(wave) // hop
        mel = [
            power_spectrogram(
                padded[first * hop : (min(first + _SPECTRA_AT_ONCE, frames) - 1) * hop + n_fft], self._window, hop
            )
            @ self._filters
            for first in range(0, frames, _SPECTRA_AT_ONCE)
        ]
        return (10_000 * torch.cat(mel) + 1).log10().T

    def windows(self, frames: int) -> Tensor:
        """Returns the frames of each window, (windows, 300) indices; indices repeat where a track is too short.

        Centres are 200, 400, ... frames from the start and moved so that the window lies within the track. A track
        shorter than one window is reflected at its end, or, if it is shorter than half a window, its last frame is
        repeated.
        """
        before, after, hop = (self._front_end[key] for key in ("look_backward", "look_forward", "slice_hop"))
        length = before + after
        if frames < length:
            missing = length - frames
            mirrored = frames - 2 - torch.arange(missing) if missing < frames else torch.full((missing,), frames - 1)
            return torch.cat([torch.arange(frames), mirrored])[None]
        centres = torch.arange(hop, frames, hop) if hop < frames else torch.tensor([before])
        return centres.clamp(before, frames - after)[:, None] + torch.arange(-before, after)

    def slices(self, mel: Tensor, windows: Tensor) -> Tensor:
        """Returns windows with mean 0 and variance 1, (windows, 1, mel, 300), of log-mel spectra (mel, frames)."""
        cut = mel[:, windows.to(mel.device)].transpose(0, 1)  # (windows, mel, 300)
        deviation, mean = torch.std_mean(cut, dim=(1, 2), correction=0, keepdim=True)
        return ((cut - mean) / deviation.clamp_min(self._front_end["std_floor"]))[:, None]


def _theirs(name: str) -> str:
    """Returns the name in the checkpoint of a tensor of the network."""
    return name if name.startswith("frontend.") else f"{_BACKBONE}{name}"
