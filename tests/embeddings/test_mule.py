"""MULE against another program of it, through the code that extract.py uses; tolerances: tests/golden/mule/NOTICE."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from musicrec.audio.decode import AudioError
from musicrec.embeddings.mule import MULE
from musicrec.embeddings.networks.mule import PUBLISHED, MuleNet
from musicrec.errors import MusicrecError
from tests.embeddings.golden_cases import DATA, arrays, distance, edit

FOLDER = DATA / "mule"
INPUTS = arrays(FOLDER / "inputs.npz")
GOLDEN = arrays(FOLDER / "golden.npz")
CASES = ["b", "long", "short", "tiny"]


@cache
def model(precision: str = "fp32", **options: Any) -> MULE:
    loaded = MULE(checkpoint=str(FOLDER / "checkpoint"), **options)
    loaded.load(precision=precision)
    return loaded


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FOLDER / "checkpoint", tmp_path / "checkpoint"))


def test_published_size() -> None:
    with torch.device("meta"):
        net = MuleNet(PUBLISHED)
    assert sum(value.numel() for value in net.parameters()) == 62_345_742


def test_network() -> None:
    with torch.inference_mode():
        found = model()._net(torch.from_numpy(GOLDEN["b.slices"][0])).numpy()
    assert distance(found, GOLDEN["b.stage_embedding"]) <= 1e-5


@pytest.mark.parametrize("case", ["b", "short", "tiny"])
def test_log_mel_and_windows(case: str) -> None:
    mel = model().log_mel(INPUTS[case])
    assert distance(mel.numpy()[None, :, ::10], GOLDEN[f"{case}.mel"]) <= 2e-3
    windows = model().windows(mel.shape[1])
    expected = GOLDEN[f"{case}.slices"]
    step = 300 // expected.shape[-1]
    assert distance(model().slices(mel, windows)[None, ..., ::step].numpy(), expected) <= 2e-3


def test_log_mel_of_a_long_track_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = model().log_mel(INPUTS["long"]).numpy()
    monkeypatch.setattr("musicrec.embeddings.mule._SPECTRA_AT_ONCE", 100)
    np.testing.assert_allclose(model().log_mel(INPUTS["long"]).numpy(), whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str) -> None:
    wave = model().prepare(INPUTS[case])
    assert distance(model().timeline(wave)[None], GOLDEN[f"{case}.timeline"]) <= 2e-4
    vectors = model().embed([wave])
    assert vectors.dtype == np.float32
    assert distance(vectors, GOLDEN[f"{case}.embedding"]) <= 2e-4


def test_a_vector_does_not_depend_on_its_batch() -> None:
    together = model().embed([INPUTS[case] for case in CASES])
    alone = np.concatenate([model().embed([INPUTS[case]]) for case in CASES])
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize(
    ("frames", "first"),
    [
        (300, [0]),  # centre 200, moved to 150
        (349, [49]),
        (350, [50]),
        (501, [50, 201]),  # centres 200 and 400, the latter moved to 351
        (1000, [50, 250, 450, 650]),
        (1001, [50, 250, 450, 650, 701]),
    ],
)
def test_windows_lie_within_the_track(frames: int, first: list[int]) -> None:
    windows = model().windows(frames)
    assert windows[:, 0].tolist() == first
    assert windows.shape == (len(first), 300)
    assert (windows.diff(dim=1) == 1).all()


def test_windows_of_short_tracks() -> None:
    [reflected] = model().windows(171).tolist()
    assert reflected == [*range(171), *range(169, 40, -1)]
    [repeated] = model().windows(150).tolist()  # 150 frames are missing, and only 149 can be mirrored
    assert repeated == [*range(150), *[149] * 150]


def test_amplitude_of_the_original_package() -> None:
    half = model(amplitude="half")
    np.testing.assert_array_equal(half.embed([INPUTS["b"]]), model().embed([INPUTS["b"] / 2]))
    assert 1e-3 < distance(half.embed([INPUTS["b"]]), GOLDEN["b.embedding"]) < 1e-2
    assert half.settings()["amplitude"] == "half"


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_stays_close(precision: str) -> None:
    [vector] = model(precision).embed([INPUTS["b"]])
    [exact] = GOLDEN["b.embedding"]
    assert vector @ exact / np.linalg.norm(vector) / np.linalg.norm(exact) > 0.999


def test_silence_and_the_shortest_track() -> None:
    assert np.isfinite(model().embed([np.zeros(80_000, dtype=np.float32)])).all()
    assert np.isfinite(model().embed([model().prepare(INPUTS["b"][:1025])])).all()
    with pytest.raises(AudioError, match="too short"):
        model().prepare(INPUTS["b"][:1024])


def test_weights_that_are_standardised_already(checkpoint: Path) -> None:
    state = safetensors.torch.load_file(checkpoint / "model.safetensors")
    standardised = {
        f"backbone.{name}": value.clone() for name, value in model()._net.state_dict().items() if "gain" not in name
    }
    edit(checkpoint, standardised | {name: None for name in state if name.endswith(".gain")})
    config = json.loads((checkpoint / "config.json").read_text()) | {"weight_standardization": False}
    (checkpoint / "config.json").write_text(json.dumps(config))
    loaded = MULE(checkpoint=str(checkpoint))
    loaded.load()
    np.testing.assert_array_equal(loaded.embed([INPUTS["b"]]), model().embed([INPUTS["b"]]))


def test_matrices_of_the_fourier_transform_are_ignored(checkpoint: Path) -> None:
    edit(checkpoint, {"frontend.stft.fwd_real": torch.ones(5, 1, 8), "frontend.stft.fwd_imag": torch.ones(5, 1, 8)})
    loaded = MULE(checkpoint=str(checkpoint / "model.safetensors"))
    loaded.load()
    np.testing.assert_array_equal(loaded.embed([INPUTS["b"]]), model().embed([INPUTS["b"]]))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("frontend.mel_fb", None, r"missing frontend\.mel_fb$"),
        ("frontend.mel_fb", torch.ones(96, 513), r"wrong shapes: frontend\.mel_fb \(96, 513\) instead of \(96, 1025\)"),
        ("backbone.slow_stem.convs.1.gain", None, r"missing backbone\.slow_stem\.convs\.1\.gain$"),
        ("backbone.slow_stages.2.blocks.5.se.fc2.bias", None, r"missing backbone\.slow_stages\.2\.blocks\.5\.se"),
        ("backbone.fusions.0.conv1.bias", torch.ones(2), r"backbone\.fusions\.0\.conv1\.bias \(2,\) instead of \(4,\)"),
        ("backbone.more", torch.ones(2), r"unexpected backbone\.more$"),
    ],
)
def test_other_tensors_are_refused_by_name(
    checkpoint: Path, name: str, value: torch.Tensor | None, message: str
) -> None:
    edit(checkpoint, {name: value})
    with pytest.raises(MusicrecError, match=message) as error:
        MULE(checkpoint=str(checkpoint)).load()
    assert "\n" not in str(error.value)


def test_bad_files_give_one_line(checkpoint: Path) -> None:
    path = checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:200_000])
    with pytest.raises(MusicrecError, match="is damaged or not a checkpoint .*; fetch it again$"):
        MULE(checkpoint=str(checkpoint)).load()
    shutil.copyfile(DATA / "muq" / "checkpoint" / "model.safetensors", path)
    with pytest.raises(MusicrecError, match=r"does not fit this model: missing frontend\.mel_fb$"):
        MULE(checkpoint=str(checkpoint)).load()
    shutil.copyfile(FOLDER / "checkpoint" / "model.safetensors", path)
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(config | {"scaled_activation": "silu"}))
    with pytest.raises(MusicrecError, match='scaled_activation="silu" is not supported, only "gelu"'):
        MULE(checkpoint=str(checkpoint)).load()
    (checkpoint / "config.json").unlink()  # then the sizes are the published ones
    with pytest.raises(
        MusicrecError, match=r"wrong shapes: backbone\.fast_stages\.0\.blocks\.0\.convs\.0\.bias .* and \d+ more$"
    ):
        MULE(checkpoint=str(checkpoint)).load()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"amplitude": "double"}, "embedding.amplitude=double is invalid; must be full or half"),
        ({"layer": 2}, "embedding.layer=2 is invalid; must be null for mule"),
        ({"sample_rate": 44_100}, "embedding.sample_rate=44100 is invalid; must be 16000"),
    ],
)
def test_wrong_options_name_the_allowed_values(options: dict[str, Any], message: str) -> None:
    with pytest.raises(MusicrecError, match=message):
        MULE(**options)
