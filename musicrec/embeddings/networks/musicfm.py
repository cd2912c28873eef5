"""The network of MusicFM, and of MuQ, up to its hidden states: spectrogram, residual convolutions, conformer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from musicrec.embeddings.networks.conformer import Conformer, ConvolutionModule

N_FFT = 2048
HOP = 240
_HEADS = 16  # of both published models
_ROTARY_BASE = 10_000


class MusicFMNet(nn.Module):
    """Log-mel spectra, two residual convolutions that shorten them in time, and a conformer."""

    window: Tensor
    filters: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        state: dict[str, Tensor],
        config: dict[str, Any],
        hop: int = HOP,
        strides: tuple[int, int] = (2, 2),
    ):
        """Builds the network without weights.

        Args:
            state: tensors by name; sizes are read from them.
            config: what may differ from the published model and shows in no size, in transformers' names.
            hop: of the spectrogram, in samples.
            strides: in time, of the two residual convolutions; together, how many spectra become one frame.
        """
        super().__init__()
        self.hop = hop
        for name in ("window", "filters", "mean", "deviation"):
            self.register_buffer(name, torch.empty(state[name].shape))
        dim, flat = state["conv.linear.weight"].shape
        self.conv = _FrontEnd(state["conv.conv.0.conv1.weight"].shape[0], dim, flat, strides)
        shapes = {name: value.shape for name, value in state.items()}
        heads = _HEADS
        if "conformer.embed_positions.inv_freq" in shapes:
            heads = shapes["conv.linear.weight"][0] // (2 * shapes["conformer.embed_positions.inv_freq"][0])
        self.conformer = Conformer(
            shapes,
            "conformer.",
            config.get("num_attention_heads", heads),
            base=config.get("rotary_embedding_base", _ROTARY_BASE),
            epsilon=config.get("layer_norm_eps", 1e-5),
        )

    def fuse(self) -> None:
        """Multiplies every batch normalisation into the convolution before it."""
        for module in self.modules():
            if isinstance(module, _Residual | ConvolutionModule):
                module.fuse()

    def spectrum(self, waves: Tensor) -> Tensor:
        """Returns the normalised log-mel spectra, (batch, mel, samples // hop), of waves (batch, samples)."""
        return (self.decibel(waves) - self.mean) / self.deviation

    def decibel(self, waves: Tensor) -> Tensor:
        """Returns 10 log10 of the mel power, (batch, mel, samples // hop)."""
        complex_ = torch.stft(waves, N_FFT, self.hop, window=self.window, pad_mode="reflect", return_complex=True)
        power = complex_[:, :, :-1].abs().square()  # upstream drops the last frame
        mel = (power.transpose(1, 2) @ self.filters).transpose(1, 2)
        return 10 * mel.clamp_min(1e-10).log10()

    def forward(self, spectrum: Tensor, heard: Tensor | None = None) -> Iterator[Tensor]:
        """Yields the states of the conformer, (batch, frames, dim), for spectra (batch, mel, time).

        Args:
            spectrum: normalised log-mel spectra, (batch, mel, time).
            heard: (batch, frames) bool, which frames of the conformer take part; None = all.
        """
        return self.conformer(self.conv(spectrum).float(), heard)


class _FrontEnd(nn.Module):
    def __init__(self, channels: int, dim: int, flat: int, strides: tuple[int, int] = (2, 2)):
        super().__init__()
        self.conv = nn.Sequential(_Residual(1, channels, strides[0]), _Residual(channels, channels, strides[1]))
        self.linear = nn.Linear(flat, dim)

    def forward(self, spectrum: Tensor) -> Tensor:
        """Returns (batch, frames, dim) of (batch, mel, time)."""
        maps = self.conv(spectrum[:, None])  # (batch, channels, mel / 4, frames)
        return self.linear(maps.permute(0, 3, 1, 2).flatten(2))


class _Residual(nn.Module):
    """Two convolutions over frequency and time and a shortcut; halves the frequencies and divides time by `stride`."""

    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride=(2, stride), padding=1)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        self.conv3 = nn.Conv2d(before, after, 3, stride=(2, stride), padding=1)
        self.bn1, self.bn2, self.bn3 = (nn.BatchNorm2d(after) for _ in range(3))

    def fuse(self) -> None:
        """Multiplies the normalisations into the convolutions before them."""
        for number in (1, 2, 3):
            norm = getattr(self, f"bn{number}")
            setattr(self, f"conv{number}", fuse_conv_bn_eval(getattr(self, f"conv{number}"), norm))
            setattr(self, f"bn{number}", nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.bn3(self.conv3(x)))
