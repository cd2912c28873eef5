from __future__ import annotations

import numpy as np
from scipy.fft import dct

from musicrec.audio.spectrogram import mel_filterbank
from musicrec.embeddings.mfcc import MFCC


def reference(wave: np.ndarray) -> np.ndarray:
    """Returns the recipe of the class's docstring, frame by frame in float64."""
    padded = np.pad(wave.astype(np.float64), 1024)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(2048) / 2048)
    frames = [padded[start : start + 2048] * window for start in range(0, len(wave) + 1, 512)]
    power = np.abs(np.fft.rfft(frames)) ** 2
    decibel = 10 * np.log10(np.maximum(power @ mel_filterbank(22_050, 2048, 128).T, 1e-10))
    decibel = np.maximum(decibel, decibel.max() - 80)
    mfcc = dct(decibel, type=2, norm="ortho", axis=1)[:, :13]
    covariance = np.cov(mfcc.T)
    return np.concatenate([mfcc.mean(axis=0), *(covariance[row, row:] for row in range(13))])


def test_recipe() -> None:
    rng = np.random.default_rng(0)
    wave = (rng.standard_normal(30_000) * np.linspace(0, 0.3, 30_000)).astype(np.float32)
    embedding = MFCC()
    embedding.load()
    [vector] = embedding.embed([wave])
    assert vector.shape == (104,)
    assert vector.dtype == np.float32
    np.testing.assert_allclose(vector, reference(wave), rtol=2e-3, atol=2e-2)


def test_shortest_and_silent_waves_have_a_vector() -> None:
    embedding = MFCC()
    embedding.load()
    vectors = embedding.embed([np.ones(512, dtype=np.float32), np.zeros(30_000, dtype=np.float32)])
    assert np.isfinite(vectors).all()


def test_blocks_leave_no_seam() -> None:
    wave = np.random.default_rng(1).standard_normal(2048 * 512 + 5000).astype(np.float32)
    embedding = MFCC()
    embedding.load()
    assert embedding.coefficients(wave).shape == (1 + len(wave) // 512, 13)
    start = 2000 * 512
    tail = embedding.coefficients(wave[start:])
    # Away from the edges, where the shorter wave has zeros before it.
    np.testing.assert_allclose(embedding.coefficients(wave)[2003:], tail[3:], rtol=1e-3, atol=1e-3)
