"""Resampling: by soxr on the CPU, by torchaudio on a GPU where the `gpu` extra is installed."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable

import numpy as np
import soxr

from musicrec.errors import MusicrecError

RESAMPLERS = ("auto", "soxr", "torchaudio")
# soxr HQ, in torchaudio's terms: its pass band ends at 0.913 of half the lower rate, its stop band begins there,
# 120 dB down. Waveforms differ by some 1e-4; by 50 times as much with torchaudio's own example, "kaiser_best".
_LIKE_SOXR = {
    "lowpass_filter_width": 96,
    "rolloff": 0.9565,
    "resampling_method": "sinc_interp_kaiser",
    "beta": 12.9,
}
# Most phases of torchaudio's filter bank, rate / greatest common divisor. Above it (44,101 -> 16,000 Hz, for instance)
# the bank takes gigabytes, so soxr is used.
_MOST_PHASES = 2_000

Resample = Callable[[np.ndarray, int, int], np.ndarray]


def resample(wave: np.ndarray, rate: int, sample_rate: int) -> np.ndarray:
    """Returns `wave` (samples,) brought from `rate` to `sample_rate` Hz by soxr HQ, exactly ceil(n * ratio) long."""
    if rate == sample_rate:
        return wave
    length = -(-len(wave) * sample_rate // rate)
    resampled = np.asarray(soxr.resample(wave, rate, sample_rate, quality="HQ"), dtype=np.float32)[:length]
    if len(resampled) < length:
        resampled = np.pad(resampled, (0, length - len(resampled)))
    return resampled


def choose(asked: str, device: str, recorded: str | None = None) -> str:
    """Returns "soxr" or "torchaudio" for `extract.resampler`.

    Args:
        asked: "auto" = that of earlier rows, else torchaudio on a GPU where it is installed, else soxr.
        device: torch device of the model.
        recorded: the resampler of earlier rows.
    """
    if asked not in RESAMPLERS:
        raise MusicrecError(f"extract.resampler={asked} is unknown; allowed: {', '.join(RESAMPLERS)}")
    if asked != "auto":
        return asked
    if recorded:
        return recorded
    return "torchaudio" if device.startswith("cuda") and importlib.util.find_spec("torchaudio") else "soxr"


def on_device(device: str) -> Resample:
    """Returns `resample` done by torchaudio on a torch device.

    Raises:
        MusicrecError: torchaudio is not installed, or not for this torch.
    """
    try:
        import torchaudio.functional  # noqa: PLC0415  (optional: beside another torch its import fails)
    except (ImportError, OSError) as error:
        raise MusicrecError(
            f"extract.resampler=torchaudio: it cannot be imported ({error}); pip install 'musicrec[gpu]', or "
            "extract.resampler=soxr"
        ) from None
    import torch  # noqa: PLC0415  (decoding processes start without it)

    @torch.inference_mode()
    def by_torchaudio(wave: np.ndarray, rate: int, sample_rate: int) -> np.ndarray:
        if rate == sample_rate or max(rate, sample_rate) // math.gcd(rate, sample_rate) > _MOST_PHASES:
            return resample(wave, rate, sample_rate)
        resampled = torchaudio.functional.resample(torch.from_numpy(wave).to(device), rate, sample_rate, **_LIKE_SOXR)
        return np.asarray(resampled.cpu().numpy())

    return by_torchaudio
