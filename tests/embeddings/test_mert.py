"""MERT against its published code, through the code that extract.py uses; tolerances: tests/golden/mert/NOTICE."""

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
from musicrec.embeddings import mert
from musicrec.embeddings.checkpoints import load as checkpoints
from musicrec.embeddings.mert import MERT
from musicrec.embeddings.networks.wav2vec2 import Wav2Vec2
from musicrec.errors import MusicrecError
from tests.embeddings.golden_cases import DATA, arrays, batch, distance, masked_states

LAYOUTS = ["v1_330m", "v1_95m"]
# Of the 30 s case: states, pooled.
LONG = {"v1_330m": (5e-5, 3e-5), "v1_95m": (5e-4, 3e-4)}


@cache
def model(layout: str = "v1_95m", precision: str = "fp32", **options: Any) -> MERT:
    loaded = MERT(checkpoint=str(DATA / "mert" / layout / "checkpoint"), **options)
    loaded.load(precision=precision)
    return loaded


@cache
def inputs(layout: str = "v1_95m") -> dict[str, np.ndarray]:
    return arrays(DATA / "mert" / layout / "inputs.npz")


@cache
def golden(layout: str = "v1_95m") -> dict[str, np.ndarray]:
    return arrays(DATA / "mert" / layout / "golden.npz")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA / "mert" / "v1_330m" / "checkpoint", tmp_path / "checkpoint"))


@pytest.mark.parametrize(
    ("dim", "layers", "heads", "hidden", "parameters"),
    [(1024, 24, 16, 4096, 315_428_992), (768, 12, 12, 3072, 94_371_712)],
)
def test_published_sizes(dim: int, layers: int, heads: int, hidden: int, parameters: int) -> None:
    config = {
        **{"hidden_size": dim, "num_hidden_layers": layers, "num_attention_heads": heads, "intermediate_size": hidden},
        **{"conv_dim": [512] * 7, "conv_kernel": [10, 3, 3, 3, 3, 2, 2], "conv_stride": [5, 2, 2, 2, 2, 2, 2]},
        **{"num_conv_pos_embeddings": 128, "num_conv_pos_embedding_groups": 16, "feat_extract_norm": "group"},
    }
    with torch.device("meta"):
        net = mert._network(config | {"do_stable_layer_norm": True}, Path("config.json"))
    # The file has two tensors more: the mask of pre-training and the magnitudes of the weight norm.
    assert sum(value.numel() for value in net.parameters()) + dim + 128 == parameters


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", ["a", "b", "c", "d"])
def test_single_clips(layout: str, case: str) -> None:
    wave = model(layout).prepare(inputs(layout)[case])
    assert distance(model(layout).hidden_states([wave]), golden(layout)[f"{case}.hidden_states"]) <= 3e-5
    vectors = model(layout).embed([wave])
    assert vectors.dtype == np.float32
    assert distance(vectors, golden(layout)[f"{case}.pooled"]) <= 1e-5


@pytest.mark.parametrize("layout", LAYOUTS)
def test_batch(layout: str) -> None:
    waves = batch(inputs(layout))
    assert distance(model(layout).hidden_states(waves), golden(layout)["batch.hidden_states"]) <= 3e-5
    together = model(layout).embed(waves)
    assert distance(together, golden(layout)["batch.pooled"]) <= 1e-5
    assert distance(together, np.concatenate([model(layout).embed([wave]) for wave in waves])) <= 1e-5


@pytest.mark.parametrize("layout", LAYOUTS)
def test_attention_mask(layout: str) -> None:
    states = masked_states(model(layout), inputs(layout))
    assert distance(states, golden(layout)["batch_masked.hidden_states"]) <= 3e-5
    assert distance(states[-1].mean(axis=1), golden(layout)["batch_masked.pooled"]) <= 1e-5


@pytest.mark.parametrize("layout", LAYOUTS)
def test_thirty_seconds_as_in_the_study(layout: str) -> None:
    study = model(layout, max_seconds=30, pad=True)
    wave = study.prepare(inputs(layout)["paper30s"])
    assert wave.shape == (720_000,)
    expected = golden(layout)
    states = study.hidden_states([wave])
    assert states.shape[2] == 2249
    found = states[:, 0, expected["paper30s.frame_index"]]
    assert distance(found, expected["paper30s.hidden_states_at_index"]) <= LONG[layout][0]
    assert distance(study.embed([wave]), expected["paper30s.pooled"]) <= LONG[layout][1]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_normalisation_is_that_of_the_processor(layout: str) -> None:
    normalising = model(layout, normalize=True)
    wave = normalising.prepare(inputs(layout)["a"])
    np.testing.assert_allclose(wave, inputs(layout)["a_normalised"], atol=1e-6)
    assert distance(normalising.embed([wave]), golden(layout)["a_normalised.pooled"]) <= 1e-5


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layers(layout: str) -> None:
    waves, expected = batch(inputs(layout)), golden(layout)["batch.pooled_all_layers"]  # (layers + 1, batch, dim)
    for layer in range(len(expected)):
        assert distance(model(layout, layer=layer).embed(waves), expected[layer]) <= 1e-5
    concatenated = model(layout, layer="all").embed(waves)
    assert distance(concatenated, expected.transpose(1, 0, 2).reshape(3, -1)) <= 1e-5
    averaged = model(layout, layer="all", layer_pooling="mean").embed(waves)
    assert distance(averaged, expected.mean(axis=0)) <= 1e-5


def test_layers_above_the_chosen_one_are_not_computed() -> None:
    chosen = MERT(checkpoint=str(DATA / "mert" / "v1_330m" / "checkpoint"), layer=1)
    chosen.load()
    assert isinstance(chosen._net, Wav2Vec2)
    layers = chosen._net.encoder.layers
    layers[1] = layers[2] = torch.nn.Module()  # fails when called
    [vector] = chosen.embed([inputs("v1_330m")["a"]])
    assert distance(vector, golden("v1_330m")["a.pooled_all_layers"][1, 0]) <= 1e-5


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_half_precision_stays_close(layout: str, precision: str) -> None:
    [vector] = model(layout, precision).embed([inputs(layout)["a"]])
    [exact] = golden(layout)["a.pooled"]
    assert vector.dtype == np.float32
    assert vector @ exact / np.linalg.norm(vector) / np.linalg.norm(exact) > 0.999


def test_too_short() -> None:
    assert model().min_samples == 400
    with pytest.raises(AudioError, match="too short"):
        model().prepare(np.zeros(399, dtype=np.float32))


def test_either_file_may_be_given_or_their_folder(checkpoint: Path) -> None:
    weights = checkpoint / "model.safetensors"
    wave = inputs("v1_330m")["a"]
    expected = model("v1_330m").embed([wave])
    torch.save(safetensors.torch.load_file(weights), checkpoint / "pytorch_model.bin")
    for path in (checkpoint, weights, checkpoint / "pytorch_model.bin"):
        loaded = MERT(checkpoint=str(path))
        loaded.load()
        np.testing.assert_array_equal(loaded.embed([wave]), expected)
        assert loaded.checkpoint_hash() == checkpoints.sha256(path if path.is_file() else weights)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("deepnorm", True, "deepnorm=true is not supported, only false"),
        ("feature_extractor_cqt", True, "feature_extractor_cqt=true is not supported"),
        ("model_type", "wavlm", 'model_type="wavlm" is not supported, only "mert_model" or "hubert"'),
        ("conv_pos_batch_norm", True, "conv_pos_batch_norm=true is not supported"),
        ("hidden_act", "relu", 'hidden_act="relu" is not supported, only "gelu"'),
        ("do_stable_layer_norm", None, "lacks do_stable_layer_norm"),
        ("num_hidden_layers", 4, "missing encoder.layers.3.attention.q_proj.weight"),
        ("num_hidden_layers", 2, "unexpected encoder.layers.2."),
        ("feat_extract_norm", "layer", "missing feature_extractor.conv_layers.1.layer_norm.weight"),
        ("conv_bias", True, "missing feature_extractor.conv_layers.0.conv.bias"),
        ("feat_proj_layer_norm", False, "unexpected feature_projection.layer_norm"),
        ("hidden_size", 64, "wrong shapes: "),
    ],
)
def test_other_configurations_are_refused_by_name(checkpoint: Path, key: str, value: Any, message: str) -> None:
    path = checkpoint / "config.json"
    config = json.loads(path.read_text())
    if value is None:
        del config[key]
    else:
        config[key] = value
    path.write_text(json.dumps(config))
    with pytest.raises(MusicrecError) as error:
        MERT(checkpoint=str(checkpoint)).load()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": "last"}, "embedding.layer=last is invalid; must be null (the output), 0, 1, 2, ... or all"),
        ({"layer": -1}, "embedding.layer=-1 is invalid"),
        ({"layer_pooling": "max"}, "embedding.layer_pooling=max is invalid; must be concat or mean"),
        (
            {"layer": 5},
            "embedding.layer=5 does not exist in mert, whose weights have 4 layers; allowed: null, 0 to 4, all",
        ),
        ({"checkpoint": "/nowhere"}, "embedding.checkpoint: /nowhere does not exist"),
    ],
)
def test_wrong_options_name_the_allowed_values(options: dict[str, Any], message: str) -> None:
    options = {"checkpoint": str(DATA / "mert" / "v1_95m" / "checkpoint")} | options
    with pytest.raises(MusicrecError) as error:
        MERT(**options).load()
    assert str(error.value).startswith(message)
