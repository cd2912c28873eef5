"""EnCodec-MAE against its published code, v1 and v2, through the code that extract.py uses.

Data and tolerances: tests/golden/encodecmae/NOTICE.
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
from musicrec.embeddings.encodecmae import EncodecMAE
from musicrec.errors import MusicrecError
from tests.embeddings.golden_cases import DATA, arrays, distance

FOLDER = DATA / "encodecmae"
INPUTS = arrays(FOLDER / "inputs.npz")
GOLDEN = {version: arrays(FOLDER / version / "golden.npz") for version in ("v1", "v2")}
FILES = {"v1": "model.pt", "v2": "ec-ec-tiny.pt"}
ALONE = ["a", "b", "long", "tail", "tinytail"]


@cache
def model(version: str, precision: str = "fp32", **options: Any) -> EncodecMAE:
    loaded = EncodecMAE(checkpoint=str(FOLDER / version), **options)
    loaded.load(precision=precision)
    return loaded


@pytest.mark.parametrize("version", FILES)
@pytest.mark.parametrize("case", ALONE)
def test_single_clips(version: str, case: str) -> None:
    expected = GOLDEN[version]
    wave = model(version).prepare(INPUTS[case])
    states = model(version).hidden_states([wave])
    assert states.shape[2] == expected[f"{case}.count"]
    assert distance(states[-1][:, expected[f"{case}.frames"]], expected[f"{case}.features"]) <= 5e-5
    if f"{case}.transformer_in" in expected:
        assert distance(states[0][:, expected[f"{case}.frames"]], expected[f"{case}.transformer_in"]) <= 1e-5
    vectors = model(version).embed([wave])
    assert vectors.dtype == np.float32
    assert distance(vectors, expected[f"{case}.time_mean"]) <= 2e-5


@pytest.mark.parametrize("version", FILES)
@pytest.mark.parametrize("chunks", [1, 2, 128])
def test_ragged_batch(version: str, chunks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("musicrec.embeddings.encodecmae._CHUNKS", {"cpu": chunks})
    together = model(version).embed([INPUTS[case] for case in ALONE])
    for vector, case in zip(together, ALONE, strict=True):
        assert distance(vector[None], GOLDEN[version][f"{case}.time_mean"]) <= 2e-5


def test_upstreams_own_batch() -> None:
    waves, expected = INPUTS["batch"], GOLDEN["v2"]
    assert distance(model("v2").embed(list(waves)), expected["batch.time_mean"]) <= 2e-5
    # v1 masks the partial frame of the first item only; here every clip is treated as the first.
    expected = GOLDEN["v1"]
    assert distance(model("v1").embed(list(waves))[:1], expected["batch.time_mean"][:1]) <= 2e-5
    with torch.inference_mode():
        *_, features = model("v1")._net(torch.from_numpy(waves[1:]), attended=None)
    assert distance(features.mean(dim=1).numpy(), expected["batch.time_mean"][1:]) <= 2e-5
    assert distance(features[:, expected["batch.frames"]].numpy(), expected["batch.features"][1:]) <= 5e-5


@pytest.mark.parametrize("version", FILES)
def test_layers(version: str) -> None:
    expected = GOLDEN[version]["b.all_layers_mean"]
    wave = INPUTS["b"]
    [concatenated] = model(version, layer="all").embed([wave])
    assert distance(concatenated, expected.flatten()) <= 2e-5
    [averaged] = model(version, layer="all", layer_pooling="mean").embed([wave])
    assert distance(averaged, expected.mean(axis=0)) <= 2e-5
    for layer in (1, 2, 3):
        assert distance(model(version, layer=layer).embed([wave])[0], expected[layer - 1]) <= 2e-5
    [entering] = model(version, layer=0).embed([wave])
    assert distance(entering, model(version).hidden_states([wave])[0, 0].mean(axis=0)) <= 2e-5


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("version", FILES)
def test_half_precision_stays_close(version: str, precision: str) -> None:
    [vector] = model(version, precision).embed([INPUTS["b"]])
    [exact] = GOLDEN[version]["b.time_mean"]
    assert vector @ exact / np.linalg.norm(vector) / np.linalg.norm(exact) > 0.999


def test_shortest_clips() -> None:
    assert np.isfinite(model("v1").embed([INPUTS["a"][:1], INPUTS["a"][:319]])).all()
    with pytest.raises(AudioError, match=r"too short: 0\.09 s \(2048 samples\)"):
        model("v2").prepare(INPUTS["a"][:2048])
    assert len(model("v2").prepare(INPUTS["a"][:2049])) == 2049


def test_heads_that_do_not_divide_the_width(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(FOLDER / "v1", tmp_path / "large"))
    content = torch.load(folder / "model.pt", weights_only=True)
    for name, value in content["state_dict"].items():
        if name.endswith(("wq.weight", "wk.weight", "wv.weight")):
            content["state_dict"][name] = value[:20].clone()
        if name.endswith("wo.weight"):
            content["state_dict"][name] = value[:, :20].clone()
    torch.save(content, folder / "model.pt")
    (folder / "config.gin").write_text("NUM_ENCODER_HEADS=5\n")
    loaded = EncodecMAE(checkpoint=str(folder))
    loaded.load()
    [vector] = loaded.embed([INPUTS["a"]])
    assert np.isfinite(vector).all()
    (folder / "config.gin").write_text("NUM_ENCODER_HEADS=7\n")
    with pytest.raises(MusicrecError, match="wrong shapes: visible_encoder.encoder_layers.0.att_layer.wq.weight"):
        EncodecMAE(checkpoint=str(folder)).load()


def test_number_of_heads_comes_from_the_configuration(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(FOLDER / "v1", tmp_path / "v1"))
    (folder / "config.gin").unlink()
    (folder / "config.json").write_text(json.dumps({"HEADS": 4, "norm_type": "ResiDual"}))
    loaded = EncodecMAE(checkpoint=str(folder / "model.pt"))
    loaded.load()
    np.testing.assert_array_equal(loaded.embed([INPUTS["a"]]), model("v1").embed([INPUTS["a"]]))
    (folder / "config.json").write_text(json.dumps({"HEADS": 4, "norm_type": "post"}))
    with pytest.raises(MusicrecError, match='norm_type="post" is not supported, only "ResiDual"'):
        EncodecMAE(checkpoint=str(folder)).load()


@pytest.mark.parametrize(
    "name",
    [
        "positional_encoder.scale",
        "visible_encoder.encoder_layers.1.norm2.bias",
        "visible_encoder.encoder_layers.1.ff_layer.0.weight",
        "visible_encoder.encoder_layers.0.att_layer.wk.weight",
        "visible_encoder.final_norm.bias",
        "wav_encoder.model.model.13.lstm.bias_hh_l1",
        "wav_encoder.model.model.13.lstm.weight_hh_l0",
        "wav_encoder.model.model.3.conv.conv.bias",
        "wav_encoder.model.model.4.block.1.conv.conv.weight_g",
        "feat_projector.weight",
    ],
)
def test_missing_tensors_are_named(tmp_path: Path, name: str) -> None:
    content = torch.load(FOLDER / "v1" / "model.pt", weights_only=True)
    del content["state_dict"][name]
    torch.save(content, tmp_path / "model.pt")
    shutil.copyfile(FOLDER / "v1" / "config.gin", tmp_path / "config.gin")
    with pytest.raises(MusicrecError, match=f"missing {name.removesuffix('_g')}"):
        EncodecMAE(checkpoint=str(tmp_path)).load()


def test_mel_models_and_other_rates_are_refused(tmp_path: Path) -> None:
    content = torch.load(FOLDER / "v2" / "ec-ec-tiny.pt", weights_only=True)
    content["state_dict"] = {
        name: value for name, value in content["state_dict"].items() if not name.startswith("wav_encoder.encoder.")
    }
    torch.save(content, tmp_path / "mel256-ec-tiny.pt")
    with pytest.raises(MusicrecError, match="takes mel spectra"):
        EncodecMAE(checkpoint=str(tmp_path)).load()
    with pytest.raises(MusicrecError, match="embedding.sample_rate=16000 is invalid; must be 24000"):
        EncodecMAE(sample_rate=16_000)
