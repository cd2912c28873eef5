"""MuQ-MuLan against its published code, through the code that extract.py uses.

Tolerances: tests/golden/muq_mulan/NOTICE.
"""

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
from musicrec.embeddings.muq_mulan import MuQMuLan, cut
from musicrec.errors import MusicrecError
from tests.embeddings.golden_cases import DATA, arrays, distance

FOLDER = DATA / "muq_mulan"
INPUTS = arrays(FOLDER / "inputs.npz")
GOLDEN = arrays(FOLDER / "golden.npz")
CASES = ["multi", "short", "tiny"]


@cache
def model(precision: str = "fp32", **options: Any) -> MuQMuLan:
    loaded = MuQMuLan(checkpoint=str(FOLDER / "checkpoint"), **options)
    loaded.load(precision=precision)
    return loaded


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    shutil.copytree(FOLDER, tmp_path / "muq_mulan")
    return tmp_path / "muq_mulan" / "checkpoint"


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str) -> None:
    wave = model().prepare(INPUTS[case])
    clips = torch.from_numpy(cut(wave, 48_000))
    with torch.inference_mode():
        tower = model()._net.mean(model()._net.spectrum(clips)).numpy()
    assert distance(tower, GOLDEN[f"{case}.clip_tower_mean"]) <= 2e-5
    assert distance(model().clip_vectors(wave), GOLDEN[f"{case}.clip_latents"]) <= 2e-6
    vectors = model().embed([wave])
    assert vectors.dtype == np.float32
    assert distance(vectors, GOLDEN[f"{case}.embedding"]) <= 2e-6


def test_a_vector_does_not_depend_on_its_batch() -> None:
    together = model().embed([INPUTS[case] for case in CASES])
    alone = np.concatenate([model().embed([INPUTS[case]]) for case in CASES])
    np.testing.assert_array_equal(together, alone)


def test_many_clips_are_averaged_whatever_their_number_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("musicrec.embeddings.muq_mulan._CLIPS_AT_ONCE", 2)
    assert distance(model().embed([INPUTS["multi"]]), GOLDEN["multi.embedding"]) <= 2e-6


def test_cutting() -> None:
    count = np.arange(7, dtype=np.float32)
    assert cut(count, 3).tolist() == [[0, 1, 2], [3, 4, 5], [6, 0, 1]]
    assert cut(count[:6], 3).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert cut(count, 10).tolist() == [[0, 1, 2, 3, 4, 5, 6, 0, 1, 2]]
    assert cut(count[:3], 10).tolist() == [[0, 1, 2, 0, 1, 2]]


def test_thirty_seconds_are_used() -> None:
    limited = model(max_seconds=5)
    wave = limited.prepare(INPUTS["multi"])
    assert wave.shape == (120_000,)
    assert limited.clip_vectors(wave).shape == (3, 24)


def test_the_shortest_track() -> None:
    assert np.isfinite(model().embed([model().prepare(INPUTS["multi"][:513])])).all()
    with pytest.raises(AudioError, match="too short"):
        model().prepare(INPUTS["multi"][:512])


def test_half_precision() -> None:
    [vector] = model("bf16").embed([INPUTS["multi"]])
    [exact] = GOLDEN["multi.embedding"]
    assert vector @ exact / np.linalg.norm(vector) / np.linalg.norm(exact) > 0.999
    with pytest.raises(MusicrecError, match=r"extract\.precision=fp16 gives NaN"):
        MuQMuLan(checkpoint=str(FOLDER / "checkpoint")).load(precision="fp16")


@pytest.mark.parametrize("place", ["checkpoint/muq_config.json", "MuQ-inner/config.json", "elsewhere.json"])
def test_the_inner_configuration_may_lie_elsewhere(checkpoint: Path, place: str) -> None:
    target = checkpoint.parent / place
    target.parent.mkdir(exist_ok=True)
    (checkpoint.parent / "inner_muq_config" / "config.json").rename(target)
    given: dict[str, Any] = {"muq_config": str(target)} if place == "elsewhere.json" else {}
    loaded = MuQMuLan(checkpoint=str(checkpoint), **given)
    loaded.load()
    np.testing.assert_array_equal(loaded.embed([INPUTS["short"]]), model().embed([INPUTS["short"]]))


def test_a_missing_inner_configuration_is_explained(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(checkpoint.parent / "inner_muq_config")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        MusicrecError, match=r"put the config\.json of tiny/MuQ-inner there as muq_config\.json"
    ) as error:
        MuQMuLan(checkpoint=str(checkpoint)).load()
    assert "\n" not in str(error.value)
    with pytest.raises(MusicrecError, match=r"embedding\.muq_config: /nowhere does not exist"):
        MuQMuLan(checkpoint=str(checkpoint), muq_config="/nowhere").load()


def test_another_layer_of_muq_is_used_when_the_configuration_says_so(checkpoint: Path) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    vectors = {}
    for layer in (2, 1, -2):
        config["audio_model"]["use_layer_idx"] = layer
        (checkpoint / "config.json").write_text(json.dumps(config))
        loaded = MuQMuLan(checkpoint=str(checkpoint))
        loaded.load()
        vectors[layer] = loaded.embed([INPUTS["short"]])
    np.testing.assert_array_equal(vectors[2], model().embed([INPUTS["short"]]))
    np.testing.assert_array_equal(vectors[1], vectors[-2])
    assert distance(vectors[1], vectors[2]) > 1e-2
    config["audio_model"]["use_layer_idx"] = 3
    (checkpoint / "config.json").write_text(json.dumps(config))
    with pytest.raises(MusicrecError, match="use_layer_idx=3 is not supported, only -3 or -2 or -1 or 0 or 1 or 2"):
        MuQMuLan(checkpoint=str(checkpoint)).load()


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("mulan.audio.proj.weight", None, r"missing mulan\.audio\.proj\.weight"),
        ("mulan.audio_to_latents.bias", None, r"missing mulan\.audio_to_latents\.bias"),
        ("mulan.audio.transformer.layers.1.0.k_scale", None, r"missing .*transformer\.layers\.1\.0\.k_scale"),
        (
            "mulan.audio.model.model.conformer.layer_norm.weight",
            None,
            r"missing mulan\.audio\.model\.model\.conformer\.layer_norm\.weight",
        ),
        ("mulan.audio.more", (1,), r"unexpected mulan\.audio\.more"),
        ("mulan.audio.proj.bias", (3,), r"wrong shapes: mulan\.audio\.proj\.bias \(3,\) instead of \(40,\)"),
    ],
)
def test_other_tensors_are_refused_by_name(
    checkpoint: Path, name: str, shape: tuple[int, ...] | None, message: str
) -> None:
    path = checkpoint / "model.safetensors"
    state = safetensors.torch.load_file(path)
    state.pop(name, None)
    if shape is not None:
        state[name] = torch.ones(shape)
    safetensors.torch.save_file(state, path)
    with pytest.raises(MusicrecError, match=message) as error:
        MuQMuLan(checkpoint=str(checkpoint)).load()
    assert "\n" not in str(error.value)


def test_bad_files_give_one_line(checkpoint: Path) -> None:
    path = checkpoint / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:200_000])
    with pytest.raises(MusicrecError, match="is damaged or not a checkpoint .*; fetch it again$"):
        MuQMuLan(checkpoint=str(checkpoint)).load()
    shutil.copyfile(DATA / "muq" / "checkpoint" / "model.safetensors", path)
    with pytest.raises(MusicrecError, match=r"does not fit this model: unexpected model\."):
        MuQMuLan(checkpoint=str(checkpoint)).load()
    shutil.copyfile(DATA / "muq" / "checkpoint" / "config.json", checkpoint / "config.json")
    with pytest.raises(MusicrecError, match=r"config\.json lacks mulan, audio_model"):
        MuQMuLan(checkpoint=str(checkpoint)).load()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": 2}, r"embedding\.layer=2 is invalid; must be null for muq_mulan"),
        ({"sample_rate": 16_000}, r"embedding\.sample_rate=16000 is invalid; must be 24000"),
    ],
)
def test_wrong_options_name_the_allowed_values(options: dict[str, Any], message: str) -> None:
    with pytest.raises(MusicrecError, match=message):
        MuQMuLan(**options)
