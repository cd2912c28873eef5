"""Jukebox's VQ-VAE, from audio to the codes of its coarsest level; decoders and finer levels are left out.

Razavi, van den Oord, Vinyals: "Generating Diverse High-Fidelity Images with VQ-VAE-2", 2019, as used by Dhariwal et
al.: "Jukebox: A Generative Model for Music", 2020 (sections 2 and 3, appendix B.1).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from musicrec.embeddings.networks.jukebox.sizes import VQVAESizes


class _ResidualBlock(nn.Module):
    """Adds a dilated convolution between ReLUs, and a pointwise one, to its input; keeps (batch, width, time)."""

    def __init__(self, width: int, hidden: int, dilation: int):
        super().__init__()
        self.model = nn.Sequential(
            nn.ReLU(),
            nn.Conv1d(width, hidden, 3, padding=dilation, dilation=dilation),
            nn.ReLU(inplace=True),
            nn.Conv1d(hidden, width, 1),
        )

    def forward(self, signal: Tensor) -> Tensor:
        return signal + self.model(signal)


class _ResidualBlocks(nn.Module):
    """Residual blocks with growing dilation."""

    def __init__(self, width: int, sizes: VQVAESizes):
        super().__init__()
        hidden = int(sizes.m_conv * width)
        blocks = [_ResidualBlock(width, hidden, sizes.dilation_growth_rate**depth) for depth in range(sizes.depth)]
        self.model = nn.Sequential(*blocks)

    def forward(self, signal: Tensor) -> Tensor:
        return self.model(signal)


class _Stage(nn.Module):
    """From (batch, channels, time) to (batch, emb_width, time / strides_t[level] ** downs_t[level])."""

    def __init__(self, channels: int, level: int, sizes: VQVAESizes):
        super().__init__()
        stride = sizes.strides_t[level]
        width = sizes.width * sizes.hvqvae_multipliers[-1]
        layers: list[nn.Module] = []
        for repetition in range(sizes.downs_t[level]):
            strided = nn.Conv1d(channels if repetition == 0 else width, width, 2 * stride, stride, stride // 2)
            layers.append(nn.Sequential(strided, _ResidualBlocks(width, sizes)))
        layers.append(nn.Conv1d(width, sizes.emb_width, 3, padding=1))
        self.model = nn.Sequential(*layers)

    def forward(self, signal: Tensor) -> Tensor:
        return self.model(signal)


class Encoder(nn.Module):
    """Encoder and codebook of the coarsest level, in fp32. Modules carry the upstream's names.

    Codes are discrete: where two are almost equally near, rounding decides. So nothing here is done in half precision
    or TF32, and clips are not padded to a common length: the convolutions pad with zeros inside, after their biases,
    which silence at the end of the audio does not reproduce.
    """

    def __init__(self, sizes: VQVAESizes):
        super().__init__()
        self.level_blocks = nn.ModuleList(
            _Stage(1 if level == 0 else sizes.emb_width, level, sizes) for level in range(sizes.levels)
        )
        self.k = nn.Parameter(torch.empty(sizes.l_bins, sizes.emb_width))

    def latent(self, wave: Tensor) -> Tensor:
        """Returns what is quantised, (codes, emb_width), of a wave, (samples,); an incomplete last code is cut."""
        signal = wave[None, None]
        with _full_precision(self.k.device):
            for stage in self.level_blocks:
                signal = stage(signal)
        return signal[0].T

    def quantise(self, latent: Tensor) -> Tensor:
        """Returns the nearest codebook row by Euclidean distance, (codes,) int64; ties: the first."""
        with _full_precision(self.k.device):
            distance = (latent**2).sum(dim=1, keepdim=True) - 2 * latent @ self.k.T + (self.k**2).sum(dim=1)
        return distance.argmin(dim=1)

    def forward(self, wave: Tensor) -> Tensor:
        """Returns the codes of a wave, (codes,) int64."""
        return self.quantise(self.latent(wave))


@contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """Switches TF32 off on a GPU; cuDNN uses it for convolutions by default."""
    if device.type == "cpu":
        yield
        return
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(products)
