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
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load
from torch import Tensor, nn

from musicrec.audio.clip import Clip
from musicrec.audio.spectrogram import centre_pad, hann, mel_filterbank, power_spectrogram
from musicrec.embeddings.base import AudioEmbedding, one_of
from musicrec.embeddings.checkpoints import convert_musicnn
from musicrec.errors import MusicrecError
from musicrec.values import Seconds

_WEIGHTS = Path(__file__).parent / "weights"
_N_FFT = 512
_HOP = 256
_MELS = 96
_BATCH_NORM_EPS = 1e-3  # TensorFlow's default; many channels have a variance near 0, so 1e-5 gives other numbers
_LAYERS = ("penultimate", "mean_pool", "max_pool", "taggram")
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class _Branch(nn.Module):
    """One front-end branch: convolution, ReLU, batch norm, maximum over the mel axis.

    Batch norm is monotone in each channel, so it commutes with the maximum: the maximum of the convolution suffices
    where gamma >= 0, the minimum where gamma < 0. Flipping the sign of those filters turns both into a maximum, and
    ReLU and batch norm then work on (patches, filters, time) instead of a map some fifty times as large.
    """

    def __init__(self, filters: int, time: int, mel: int):
        super().__init__()
        self.conv = nn.Conv2d(1, filters, (time, mel))
        self.norm = nn.BatchNorm1d(filters, eps=_BATCH_NORM_EPS)
        # TensorFlow's "same" padding: an even kernel gets the odd zero at the end.
        self.time_padding = ((time - 1) // 2, time - 1 - (time - 1) // 2)

    def forward(self, image: Tensor) -> Tensor:
        sign = torch.where(self.norm.weight < 0, -1.0, 1.0)
        weight = (self.conv.weight * sign[:, None, None, None]).contiguous(memory_format=torch.channels_last)
        image = F.pad(image, (0, 0, *self.time_padding))  # (patches, 1, time + padding, mel)
        peak = F.conv2d(image, weight).amax(dim=3)  # (patches, filters, time)
        assert self.conv.bias is not None
        return self.norm(F.relu(peak * sign[:, None] + self.conv.bias[:, None]))


class _MidLayer(nn.Module):
    """Convolution over time, ReLU, batch norm; keeps the length."""

    def __init__(self, channels: int, filters: int, kernel: int):
        super().__init__()
        self.conv = nn.Conv1d(channels, filters, kernel, padding=kernel // 2)
        self.norm = nn.BatchNorm1d(filters, eps=_BATCH_NORM_EPS)

    def forward(self, features: Tensor) -> Tensor:
        return self.norm(F.relu(self.conv(features)))


class MusicNNNet(nn.Module):
    """The network, from log-mel patches to tags; its sizes are read from the shapes of the weights.

    Args:
        weights: tensors by name, as `convert_musicnn` writes them.
    """

    def __init__(self, weights: dict[str, Tensor]):
        super().__init__()
        shape = {name: tuple(tensor.shape) for name, tensor in weights.items()}
        self.input_norm = nn.BatchNorm2d(1, eps=_BATCH_NORM_EPS)
        self.frontend = nn.ModuleDict()
        for name in ("timbral1", "timbral2", "temporal1", "temporal2", "temporal3"):
            filters, _, time, mel = shape[f"frontend.{name}.conv.weight"]
            self.frontend[name] = _Branch(filters, time, mel)
        self.midend = nn.ModuleDict()
        for name in ("layer1", "layer2", "layer3"):
            filters, channels, kernel = shape[f"midend.{name}.conv.weight"]
            self.midend[name] = _MidLayer(channels, filters, kernel)
        units, pooled = shape["backend.dense.weight"]
        tags, _ = shape["backend.output.weight"]
        self.backend = nn.ModuleDict(
            {
                "pool_norm": nn.BatchNorm1d(pooled, eps=_BATCH_NORM_EPS),
                "dense": nn.Linear(pooled, units),
                "dense_norm": nn.BatchNorm1d(units, eps=_BATCH_NORM_EPS),
                "output": nn.Linear(units, tags),
            }
        )
        missing, unexpected = self.load_state_dict(weights, strict=False)
        missing = [name for name in missing if not name.endswith("num_batches_tracked")]  # TensorFlow counts none
        if missing or unexpected:
            raise MusicrecError(f"not MusicNN weights: missing {missing[:3]}, unknown {unexpected[:3]}")
        self.eval().requires_grad_(False)

    def forward(self, patches: Tensor) -> dict[str, Tensor]:
        """Returns every stage by the reference's names.

        Args:
            patches: log-mel, (patches, time, 96).

        Returns:
            timbral, temporal, cnn1, cnn2, cnn3: (patches, channels, time);
            mean_pool, max_pool: (patches, 753); penultimate: (patches, 200); taggram: (patches, 50).
        """
        image = self.input_norm(patches[:, None])
        branches = {name: branch(image) for name, branch in self.frontend.items()}
        timbral = torch.cat([branches["timbral1"], branches["timbral2"]], dim=1)
        temporal = torch.cat([branches["temporal1"], branches["temporal2"], branches["temporal3"]], dim=1)
        front = torch.cat([timbral, temporal], dim=1)  # (patches, 561, time)
        cnn1 = self.midend["layer1"](front)
        cnn2 = self.midend["layer2"](cnn1) + cnn1
        cnn3 = self.midend["layer3"](cnn2) + cnn2
        dense = torch.cat([front, cnn1, cnn2, cnn3], dim=1)  # (patches, 753, time)
        max_pool, mean_pool = dense.amax(dim=2), dense.mean(dim=2)
        pooled = torch.stack([max_pool, mean_pool], dim=2).flatten(1)  # interleaved: max, mean of each channel
        hidden = F.relu(self.backend["dense"](self.backend["pool_norm"](pooled)))
        penultimate = self.backend["dense_norm"](hidden)
        return {
            "timbral": timbral,
            "temporal": temporal,
            "cnn1": cnn1,
            "cnn2": cnn2,
            "cnn3": cnn3,
            "mean_pool": mean_pool,
            "max_pool": max_pool,
            "penultimate": penultimate,
            "taggram": torch.sigmoid(self.backend["output"](penultimate)),
        }


class MusicNN(AudioEmbedding):
    """The mean over a track's patches of a layer of MusicNN, by default the 200-d penultimate one.

    The last partial patch is dropped, as in the reference; a track shorter than one patch (47,616 samples for 3 s) has
    no embedding. Loudness is not normalised.
    """

    native_rate = 16_000
    same_length = False

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
        weights, self._hash = _read_weights(path, self.weights)
        self._device = torch.device(device)
        self._autocast = _AUTOCAST.get(precision)
        self._net = MusicNNNet(weights).to(self._device)
        self._window = hann(_N_FFT, self._device)
        bank = mel_filterbank(self.sample_rate, _N_FFT, _MELS)
        self._filters = torch.from_numpy(bank.T.copy()).to(self._device)  # (bins, mels)

    def checkpoint_hash(self) -> str:
        """Returns the SHA-256 of the weights that `load` read."""
        return self._hash

    def embed(self, waves: list[np.ndarray]) -> np.ndarray:
        """Returns the means over the patches of the waves, (batch, dim) float32."""
        return np.stack([self._embed(wave) for wave in waves])

    def features(self, wave: np.ndarray) -> dict[str, np.ndarray]:
        """Returns every stage of the network for every patch, channels last as in the reference, float32.

        Returns:
            logmel: (patches, time, 96); timbral, temporal, cnn1, cnn2, cnn3: (patches, time, channels);
            mean_pool, max_pool: (patches, 753); penultimate: (patches, 200); taggram: (patches, 50).
        """
        stages: dict[str, list[Tensor]] = {}
        for patch in self._patches(wave):
            output = {"logmel": patch, **self._forward(patch)}
            for name, value in output.items():
                last = value.transpose(1, 2) if value.ndim == 3 and name != "logmel" else value
                stages.setdefault(name, []).append(last.float().cpu())
        return {name: torch.cat(values).numpy() for name, values in stages.items()}

    def _embed(self, wave: np.ndarray) -> np.ndarray:
        # One patch at a time: its feature maps stay in the cache, which on a CPU beats one large batch, and the
        # memory needed does not grow with the track.
        rows = [self._forward(patch)[self.layer].float() for patch in self._patches(wave)]
        return torch.cat(rows).mean(dim=0).cpu().numpy()

    @torch.inference_mode()
    def _forward(self, patches: Tensor) -> dict[str, Tensor]:
        context = torch.autocast(self._device.type, self._autocast) if self._autocast else nullcontext()
        with context:
            return self._net(patches)

    @torch.inference_mode()
    def _patches(self, wave: np.ndarray) -> Iterator[Tensor]:
        """Yields the log-mel patches, each (1, time, 96). They are cut from one spectrogram of the whole signal."""
        padded = centre_pad(torch.from_numpy(np.ascontiguousarray(wave)).to(self._device), _N_FFT, self.pad_mode)
        frames = 1 + len(wave) // _HOP
        last = 0 if self.patches == "first" else frames - self.patch_frames
        for first in range(0, last + 1, self.hop_frames):
            samples = padded[first * _HOP : (first + self.patch_frames - 1) * _HOP + _N_FFT]
            yield self._log_mel(samples)[None]

    def _log_mel(self, padded: Tensor) -> Tensor:
        """Returns log10(10000 * mel power + 1), (frames, 96), of a padded signal."""
        mel = power_spectrogram(padded, self._window, _HOP) @ self._filters
        # The reference stores the mel power as float16; the quantisation of quiet cells is part of its input.
        return torch.log10(10_000 * mel.half().float() + 1)


def _read_weights(path: Path, variant: str) -> tuple[dict[str, Tensor], str]:
    """Returns tensors by name and the SHA-256 of the file they came from."""
    if not path.exists():
        raise MusicrecError(f"embedding.checkpoint: {path} does not exist; null uses the weights in musicrec")
    content = path.read_bytes() if path.suffix == ".safetensors" else convert_musicnn.convert(path, variant)
    return load(content), hashlib.sha256(content).hexdigest()
