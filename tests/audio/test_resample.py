from __future__ import annotations

import sys
import types
from typing import Any

import numpy as np
import pytest
import torch

from musicrec.audio import resample as module
from musicrec.audio.resample import choose, on_device, resample
from musicrec.errors import MusicrecError

RATE = 16_000


@pytest.mark.parametrize(
    ("samples", "rate", "length"),
    [
        (44_100, 44_100, 16_000),
        (44_101, 44_100, 16_001),
        (8_000, 8_000, 16_000),
        (1, 48_000, 1),
        (3, 48_000, 1),
        (4, 48_000, 2),
    ],
)
def test_length_is_rounded_up(samples: int, rate: int, length: int) -> None:
    assert len(resample(np.zeros(samples, dtype=np.float32), rate, RATE)) == length


@pytest.fixture
def torchaudio(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Puts a module of that name, with the call that is used of it, in its place; returns the rates it was given."""
    calls: list[tuple[int, int]] = []

    def halve(wave: torch.Tensor, orig_freq: int, new_freq: int, **options: Any) -> torch.Tensor:
        assert options["resampling_method"] == "sinc_interp_kaiser"
        calls.append((orig_freq, new_freq))
        return wave[::2]

    package = types.ModuleType("torchaudio")
    package.functional = types.ModuleType("torchaudio.functional")  # type: ignore[attr-defined]
    package.functional.resample = halve
    monkeypatch.setitem(sys.modules, "torchaudio", package)
    monkeypatch.setitem(sys.modules, "torchaudio.functional", package.functional)
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: package)
    return calls


def test_torchaudio_resamples_on_the_device(torchaudio: list[tuple[int, int]]) -> None:
    wave = np.arange(8, dtype=np.float32)
    on_cpu = on_device("cpu")
    np.testing.assert_array_equal(on_cpu(wave, 32_000, RATE), [0, 2, 4, 6])
    assert on_cpu(wave, RATE, RATE) is wave
    np.testing.assert_array_equal(on_cpu(wave, 44_101, RATE), resample(wave, 44_101, RATE))  # too many phases
    assert torchaudio == [(32_000, RATE)]


def test_the_choice(torchaudio: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose("auto", "cuda:0") == "torchaudio"
    assert choose("auto", "cpu") == "soxr"
    assert choose("auto", "cuda", recorded="soxr") == "soxr"  # the rows of a table are made alike
    assert choose("soxr", "cuda", recorded="torchaudio") == "soxr"
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    assert choose("auto", "cuda") == "soxr"
    with pytest.raises(MusicrecError, match="extract.resampler=sox is unknown; allowed: auto, soxr, torchaudio"):
        choose("sox", "cpu")


def test_torchaudio_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    with pytest.raises(MusicrecError, match=r"cannot be imported .*pip install 'musicrec\[gpu\]'"):
        on_device("cuda")
