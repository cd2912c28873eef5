"""MFCC: means and covariances of mel-frequency cepstral coefficients."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from musicrec.audio.clip import Clip
from musicrec.audio.spectrogram import centre_pad, hann, mel_filterbank, power_spectrogram
from musicrec.embeddings.base import AudioEmbedding
from musicrec.errors import demand

_N_FFT = 2048
_HOP = 512
_MELS = 128
_COEFFICIENTS = 13
_DYNAMIC_DB = 80.0
# Frames transformed at a time, so that an hour of audio does not need gigabytes for its spectrum.
_BLOCK = 2048


class MFCC(AudioEmbedding):
    """13 means and the 91 covariances of 13 MFCCs over the frames of a track, 104-d.

    The MFCCs are librosa's defaults: audio at 22,050 Hz; periodic Hann window of 2,048 samples every 512, centred,
    zeros at the edges; power spectrum; 128 Slaney mel bands up to half the sample rate; 10 log10 with a floor of 1e-10
    and of 80 dB below the track's loudest cell; orthonormal DCT-II, coefficients 0 to 12. The covariances (divided by
    frames - 1) are the upper triangle with the diagonal, row by row.
    """

    native_rate = 22_050
    precisions = ("fp32",)  # there is no network to speed up

    def __init__(
        self,
        name: str = "mfcc",
        max_seconds: float | None = None,
        pad: bool = False,
        sample_rate: int | None = None,
        checkpoint: None = None,
        layer: None = None,
    ):
        """Keeps the choices.

        Args:
            name: names the files.
            max_seconds: how much of a track is used, from its start; None = all.
            pad: zero-pad shorter tracks to `max_seconds`.
            sample_rate: Hz; None = 22050.
            checkpoint: only None: there are no weights.
            layer: only None: there are no layers.
        """
        demand("embedding.checkpoint", checkpoint, checkpoint is None, "null for mfcc, which has no weights")
        demand("embedding.layer", layer, layer is None, "null for mfcc, which has no layers")
        super().__init__(name, Clip(max_seconds, pad, sample_rate))

    def settings(self) -> dict[str, Any]:
        """Returns those of every audio embedding and the sizes of the transforms."""
        own = {"n_fft": _N_FFT, "hop": _HOP, "mels": _MELS, "coefficients": _COEFFICIENTS, "dynamic_db": _DYNAMIC_DB}
        return super().settings() | own

    @property
    def min_samples(self) -> int:
        """Returns the length of two frames, the least that have a covariance."""
        return _HOP

    def load(self, device: str = "cpu", precision: str = "fp32") -> None:
        """Computes window, filters and cosines."""
        self._device = torch.device(device)
        self._window = hann(_N_FFT, self._device)
        self._filters = torch.from_numpy(mel_filterbank(self.sample_rate, _N_FFT, _MELS).T.copy()).to(self._device)
        self._cosines = torch.from_numpy(_dct(_MELS, _COEFFICIENTS).T.copy()).to(self._device)

    def embed(self, waves: list[np.ndarray]) -> np.ndarray:
        """Returns means and covariances, (batch, 104) float32."""
        return np.stack([self._embed(wave) for wave in waves])

    @torch.inference_mode()
    def coefficients(self, wave: np.ndarray) -> Tensor:
        """Returns the MFCCs of a wave, (frames, 13) float32."""
        padded = centre_pad(torch.from_numpy(np.ascontiguousarray(wave)).to(self._device), _N_FFT)
        frames = 1 + len(wave) // _HOP
        mel = torch.cat(
            [
                power_spectrogram(
                    padded[first * _HOP : (min(first + _BLOCK, frames) - 1) * _HOP + _N_FFT], self._window, _HOP
                )
                @ self._filters
                for first in range(0, frames, _BLOCK)
            ]
        )
        decibel = 10 * torch.log10(mel.clamp_min(1e-10))
        return decibel.clamp_min(float(decibel.max()) - _DYNAMIC_DB) @ self._cosines

    def _embed(self, wave: np.ndarray) -> np.ndarray:
        mfcc = self.coefficients(wave).double()
        upper = torch.triu_indices(_COEFFICIENTS, _COEFFICIENTS, device=mfcc.device)
        covariance = torch.cov(mfcc.T)[upper[0], upper[1]]
        return torch.cat([mfcc.mean(dim=0), covariance]).float().cpu().numpy()


def _dct(points: int, count: int) -> np.ndarray:
    """Returns the first rows of the orthonormal DCT-II, (count, points) float32."""
    angle = np.pi * (np.arange(points) + 0.5) * np.arange(count)[:, None] / points
    scale = np.full((count, 1), np.sqrt(2 / points))
    scale[0] = np.sqrt(1 / points)
    return (scale * np.cos(angle)).astype(np.float32)
