"""Waveform: a mono signal that is resampled while it is decoded, so that only the result is held in memory."""

from __future__ import annotations

import time

import numpy as np
import soxr

from musicrec.errors import MusicrecError

# What is decoded of a track if the model takes all of it. Ten hours of silence are 5 MB of FLAC.
LONGEST_SECONDS = 3600
# Telephones have 8 kHz, SACDs 2.8 MHz.
_LOWEST_RATE, _HIGHEST_RATE = 1_000, 6_000_000


class AudioError(MusicrecError):
    """A file that gives no waveform; the message is a short reason that does not repeat the path."""


class Waveform:
    """A mono signal, collected block by block.

    Attributes:
        rate: samples per second of what is added.
        sample_rate: samples per second of the result.
        frames: how many samples were added.
        limit: how many are kept; what is added beyond is only counted.
        resample_seconds: time spent in resampling.
    """

    def __init__(self, rate: int, sample_rate: int | None, max_seconds: float | None):
        """Begins a signal.

        Args:
            rate: Hz of the blocks.
            sample_rate: Hz of the result; None = `rate`.
            max_seconds: the longest result; None = LONGEST_SECONDS.

        Raises:
            AudioError: a sample rate that no recording has, and that resampling would make gigabytes of.
        """
        if not _LOWEST_RATE <= rate <= _HIGHEST_RATE:
            raise AudioError(
                f"its header says {rate:,} samples per second; from {_LOWEST_RATE:,} to {_HIGHEST_RATE:,} are read"
            )
        self.rate = rate
        self.sample_rate = sample_rate or rate
        self.limit = int((LONGEST_SECONDS if max_seconds is None else max_seconds) * rate)
        self.frames = 0
        self.resample_seconds = 0.0
        self._capped = max_seconds is None
        self._samples = bytearray()  # grows in place, unlike arrays
        self._stream = None
        if self.sample_rate != rate:
            # The same numbers as soxr.resample of the whole signal, bit by bit.
            self._stream = soxr.ResampleStream(rate, self.sample_rate, 1, dtype="float32", quality="HQ")

    @property
    def is_complete(self) -> bool:
        """Returns whether nothing more is needed; without `max_seconds`, whether there is more than is kept."""
        return self.frames > self.limit if self._capped else self.frames >= self.limit

    @property
    def needed(self) -> int:
        """Returns how many further samples make it complete."""
        return self.limit + self._capped - self.frames

    @property
    def seconds(self) -> float:
        """Returns how much was added."""
        return self.frames / self.rate

    def add(self, block: np.ndarray) -> None:
        """Appends (frames, channels) float32, averaged over the channels.

        Raises:
            AudioError: samples that are not finite.
        """
        mono = block[:, 0].copy() if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)
        kept = mono[: max(0, self.limit - self.frames)]
        self.frames += len(mono)
        if not np.isfinite(kept).all():
            raise AudioError("has NaN or infinite samples")
        if self._stream is not None:
            start = time.perf_counter()
            kept = self._stream.resample_chunk(kept)
            self.resample_seconds += time.perf_counter() - start
        self._samples += kept.astype(np.float32, copy=False).tobytes()

    def result(self) -> np.ndarray:
        """Returns (samples,) float32 at `sample_rate`, exactly ceil(n * sample_rate / rate) long."""
        if self._stream is not None:
            start = time.perf_counter()
            self._samples += self._stream.resample_chunk(np.zeros(0, np.float32), last=True).tobytes()
            self.resample_seconds += time.perf_counter() - start
            self._stream = None
        size = 4 * -(-min(self.frames, self.limit) * self.sample_rate // self.rate)
        del self._samples[size:]
        self._samples += bytes(size - len(self._samples))  # soxr may be a sample short
        return np.frombuffer(self._samples, np.float32)

    @property
    def too_long(self) -> str | None:
        """Returns the note on a track of which only the first hour is used, None if all of it is."""
        if not self._capped or self.frames <= self.limit:
            return None
        return f"longer than {LONGEST_SECONDS // 60} min: only that much is used (embedding.max_seconds sets it)"
