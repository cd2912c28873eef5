"""Instruments of the demo world: functions that synthesise a note or a drum stroke."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

# Samples per period in a wavetable, which is read without interpolation.
_TABLE_SIZE = 4096
# Harmonics above this frequency (Hz) are left out: they cost time, and files at 16 kHz cannot hold them.
_MAX_FREQUENCY = 7600.0

Instrument = Callable[[float, float, int, float, np.random.Generator], np.ndarray]


def _phase(frequency: float, seconds: float, sample_rate: int) -> np.ndarray:
    """Returns the phase of a steady tone in periods, (samples,) float64."""
    return np.arange(int(seconds * sample_rate)) * (frequency / sample_rate)


def _harmonics(frequency: float, sample_rate: int, most: int) -> np.ndarray:
    """Returns the numbers 1, 2, … of the harmonics that fit below the Nyquist frequency, at most `most`."""
    limit = min(_MAX_FREQUENCY, 0.47 * sample_rate)
    return np.arange(1, max(1, min(most, int(limit / frequency))) + 1)


def _periodic(numbers: np.ndarray, amplitudes: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """Returns the sum of sine harmonics at every phase (in periods), read from a table of one period."""
    spectrum = np.zeros(_TABLE_SIZE // 2 + 1, dtype=np.complex128)
    spectrum[numbers] = -0.5j * _TABLE_SIZE * amplitudes
    table = np.fft.irfft(spectrum).astype(np.float32)
    return table[(phase * _TABLE_SIZE).astype(np.int32) & (_TABLE_SIZE - 1)]


def _envelope(samples: int, sample_rate: int, attack: float, decay: float | None, release: float = 0.02) -> np.ndarray:
    """Returns a rise of `attack` s, an exponential fall of time constant `decay` s (None: none), a fade-out."""
    if decay is None:
        shape = np.ones(samples, dtype=np.float32)
    else:
        shape = np.exp(np.arange(samples, dtype=np.float32) * np.float32(-1.0 / (decay * sample_rate)))
    rise = min(samples, int(attack * sample_rate))
    shape[:rise] *= np.arange(rise, dtype=np.float32) / np.float32(max(rise, 1))
    fade = min(samples, max(1, int(release * sample_rate)))
    shape[samples - fade :] *= np.linspace(1.0, 0.0, fade, dtype=np.float32)
    return shape


def _additive(
    rolloff: float,
    attack: float,
    decay: float | None,
    *,
    odd: bool = False,
    most: int = 40,
    vibrato: float = 0.0,
    release: float = 0.03,
) -> Instrument:
    """Returns an instrument of harmonics whose amplitude falls as number^-rolloff; brightness flattens the fall."""

    def play(frequency: float, seconds: float, sample_rate: int, bright: float, rng: np.random.Generator) -> np.ndarray:
        numbers = _harmonics(frequency, sample_rate, most)
        if odd:
            numbers = numbers[::2]
        phase = _phase(frequency, seconds, sample_rate)
        if vibrato:
            time = np.arange(len(phase)) / sample_rate
            phase = phase + vibrato * frequency / 5.5 / (2 * np.pi) * np.sin(2 * np.pi * 5.5 * time)
        amplitudes = numbers ** -(rolloff * (1.3 - 0.6 * bright))
        tone = _periodic(numbers, amplitudes / amplitudes.sum() ** 0.5, phase)
        return tone * _envelope(len(tone), sample_rate, attack, decay, release)

    return play


def _detuned(instrument: Instrument, cents: float) -> Instrument:
    """Returns an instrument of two copies slightly out of tune with each other, which beat like a chorus."""

    def play(frequency: float, seconds: float, sample_rate: int, bright: float, rng: np.random.Generator) -> np.ndarray:
        ratio = 2 ** (cents / 2400)
        low = instrument(frequency / ratio, seconds, sample_rate, bright, rng)
        return 0.6 * (low + instrument(frequency * ratio, seconds, sample_rate, bright, rng))

    return play


def _fm(ratio: float, index: float, attack: float, decay: float, index_decay: float) -> Instrument:
    """Returns a two-operator FM instrument (J. Chowning, J. Audio Eng. Soc. 21 (7), 1973)."""

    def play(frequency: float, seconds: float, sample_rate: int, bright: float, rng: np.random.Generator) -> np.ndarray:
        phase = (2 * np.pi * np.mod(_phase(frequency, seconds, sample_rate), 1e4)).astype(np.float32)
        time = np.arange(len(phase), dtype=np.float32) / sample_rate
        # A modulator index that keeps the sidebands below the Nyquist frequency.
        most = max(0.2, (0.4 * sample_rate - frequency) / (ratio * frequency) - 1)
        depth = min(index * (0.5 + bright), most) * np.exp(-time / index_decay)
        tone = np.sin(phase + depth * np.sin(ratio * phase))
        return tone * _envelope(len(tone), sample_rate, attack, decay)

    return play


def _pluck(damping: float, pick: float) -> Instrument:
    """Returns a plucked string (K. Karplus, A. Strong, Computer Music J. 7 (2), 1983), a whole period at a time."""

    def play(frequency: float, seconds: float, sample_rate: int, bright: float, rng: np.random.Generator) -> np.ndarray:
        samples = int(seconds * sample_rate)
        # The two-point mean delays by half a sample.
        period = max(2, round(sample_rate / frequency - 0.5))
        string = rng.uniform(-1.0, 1.0, period)
        # A finger far from the bridge plucks fewer high partials.
        for _ in range(1 + int(3 * pick * (1.0 - bright))):
            string = 0.5 * (string + np.roll(string, 1))
        string -= string.mean()
        string /= np.abs(string).max()
        # The same loss per second at every pitch and rate; the two-point mean is part of the factor.
        factor = np.float32(0.5 * np.exp(-damping * period / sample_rate))
        rounds = -(-samples // period)
        tone = np.empty((rounds, period), dtype=np.float32)
        tone[0] = string
        for this, following in pairwise(tone):
            np.add(this[1:], this[:-1], out=following[1:])
            following[0] = this[0] + this[-1]
            following *= factor
        flat = tone.reshape(-1)[:samples]
        return flat * _envelope(samples, sample_rate, 0.001, None, 0.02)

    return play


def _overdriven(instrument: Instrument, drive: float) -> Instrument:
    """Returns an instrument through a soft clipper."""

    def play(frequency: float, seconds: float, sample_rate: int, bright: float, rng: np.random.Generator) -> np.ndarray:
        return np.tanh(drive * (0.6 + 0.8 * bright) * instrument(frequency, seconds, sample_rate, bright, rng))

    return play


def _breathy(instrument: Instrument, breath: float) -> Instrument:
    """Returns an instrument with added breath noise."""

    def play(frequency: float, seconds: float, sample_rate: int, bright: float, rng: np.random.Generator) -> np.ndarray:
        tone = instrument(frequency, seconds, sample_rate, bright, rng)
        noise = rng.standard_normal(len(tone), dtype=np.float32)
        return tone + breath * noise * _envelope(len(tone), sample_rate, 0.03, None, 0.05)

    return play


INSTRUMENTS: dict[str, Instrument] = {
    "organ": _additive(0.9, 0.01, None, most=8),
    "square": _additive(1.0, 0.002, None, odd=True, release=0.01),
    "triangle": _additive(2.0, 0.002, None, odd=True, release=0.01),
    "saw": _detuned(_additive(1.0, 0.005, 0.5), 14),
    "pad": _detuned(_additive(1.5, 0.35, None, most=16, release=0.3), 18),
    "strings": _detuned(_additive(1.15, 0.09, None, vibrato=0.006, release=0.1), 9),
    "piano": _additive(1.5, 0.003, 0.55, most=24, release=0.06),
    "electric_piano": _fm(1.0, 1.3, 0.004, 0.7, 0.25),
    "bell": _fm(3.5, 2.2, 0.002, 0.9, 0.5),
    "gong": _fm(1.41, 2.8, 0.003, 1.2, 0.6),
    "fm_bass": _fm(1.0, 3.0, 0.003, 0.25, 0.08),
    "sub": _additive(3.0, 0.01, 0.8, most=4),
    "reese": _detuned(_additive(1.0, 0.01, None, most=14), 35),
    "steel": _pluck(1.2, 0.3),
    "nylon": _pluck(3.0, 1.0),
    "harpsichord": _additive(0.55, 0.001, 0.28, most=30),
    "upright": _additive(1.9, 0.006, 0.3, most=10),
    "koto": _pluck(2.0, 0.0),
    "flute": _breathy(_additive(2.2, 0.06, None, most=6, vibrato=0.005, release=0.06), 0.05),
    "power": _overdriven(_detuned(_additive(0.9, 0.004, 1.5), 7), 4.0),
}


def _noise(seconds: float, sample_rate: int, decay: float, high: bool, rng: np.random.Generator) -> np.ndarray:
    """Returns a burst of noise; `high` takes the second difference, which leaves the hiss."""
    noise = rng.standard_normal(int(seconds * sample_rate), dtype=np.float32)
    if high:
        noise = np.diff(noise, n=2, prepend=np.float32(0), append=np.float32(0))[: len(noise)] * np.float32(0.4)
    return noise * _envelope(len(noise), sample_rate, 0.001, decay)


def _sweep(seconds: float, sample_rate: int, start: float, end: float, fall: float, decay: float) -> np.ndarray:
    """Returns a sine that falls from `start` to `end` Hz with time constant `fall` s: a drum head."""
    time = np.arange(int(seconds * sample_rate)) / sample_rate
    phase = end * time + (start - end) * fall * (1.0 - np.exp(-time / fall))
    return np.sin(2 * np.pi * phase).astype(np.float32) * _envelope(len(time), sample_rate, 0.001, decay)


def drum(name: str, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Returns one stroke of a drum, (samples,) float32, peak about 1.

    Args:
        name: kick, snare, hat, open_hat, clap, shaker, rim, tom or brush.
        sample_rate: Hz.
        rng: source of the noise and of small differences between drum sets.
    """
    tune = rng.uniform(0.85, 1.15)
    if name == "kick":
        return _sweep(0.3, sample_rate, 160 * tune, 48 * tune, 0.03, 0.11)
    if name == "tom":
        return _sweep(0.3, sample_rate, 230 * tune, 140 * tune, 0.06, 0.12)
    if name == "rim":
        return _sweep(0.05, sample_rate, 1900 * tune, 1700 * tune, 0.01, 0.012)
    if name == "snare":
        body = _sweep(0.2, sample_rate, 260 * tune, 180 * tune, 0.02, 0.06)
        return 0.5 * body + 0.35 * _noise(0.2, sample_rate, 0.07 * tune, False, rng)
    if name == "clap":
        return 0.4 * _noise(0.18, sample_rate, 0.05 * tune, False, rng)
    if name == "hat":
        return 0.4 * _noise(0.06, sample_rate, 0.018 * tune, True, rng)
    if name == "open_hat":
        return 0.4 * _noise(0.25, sample_rate, 0.09 * tune, True, rng)
    if name == "shaker":
        burst = _noise(0.1, sample_rate, 0.05 * tune, True, rng)
        return 0.3 * burst * np.minimum(1.0, np.arange(len(burst)) / (0.02 * sample_rate))
    if name == "brush":
        return 0.2 * _noise(0.3, sample_rate, 0.12 * tune, True, rng)
    raise ValueError(f"unknown drum {name!r}")
