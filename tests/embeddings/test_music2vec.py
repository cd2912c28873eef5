"""Music2Vec against transformers, through the code that extract.py uses; tolerances: tests/golden/music2vec/NOTICE."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from musicrec.embeddings.music2vec import Music2Vec
from musicrec.errors import MusicrecError
from tests.embeddings.golden_cases import DATA, arrays, batch, distance, masked_states

FOLDER = DATA / "music2vec"
INPUTS = arrays(FOLDER / "inputs.npz")
GOLDEN = arrays(FOLDER / "golden.npz")


@cache
def model(precision: str = "fp32", **options: Any) -> Music2Vec:
    loaded = Music2Vec(checkpoint=str(FOLDER / "checkpoint"), **options)
    loaded.load(precision=precision)
    return loaded


@pytest.mark.parametrize("case", ["a", "b", "c", "d"])
def test_single_clips(case: str) -> None:
    wave = model().prepare(INPUTS[case])
    assert distance(model().hidden_states([wave]), GOLDEN[f"{case}.hidden_states"]) <= 2e-5
    assert distance(model().embed([wave]), GOLDEN[f"{case}.pooled"]) <= 1e-5


def test_batch() -> None:
    waves = batch(INPUTS)
    assert distance(model().hidden_states(waves), GOLDEN["batch.hidden_states"]) <= 2e-5
    together = model().embed(waves)
    assert distance(together, GOLDEN["batch.pooled"]) <= 1e-5
    assert distance(together, np.concatenate([model().embed([wave]) for wave in waves])) <= 1e-5


def test_attention_mask() -> None:
    states = masked_states(model(), INPUTS)
    assert distance(states, GOLDEN["batch_masked.hidden_states"]) <= 2e-5
    assert distance(states[-1].mean(axis=1), GOLDEN["batch_masked.pooled"]) <= 1e-5


@pytest.mark.parametrize(("case", "rate", "frames"), [("fixed30s_16k", None, 1499), ("paper30s_24k", 24_000, 2249)])
def test_thirty_seconds_right_and_as_in_the_study(case: str, rate: int | None, frames: int) -> None:
    padded = model(max_seconds=30, pad=True, sample_rate=rate)
    wave = padded.prepare(INPUTS[case])
    assert len(wave) == 30 * (rate or 16_000)
    states = padded.hidden_states([wave])
    assert states.shape[2] == frames
    found = states[:, 0, GOLDEN[f"{case}.frame_index"]]
    assert distance(found, GOLDEN[f"{case}.hidden_states_at_index"]) <= 5e-4
    assert distance(padded.embed([wave]), GOLDEN[f"{case}.pooled"]) <= 3e-4


def test_normalisation_is_that_of_the_processor() -> None:
    wave = model(normalize=True).prepare(INPUTS["a"])
    np.testing.assert_allclose(wave, INPUTS["a_normalised"], atol=1e-6)
    assert distance(model(normalize=True).embed([wave]), GOLDEN["a_normalised.pooled"]) <= 1e-5
    long = model(normalize=True, max_seconds=30, pad=True).prepare(INPUTS["a"])
    np.testing.assert_array_equal(long[: len(wave)], wave)
    assert not long[len(wave) :].any()  # padding comes after it


def test_layers() -> None:
    waves, expected = batch(INPUTS), GOLDEN["batch.pooled_all_layers"]  # (layers + 1, batch, dim)
    for layer in range(len(expected)):
        assert distance(model(layer=layer).embed(waves), expected[layer]) <= 1e-5
    assert distance(model(layer="all").embed(waves), expected.transpose(1, 0, 2).reshape(3, -1)) <= 1e-5
    assert distance(model(layer="all", layer_pooling="mean").embed(waves), expected.mean(axis=0)) <= 1e-5


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_stays_close(precision: str) -> None:
    [vector] = model(precision).embed([INPUTS["a"]])
    [exact] = GOLDEN["a.pooled"]
    assert vector @ exact / np.linalg.norm(vector) / np.linalg.norm(exact) > 0.999


def test_prefix_of_a_task_model_is_stripped(tmp_path: Path) -> None:
    shutil.copyfile(FOLDER / "checkpoint" / "config.json", tmp_path / "config.json")
    state = torch.load(FOLDER / "checkpoint" / "pytorch_model.bin", weights_only=True)
    torch.save({f"data2vec_audio.{name}": value for name, value in state.items()}, tmp_path / "pytorch_model.bin")
    loaded = Music2Vec(checkpoint=str(tmp_path))
    loaded.load()
    np.testing.assert_array_equal(loaded.embed([INPUTS["a"]]), model().embed([INPUTS["a"]]))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model_type", "wav2vec2", 'model_type="wav2vec2" is not supported, only "data2vec-audio"'),
        ("add_adapter", True, "add_adapter=true is not supported, only false"),
        ("num_conv_pos_embeddings", 6, "missing encoder.pos_conv_embed.layers.5.conv.weight"),
    ],
)
def test_other_configurations_are_refused_by_name(tmp_path: Path, key: str, value: Any, message: str) -> None:
    folder = Path(shutil.copytree(FOLDER / "checkpoint", tmp_path / "checkpoint"))
    config = json.loads((folder / "config.json").read_text()) | {key: value}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(MusicrecError) as error:
        Music2Vec(checkpoint=str(folder)).load()
    assert message in str(error.value)
