"""MusicFM against its published code, through the code that extract.py uses.

Tolerances: tests/golden/musicfm/NOTICE.
"""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from musicrec.audio.decode import AudioError
from musicrec.embeddings.musicfm import MusicFM
from musicrec.errors import MusicrecError
from tests.embeddings.golden_cases import DATA, arrays, distance

FOLDER = DATA / "musicfm"
INPUTS = arrays(FOLDER / "inputs.npz")
GOLDEN = arrays(FOLDER / "golden.npz")
CASES = ["a", "b", "batch", "pad30"]


@cache
def model(precision: str = "fp32", **options: Any) -> MusicFM:
    loaded = MusicFM(checkpoint=str(FOLDER / "checkpoint"), **options)
    loaded.load(precision=precision)
    return loaded


@cache
def waves(case: str) -> list[np.ndarray]:
    options = {"max_seconds": 30, "pad": True} if case == "pad30" else {}
    preparing = MusicFM(**options)  # type: ignore[arg-type]
    return [preparing.prepare(wave) for wave in np.atleast_2d(INPUTS[case])]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FOLDER / "checkpoint", tmp_path / "checkpoint"))


@pytest.mark.parametrize("case", CASES)
def test_states(case: str) -> None:
    states = model().hidden_states(waves(case))
    assert states.shape[2] == (750 if case == "pad30" else GOLDEN[f"{case}.pooled_channel_mean"].shape[1])
    assert distance(states[:, :, GOLDEN[f"{case}.frames"]], GOLDEN[f"{case}.hidden"]) <= 5e-4


@pytest.mark.parametrize("case", ["a", "b", "batch"])
def test_log_mel(case: str) -> None:
    with torch.inference_mode():
        decibel = model()._net.decibel(torch.from_numpy(np.stack(waves(case)))).numpy()
    assert decibel.shape[2] == GOLDEN[f"{case}.mel_count"]
    assert distance(decibel[:, :, GOLDEN[f"{case}.mel_frames"]], GOLDEN[f"{case}.mel_db"]) <= 5e-3


@pytest.mark.parametrize("case", CASES)
def test_time_mean_and_channel_mean(case: str) -> None:
    for pooling, limit in (("time", 1e-4), ("channel", 1e-5)):
        expected = GOLDEN[f"{case}.pooled_{pooling}_mean"]
        together = model(pooling=pooling).embed(waves(case))
        assert together.dtype == np.float32
        assert distance(together, expected) <= limit
        alone = np.concatenate([model(pooling=pooling).embed([wave]) for wave in waves(case)])
        assert distance(alone, expected) <= limit


def test_the_study_s_750_numbers() -> None:
    study = model(pooling="channel", max_seconds=30, pad=True)
    wave = study.prepare(INPUTS["pad30"])
    assert len(wave) == 720_000
    assert study.embed([wave]).shape == (1, 750)


def test_layers() -> None:
    expected = GOLDEN["batch.time_means"]
    for layer in range(4):
        assert distance(model(layer=layer).embed(waves("batch")), expected[layer]) <= 1e-4
    concatenated = model(layer="all").embed(waves("batch"))
    assert distance(concatenated, expected.transpose(1, 0, 2).reshape(2, -1)) <= 1e-4
    averaged = model(layer="all", layer_pooling="mean").embed(waves("batch"))
    assert distance(averaged, expected.mean(axis=0)) <= 1e-4


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_stays_close(precision: str) -> None:
    [vector] = model(precision).embed(waves("a"))
    [exact] = GOLDEN["a.pooled_time_mean"]
    assert vector @ exact / np.linalg.norm(vector) / np.linalg.norm(exact) > 0.999


def test_silence_and_the_shortest_clip() -> None:
    assert np.isfinite(model().embed([np.zeros(24_000, dtype=np.float32)])).all()
    assert np.isfinite(model().embed([model().prepare(INPUTS["a"][:1025])])).all()
    with pytest.raises(AudioError, match="too short"):
        model().prepare(INPUTS["a"][:1024])


def test_channel_mean_needs_clips_of_one_length() -> None:
    varied = MusicFM(pooling="channel")
    varied.prepare(INPUTS["a"])
    varied.prepare(INPUTS["a"][:-1])  # as many frames
    with pytest.raises(AudioError, match="pooling=channel gives 50 numbers for this clip and 75 for others"):
        varied.prepare(INPUTS["a"][:48_000])


@pytest.mark.parametrize("spelling", ["parametrizations", "none"])
def test_spellings_of_the_weight_norm_and_recomputable_tensors(checkpoint: Path, spelling: str) -> None:
    path = checkpoint / "musicfm_tiny.pt"
    state = torch.load(path, weights_only=True)["state_dict"]
    for name in list(state):
        if "embed_positions" in name or (spelling == "none" and "pos_conv_embed" in name):
            del state[name]
        elif name.endswith(("weight_g", "weight_v")):
            number = "0" if name.endswith("g") else "1"
            state[name.replace("weight_" + name[-1], f"parametrizations.weight.original{number}")] = state.pop(name)
    torch.save({"state_dict": state}, path)
    loaded = MusicFM(checkpoint=str(checkpoint))
    loaded.load()
    np.testing.assert_array_equal(loaded.embed(waves("a")), model().embed(waves("a")))


def test_number_of_heads_is_read_from_the_rotary_frequencies(checkpoint: Path) -> None:
    (checkpoint / "config.json").unlink()
    loaded = MusicFM(checkpoint=str(checkpoint / "musicfm_tiny.pt"))
    loaded.load()
    np.testing.assert_array_equal(loaded.embed(waves("a")), model().embed(waves("a")))


def test_files_are_found_whatever_their_names(checkpoint: Path) -> None:
    (checkpoint / "musicfm_tiny.pt").rename(checkpoint / "pretrained_msd.pt")
    (checkpoint / "stats.json").rename(checkpoint / "msd_stats.json")
    MusicFM(checkpoint=str(checkpoint)).load()
    (checkpoint / "fma_stats.json").write_text('{"melspec_2048_mean": 0.0, "melspec_2048_std": 1.0}')
    shutil.copyfile(checkpoint / "pretrained_msd.pt", checkpoint / "pretrained_fma.pt")
    found = {}
    for weights, path in (("fma", checkpoint), ("msd", checkpoint), ("fma", checkpoint / "pretrained_msd.pt")):
        loaded = MusicFM(checkpoint=str(path), weights=weights)
        loaded.load()
        found[weights, path.name] = float(loaded._net.deviation)
    assert list(found.values()) == pytest.approx([1.0, 18.41792, 18.41792])
    (checkpoint / "more_fma_stats.json").write_text("{}")
    with pytest.raises(MusicrecError, match=r"several \*stats.json \(fma_stats.json, more_fma_stats.json\)"):
        MusicFM(checkpoint=str(checkpoint)).load()


@pytest.mark.parametrize(
    "name",
    [
        "conformer.layers.1.self_attn.linear_q.bias",
        "conformer.layers.1.conv_module.batch_norm.running_var",
        "conformer.layers.2.ffn1.intermediate_dense.weight",
        "conformer.layer_norm.weight",
        "conv.conv.1.bn3.bias",
        "conv.linear.weight",
        "preprocessor_melspec_2048.mel_stft.mel_scale.fb",
    ],
)
def test_missing_tensors_are_named(checkpoint: Path, name: str) -> None:
    content = torch.load(checkpoint / "musicfm_tiny.pt", weights_only=True)
    del content["state_dict"][f"model.{name}"]
    torch.save(content, checkpoint / "musicfm_tiny.pt")
    with pytest.raises(MusicrecError, match=f"missing .*{name}"):
        MusicFM(checkpoint=str(checkpoint)).load()


def test_unexpected_tensors_and_other_configurations_are_refused(checkpoint: Path) -> None:
    path = checkpoint / "musicfm_tiny.pt"
    content = torch.load(path, weights_only=True)
    content["state_dict"]["model.extra.weight"] = torch.zeros(1)
    torch.save(content, path)
    with pytest.raises(MusicrecError, match=r"unexpected extra\.weight"):
        MusicFM(checkpoint=str(checkpoint)).load()
    config = json.loads((checkpoint / "config.json").read_text())
    config["transformers_config"]["position_embeddings_type"] = "relative"
    (checkpoint / "config.json").write_text(json.dumps(config))
    with pytest.raises(MusicrecError, match='position_embeddings_type="relative" is not supported, only "rotary"'):
        MusicFM(checkpoint=str(checkpoint)).load()
    (checkpoint / "stats.json").write_text('{"melspec_2048_mean": 1}')
    with pytest.raises(MusicrecError, match=r"stats.json lacks melspec_2048_std"):
        MusicFM(checkpoint=str(checkpoint)).load()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "mtt"}, "embedding.weights=mtt is invalid; must be fma or msd"),
        ({"pooling": "max"}, "embedding.pooling=max is invalid; must be time or channel"),
        ({"sample_rate": 16_000}, "embedding.sample_rate=16000 is invalid; must be 24000"),
    ],
)
def test_wrong_options_name_the_allowed_values(options: dict[str, Any], message: str) -> None:
    with pytest.raises(MusicrecError, match=message):
        MusicFM(**options)
