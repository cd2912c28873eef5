from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from musicrec.audio import ahead
from musicrec.audio.ahead import _Pool, decode_ahead
from musicrec.audio.decode import Audio, AudioError, load_audio


def library(folder: Path, count: int) -> list[Path]:
    """Writes clips of falling length, the second one broken."""
    paths = []
    for number in range(count):
        path = folder / f"{number}.wav"
        wave = np.random.default_rng(number).uniform(-0.5, 0.5, 4000 - 100 * number)
        soundfile.write(path, wave, 8_000)
        paths.append(path)
    paths[1].write_text("no music")
    return paths


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_results_come_in_order_with_failures_in_place(tmp_path: Path, workers: int) -> None:
    paths = library(tmp_path, 12)
    results = list(decode_ahead(paths, 16_000, 0.4, workers))
    assert len(results) == 12
    for number, (path, result) in enumerate(zip(paths, results, strict=True)):
        if number == 1:
            assert isinstance(result, AudioError)
            assert str(result).startswith("not decodable as audio")
        else:
            assert isinstance(result, Audio)
            np.testing.assert_array_equal(result.wave, load_audio(path, 16_000, 0.4))
            assert result.decode_seconds > 0


def test_no_more_is_decoded_than_a_few_files_ahead(tmp_path: Path) -> None:
    paths = library(tmp_path, 12)
    asked: list[Path] = []

    def asking() -> Iterator[Path]:
        for path in paths:
            asked.append(path)
            yield path

    results = decode_ahead(asking(), 8_000, None, workers=1)
    next(results)
    assert len(asked) <= 4
    results.close()


def test_long_files_do_not_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "_AHEAD_SAMPLES", 1)
    paths = library(tmp_path, 5)
    lengths = [len(result.wave) for result in decode_ahead(paths, 8_000, None, 2) if isinstance(result, Audio)]
    assert lengths == [4000, 3800, 3700, 3600]


def test_a_crash_of_the_decoder_costs_one_file(tmp_path: Path) -> None:
    paths = library(tmp_path, 3)
    pool = _Pool()
    assert isinstance(pool.decode(paths[0], 8_000, None), Audio)
    process = pool._own.worker._process
    os.kill(process.pid, signal.SIGSEGV)
    process.wait()
    crashed = pool.decode(paths[0], 8_000, None)
    assert isinstance(crashed, AudioError)
    assert str(crashed) == "crashed the decoder (signal 11)"
    assert isinstance(pool.decode(paths[2], 8_000, None), Audio)
    pool.close()
    assert pool._own.worker._process.returncode == 0
