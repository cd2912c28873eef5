"""PeakCorrelation: the maximum along the mel axis of a correlation with filters, computed by Fourier transforms."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_BLOCK = 24  # frames at a time, whose intermediate results stay in the cache


class PeakCorrelation(nn.Module):
    """The largest response of each filter at each frame, as of `conv2d(image, filters).amax(dim=3)`.

    A correlation along the mel axis is a product of spectra, of as many points as there are bands: those positions
    where a filter lies within the image do not wrap around. The positions c ± d lie symmetric about the middle c, where
    the inverse transform of a spectrum Y is E(d) ± O(d), E a sum of cosines of its real part, O one of sines of its
    imaginary part. The larger of both is E + |O|, so half the positions suffice. For 38 of 96 bands that takes a
    quarter of the convolution's operations, all of them in matrix products, and the rounding errors are smaller.

    Args:
        filters: (filters, frames, bands of a filter).
        bands: of the image.
    """

    analysis: Tensor
    real: Tensor
    imaginary: Tensor
    cosines: Tensor
    sines: Tensor

    def __init__(self, filters: Tensor, bands: int):
        super().__init__()
        self.kernel, width = filters.shape[1:]
        positions = bands - width + 1
        middle = (positions - 1) / 2
        frequency = 2 * math.pi * torch.arange(bands // 2 + 1, dtype=torch.float64) / bands
        angle = torch.arange(bands, dtype=torch.float64)[:, None] * frequency
        offset = torch.arange(width, dtype=torch.float64)[:, None] + middle
        # The conjugate spectra of the filters, moved to the middle; every frequency but the first and the last of an
        # even number of bands stands for two.
        spectra = filters.double().to(torch.complex128) @ torch.exp(1j * offset * frequency)
        spectra[..., 1 : (bands + 1) // 2] *= 2
        spectra = spectra.permute(2, 1, 0) / bands  # (frequencies, frames, filters)
        # Real and imaginary part of the product with x + iy, as matrices that are multiplied with the row (x, y).
        real = torch.cat([spectra.real, -spectra.imag], dim=1)
        imaginary = torch.cat([spectra.imag, spectra.real], dim=1)
        distance = torch.arange((positions + 1) // 2, dtype=torch.float64) + middle % 1
        matrices = {
            "analysis": torch.cat([angle.cos(), -angle.sin()], dim=1),  # (bands, 2 * frequencies)
            "real": real,  # (frequencies, 2 * frames, filters)
            "imaginary": imaginary,
            "cosines": (distance[:, None] * frequency).cos(),  # (distances, frequencies)
            "sines": (distance[:, None] * frequency).sin(),
        }
        for name, matrix in matrices.items():
            self.register_buffer(name, matrix.float().contiguous(), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Returns (patches, filters, time) of (patches, 1, time + frames - 1, bands)."""
        frequencies, _, filters = self.real.shape
        spectrum = (image[:, 0] @ self.analysis).unfold(1, self.kernel, 1)  # (patches, time, 2 * frequencies, frames)
        patches, time = spectrum.shape[:2]
        spectrum = spectrum.unflatten(2, (2, frequencies)).permute(3, 0, 1, 2, 4)
        spectrum = spectrum.reshape(frequencies, patches * time, 2 * self.kernel)
        peaks = [self._peaks(block) for block in spectrum.split(_BLOCK, dim=1)]
        return torch.cat(peaks).view(patches, time, filters).transpose(1, 2)

    def _peaks(self, spectrum: Tensor) -> Tensor:
        """Returns (frames, filters) of (frequencies, frames, 2 * kernel)."""
        frequencies, frames = spectrum.shape[:2]
        even = self.cosines @ torch.bmm(spectrum, self.real).view(frequencies, -1)
        odd = self.sines @ torch.bmm(spectrum, self.imaginary).view(frequencies, -1)
        return even.add_(odd.abs_()).amax(dim=0).view(frames, -1)
