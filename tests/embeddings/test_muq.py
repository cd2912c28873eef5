"""MuQ against its published code, through the code that extract.py uses; tolerances: tests/golden/muq/NOTICE."""

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
from musicrec.embeddings.muq import MuQ
from musicrec.errors import MusicrecError
from tests.embeddings.golden_cases import DATA, arrays, batch, distance, edit

FOLDER = DATA / "muq"
INPUTS = arrays(FOLDER / "inputs.npz")
GOLDEN = arrays(FOLDER / "golden.npz")
SINGLE = ["a", "b", "c", "d"]


@cache
def model(precision: str = "fp32", **options: Any) -> MuQ:
    loaded = MuQ(checkpoint=str(FOLDER / "checkpoint"), **options)
    loaded.load(precision=precision)
    return loaded


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FOLDER / "checkpoint", tmp_path / "checkpoint"))


@pytest.mark.parametrize("case", SINGLE)
def test_log_mel(case: str) -> None:
    with torch.inference_mode():
        [decibel] = model()._net.decibel(torch.from_numpy(INPUTS[case][None])).numpy()
    assert distance(decibel[:, ::8], GOLDEN[f"{case}.mel_db"]) <= 1e-3


@pytest.mark.parametrize("case", SINGLE)
def test_single_clips(case: str) -> None:
    wave = model().prepare(INPUTS[case])
    assert distance(model().hidden_states([wave]), GOLDEN[f"{case}.hidden_states"]) <= 2e-5
    vectors = model().embed([wave])
    assert vectors.dtype == np.float32
    assert distance(vectors, GOLDEN[f"{case}.pooled"]) <= 1e-5


def test_batch() -> None:
    waves = batch(INPUTS)
    assert distance(model().hidden_states(waves)[:, :, ::5], GOLDEN["batch.hidden_states"]) <= 2e-5
    together = model().embed(waves)
    assert distance(together, GOLDEN["batch.pooled"]) <= 1e-5
    assert distance(together, np.concatenate([model().embed([wave]) for wave in waves])) <= 1e-6


def test_attention_mask() -> None:
    waves = np.stack(batch(INPUTS))
    samples = np.stack([np.arange(waves.shape[1]) < len(INPUTS[case]) for case in "abc"])
    frames = GOLDEN["a.hidden_states"].shape[2]
    heard = torch.from_numpy(samples[:, :: samples.shape[1] // frames][:, :frames])
    with torch.inference_mode():
        spectrum = model()._net.spectrum(torch.from_numpy(waves))
        states = torch.stack(list(model()._net(spectrum, heard))).numpy()
    assert distance(states[:, :, ::5], GOLDEN["batch_masked.hidden_states"]) <= 2e-5
    assert distance(states[-1].mean(axis=1), GOLDEN["batch_masked.pooled"]) <= 1e-5


def test_thirty_seconds_as_in_the_study() -> None:
    study = model(max_seconds=30, pad=True)
    wave = study.prepare(INPUTS["paper30s"])
    assert wave.shape == (720_000,)
    states = study.hidden_states([wave])
    assert states.shape == (4, 1, 750, 48)
    found = states[:, 0, GOLDEN["paper30s.frame_index"]]
    assert distance(found, GOLDEN["paper30s.hidden_states_at_index"]) <= 3e-5
    assert distance(study.embed([wave]), GOLDEN["paper30s.pooled"]) <= 3e-5
    every = model(max_seconds=30, pad=True, layer="all").embed([wave]).reshape(4, 1, 48)
    assert distance(every, GOLDEN["paper30s.pooled_all_layers"]) <= 3e-5


def test_layers() -> None:
    waves, expected = batch(INPUTS), GOLDEN["batch.pooled_all_layers"]  # (layers + 1, batch, dim)
    for layer in range(4):
        assert distance(model(layer=layer).embed(waves), expected[layer]) <= 1e-5
    concatenated = model(layer="all").embed(waves)
    assert distance(concatenated, expected.transpose(1, 0, 2).reshape(3, -1)) <= 1e-5
    averaged = model(layer="all", layer_pooling="mean").embed(waves)
    assert distance(averaged, expected.mean(axis=0)) <= 1e-5
    with pytest.raises(MusicrecError, match="embedding.layer=4 does not exist in muq, whose weights have 3 layers"):
        model(layer=4)


def test_legacy_key_layout_gives_the_same_numbers(checkpoint: Path) -> None:
    state = safetensors.torch.load_file(checkpoint / "model.safetensors")
    start = "model.conformer.pos_conv_embed.conv"
    change: dict[str, torch.Tensor | None] = {
        f"{start}.weight_g": state[f"{start}.parametrizations.weight.original0"],
        f"{start}.weight_v": state[f"{start}.parametrizations.weight.original1"],
        f"{start}.parametrizations.weight.original0": None,
        f"{start}.parametrizations.weight.original1": None,
        "model.rvq.quantizers.0.codebook.weight": torch.ones(16, 4),
        "model.rvq.quantizers.0.in_proj.weight_g": torch.ones(4, 1, 1),
        "model.rvq.quantizers.0.in_proj.weight_v": torch.ones(4, 32, 1),
        "model.recon_proj.weight": torch.ones(2, 48),
        "model.conformer.embed_positions.inv_freq": None,  # can be calculated
    }
    edit(checkpoint, change)
    loaded = MuQ(checkpoint=str(checkpoint / "model.safetensors"))
    loaded.load()
    np.testing.assert_array_equal(loaded.embed([INPUTS["a"]]), model().embed([INPUTS["a"]]))


def test_fifty_frames_per_second(checkpoint: Path) -> None:
    config = json.loads((checkpoint / "config.json").read_text()) | {"label_rate": 50}
    (checkpoint / "config.json").write_text(json.dumps(config))
    loaded = MuQ(checkpoint=str(checkpoint))
    loaded.load()
    assert loaded.hidden_states([INPUTS["a"]]).shape == (4, 1, 100, 48)


def test_half_precision() -> None:
    [vector] = model("bf16").embed([INPUTS["a"]])
    [exact] = GOLDEN["a.pooled"]
    assert vector @ exact / np.linalg.norm(vector) / np.linalg.norm(exact) > 0.999
    with pytest.raises(MusicrecError, match=r"extract\.precision=fp16 gives NaN with MuQ, as its authors warn"):
        MuQ(checkpoint=str(FOLDER / "checkpoint")).load(precision="fp16")


def test_silence_and_the_shortest_clip() -> None:
    with torch.inference_mode():
        assert model()._net.decibel(torch.zeros(1, 2400)).unique().tolist() == [-100]
    assert np.isfinite(model().embed([np.zeros(24_000, dtype=np.float32)])).all()
    assert np.isfinite(model().embed([model().prepare(INPUTS["a"][:1025])])).all()
    with pytest.raises(AudioError, match="too short"):
        model().prepare(INPUTS["a"][:1024])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("model.conv.linear.weight", None, "missing conv.linear.weight"),
        ("model.conformer.layer_norm.weight", None, "missing conformer.layer_norm.weight"),
        ("model.conformer.layers.1.conv_module.batch_norm.running_var", None, "missing conformer.layers.1."),
        ("model.extra.weight", torch.ones(1), "unexpected extra.weight"),
        ("model.conv.linear.bias", torch.ones(7), r"wrong shapes: conv.linear.bias \(7,\) instead of \(48,\)"),
        ("model.conv.linear.weight", torch.ones(32, 256), "encoder_dim=48, but the weights have 32"),
    ],
)
def test_other_tensors_are_refused_by_name(
    checkpoint: Path, name: str, value: torch.Tensor | None, message: str
) -> None:
    edit(checkpoint, {name: value})
    with pytest.raises(MusicrecError, match=message) as error:
        MuQ(checkpoint=str(checkpoint)).load()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"is_flash": True}, "is_flash=true is not supported, only false"),
        ({"label_rate": 75}, "label_rate=75 is not supported, only 25 or 50"),
        ({"encoder_depth": 4}, "encoder_depth=4, but the weights have 3"),
        ({"w2v2_config": {"num_attention_heads": 4, "position_embeddings_type": "relative"}}, 'only "rotary"'),
        ({"w2v2_config": {"num_attention_heads": 5}}, "num_attention_heads=5 does not divide 48 into even parts"),
        ({"w2v2_config": {}}, "lacks num_attention_heads"),
        ({"stat": {"melspec_2048_mean": 1}}, "lacks melspec_2048_std"),
    ],
)
def test_other_configurations_are_refused_by_name(checkpoint: Path, change: dict[str, Any], message: str) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(MusicrecError, match=message) as error:
        MuQ(checkpoint=str(checkpoint)).load()
    assert "\n" not in str(error.value)


def test_bad_files_give_one_line(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = DATA / "mert" / "v1_330m" / "checkpoint" / "model.safetensors"
    shutil.copyfile(other, checkpoint / "model.safetensors")
    with pytest.raises(MusicrecError, match=r"does not fit this model: missing conv\.linear\.weight$"):
        MuQ(checkpoint=str(checkpoint)).load()
    (checkpoint / "model.safetensors").write_bytes((FOLDER / "checkpoint" / "model.safetensors").read_bytes()[:300_000])
    with pytest.raises(MusicrecError, match="is damaged or not a checkpoint .*; fetch it again$"):
        MuQ(checkpoint=str(checkpoint)).load()
    (checkpoint / "config.json").unlink()
    with pytest.raises(MusicrecError, match=r"has no config\.json"):
        MuQ(checkpoint=str(checkpoint)).load()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MusicrecError, match="cannot fetch nobody/MuQ .*HF_HUB_OFFLINE is set.*hf download nobody/MuQ"):
        MuQ(hub="nobody/MuQ").load()


def test_only_its_own_rate() -> None:
    with pytest.raises(MusicrecError, match=r"embedding\.sample_rate=16000 is invalid; must be 24000"):
        MuQ(sample_rate=16_000)
