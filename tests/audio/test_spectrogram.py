from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from musicrec.audio.spectrogram import centre_pad, hann, hz_to_mel, mel_filterbank, mel_to_hz, power_spectrogram


@pytest.mark.parametrize(("hz", "mel"), [(0, 0), (200, 3), (1000, 15), (6400, 42)])
def test_slaney_scale(hz: float, mel: float) -> None:
    assert hz_to_mel(hz) == pytest.approx(mel)
    assert mel_to_hz(np.array([mel]))[0] == pytest.approx(hz)


def test_filter_bank_is_that_of_librosa() -> None:
    bank = mel_filterbank(16_000, 512, 96)
    assert bank.shape == (96, 257)
    assert bank.dtype == np.float32
    # SHA-256 of the filter bank of the MusicNN goldens, its one negative zero made positive.
    expected = "1ce7c6d9070c3534db89a56ccc978419e2300536ca76441b740a3d4aeef3c294"
    assert hashlib.sha256(bank.tobytes()).hexdigest() == expected


def test_filters_have_unit_area() -> None:
    bank = mel_filterbank(16_000, 8192, 40)
    np.testing.assert_allclose(bank.sum(axis=1) * 16_000 / 8192, 1, rtol=2e-2)


def test_power_of_a_sine_on_a_bin() -> None:
    # 4 cycles a window of 64: the Hann window leaves amplitude * 64 / 4 in bin 4 and half of it in its neighbours.
    wave = torch.sin(2 * torch.pi * 4 * torch.arange(256) / 64)
    power = power_spectrogram(wave, hann(64), hop=32)
    assert power.shape == (7, 33)
    np.testing.assert_allclose(power[0, 3:6], [64, 256, 64], rtol=1e-4)
    assert power[0, [0, 1, 7, 20]].max() < 1e-6


def test_frames_of_a_slice_are_those_of_the_whole() -> None:
    wave = torch.from_numpy(np.random.default_rng(0).standard_normal(10_000).astype(np.float32))
    padded = centre_pad(wave, 512)
    whole = power_spectrogram(padded, hann(512), 256)
    assert len(whole) == 1 + 10_000 // 256
    part = power_spectrogram(padded[5 * 256 : 9 * 256 + 512], hann(512), 256)
    torch.testing.assert_close(part, whole[5:10], rtol=0, atol=0)


def test_padding() -> None:
    wave = torch.arange(1.0, 6.0)
    assert centre_pad(wave, 4).tolist() == [0, 0, 1, 2, 3, 4, 5, 0, 0]
    assert centre_pad(wave, 4, "reflect").tolist() == [3, 2, 1, 2, 3, 4, 5, 4, 3]
