"""extract.check=true: the built-in signal, the fingerprints on record, and what differs from them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
from omegaconf import DictConfig

from musicrec import stages
from musicrec.embeddings.extraction.check import SECONDS, SHIPPED, check, on_record, signal
from musicrec.embeddings.mule import MULE
from musicrec.embeddings.musicnn import MusicNN
from musicrec.embeddings.random import Random
from musicrec.errors import MusicrecError
from tests.embeddings.golden_cases import DATA

# At samples 0, 1, 4000, 20000 and 47999 of the signal at 16 kHz: every fingerprint on record depends on them.
VALUES = [0.3, 0.05330508, 0.55045599, 0.40360621, -0.18527928]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MUSICREC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_signal_is_the_same_everywhere() -> None:
    wave = signal(16_000)
    assert wave.shape == (SECONDS * 16_000,)
    assert wave.dtype == np.float32
    np.testing.assert_allclose(wave[[0, 1, 4000, 20_000, 47_999]], VALUES, rtol=0, atol=1e-6)
    assert np.abs(wave).max() < 1
    assert len(signal(44_100)) == 132_300


@pytest.mark.parametrize("weights", ["msd", "mtt"])
def test_the_shipped_weights_of_musicnn_are_on_record(
    weights: str, caplog: pytest.LogCaptureFixture, cache: Path
) -> None:
    caplog.set_level("INFO")
    check(MusicNN(weights=weights), "cpu")
    assert f"the weights are those on record in {SHIPPED}" in caplog.text
    assert not (cache / "fingerprints").exists()


def test_the_first_run_is_recorded_and_later_ones_are_compared(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    for name in ("config.json", "model.safetensors"):
        (checkpoint / name).write_bytes((DATA / "mule" / "checkpoint" / name).read_bytes())
    check(MULE(checkpoint=str(checkpoint)), "cpu")
    assert "no fingerprint is on record for these weights, so nothing was verified" in caplog.text
    [file] = (cache / "fingerprints").iterdir()
    assert len(json.loads(file.read_text())["vector"]) == 32
    check(MULE(checkpoint=str(checkpoint)), "cpu")
    assert f"the weights are those on record in {file}" in caplog.text
    check(MULE(checkpoint=str(checkpoint)), "cpu", "bf16")

    path = checkpoint / "model.safetensors"
    state = safetensors.torch.load_file(path)
    safetensors.torch.save_file(state, path, metadata={"saved": "again"})  # another file, the same tensors
    check(MULE(checkpoint=str(checkpoint)), "cpu")
    assert "the vector agrees, but the file is another one" in caplog.text
    name = "backbone.slow_stages.3.blocks.2.convs.3.bias"
    safetensors.torch.save_file(state | {name: state[name] + 0.5}, path)
    with pytest.raises(
        MusicrecError, match=r"the weights are not those on record \(relative difference .*\): fetch"
    ) as error:
        check(MULE(checkpoint=str(checkpoint)), "cpu")
    assert "\n" not in str(error.value)
    file.write_text("{}")
    with pytest.raises(MusicrecError, match="is damaged; delete it"):
        check(MULE(checkpoint=str(checkpoint)), "cpu")


def test_other_settings_are_another_record() -> None:
    half, full = MULE(amplitude="half").settings(), MULE().settings()
    assert on_record(half)[1] != on_record(full)[1]
    assert on_record(MusicNN(layer="taggram").settings())[1] != SHIPPED


def test_the_stage_reads_no_audio_and_makes_no_workspace(
    compose: Callable[..., DictConfig], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    stages.extract(compose("extract.check=true", f"paths.root={tmp_path / 'workspace'}"))
    assert "musicnn: the weights are those on record" in caplog.text
    assert not (tmp_path / "workspace").exists()


def test_only_audio_embeddings_are_checked() -> None:
    with pytest.raises(MusicrecError, match="embedding=random is not computed from audio"):
        check(Random())
