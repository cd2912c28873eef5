"""Spectrograms: framed power spectra and Slaney mel filter banks, written so that long files need little memory."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

# Slaney's Auditory Toolbox (1998): 200/3 Hz per mel up to 1000 Hz (= 15 mel), then 27 steps per factor 6.4.
_HZ_PER_MEL = 200.0 / 3.0
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _HZ_PER_MEL
_LOG_STEP = math.log(6.4) / 27.0


def hz_to_mel(hz: float) -> float:
    """Returns a frequency on Slaney's mel scale (not HTK's)."""
    if hz < _BREAK_HZ:
        return hz / _HZ_PER_MEL
    return _BREAK_MEL + math.log(hz / _BREAK_HZ) / _LOG_STEP


def mel_to_hz(mel: np.ndarray) -> np.ndarray:
    """Returns the frequencies in Hz of points on Slaney's mel scale; the inverse of `hz_to_mel`."""
    return np.where(mel < _BREAK_MEL, mel * _HZ_PER_MEL, _BREAK_HZ * np.exp(_LOG_STEP * (mel - _BREAK_MEL)))


def mel_filterbank(
    sample_rate: int, n_fft: int, n_mels: int, f_min: float = 0.0, f_max: float | None = None
) -> np.ndarray:
    """Returns Slaney mel triangles with unit area, (n_mels, n_fft // 2 + 1) float32.

    Computed in float64 and rounded before and after the area normalisation, in that order, which makes the matrix
    equal librosa's in every bit.

    Args:
        sample_rate: Hz.
        n_fft: length of the transform, samples.
        n_mels: number of triangles.
        f_min: lower edge of the first triangle, Hz.
        f_max: upper edge of the last one, Hz; half the sample rate by default.
    """
    f_max = sample_rate / 2 if f_max is None else f_max
    bins = np.arange(n_fft // 2 + 1) * (sample_rate / n_fft)
    edges = mel_to_hz(np.linspace(hz_to_mel(f_min), hz_to_mel(f_max), n_mels + 2))
    widths = np.diff(edges)
    rising = (bins[None, :] - edges[:-2, None]) / widths[:-1, None]
    falling = (edges[2:, None] - bins[None, :]) / widths[1:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)
    area = 2.0 / (edges[2:] - edges[:-2])
    return (triangles * area[:, None]).astype(np.float32)


def centre_pad(wave: torch.Tensor, n_fft: int, mode: str = "constant") -> torch.Tensor:
    """Returns `wave` (samples,) with n_fft // 2 samples added on both sides, so that frame t is centred on t * hop.

    Args:
        wave: (samples,).
        n_fft: length of the transform, samples.
        mode: "constant" adds zeros (librosa >= 0.10), "reflect" mirrors the signal (librosa before that).
    """
    half = n_fft // 2
    if mode == "constant":
        return F.pad(wave, (half, half))
    return F.pad(wave[None, None], (half, half), mode=mode)[0, 0]


def power_spectrogram(padded: torch.Tensor, window: torch.Tensor, hop: int) -> torch.Tensor:
    """Returns |X|^2 of every whole frame of `padded`, (frames, n_fft // 2 + 1), n_fft being the window's length.

    Pass a slice of a padded signal to transform a part of a long one: frames are independent of each other, so
    the numbers are the same.
    """
    frames = padded.unfold(0, len(window), hop)
    real, imaginary = torch.view_as_real(torch.fft.rfft(frames * window)).square().unbind(-1)
    return real + imaginary


def hann(length: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Returns the periodic Hann window (`sym=False`), computed in float64, as (length,) float32."""
    return torch.hann_window(length, periodic=True, dtype=torch.float64).to(device, torch.float32)
