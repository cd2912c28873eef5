"""CLAP against transformers' own forward, with a tiny random model in the files of the hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

from musicrec.audio.decode import AudioError
from musicrec.embeddings.clap import CLAP, window_starts
from musicrec.errors import MusicrecError
from tests.embeddings.golden_cases import distance

SECOND = 48_000


def save(folder: Path, fusion: bool = False) -> ClapModel:
    """Writes a tiny random model and its extractor, whose windows are 2 s long, and returns the former."""
    torch.manual_seed(3)
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    audio = {"patch_embeds_hidden_size": 16, "depths": [1, 1], "num_attention_heads": [2, 2], "spec_size": 64}
    audio |= {"hidden_size": 32, "num_mel_bins": 16, "window_size": 4, "enable_fusion": fusion}
    config = ClapConfig(
        text_config=text | {"vocab_size": 30}, audio_config=audio | {"projection_dim": 12}, projection_dim=12
    )
    model = ClapModel(config).eval()
    with torch.no_grad():  # random weights alone map everything to nearly the same vector
        for value in model.parameters():
            value.add_(0.1 * torch.randn_like(value))
    model.save_pretrained(folder)
    truncation = "fusion" if fusion else "rand_trunc"
    ClapFeatureExtractor(feature_size=16, max_length_s=2, truncation=truncation).save_pretrained(folder)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clap")


@pytest.fixture(scope="module")
def reference(folder: Path) -> ClapModel:
    return save(folder)


@pytest.fixture(scope="module")
def model(folder: Path, reference: ClapModel) -> CLAP:
    loaded = CLAP(checkpoint=str(folder))
    loaded.load()
    return loaded


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return (0.1 * generator.standard_normal(round(seconds * SECOND))).astype(np.float32)


def project(reference: ClapModel, folder: Path, window: np.ndarray) -> np.ndarray:
    """Returns the unit vector that transformers gives for a window, (1, dim)."""
    extractor = ClapFeatureExtractor.from_pretrained(folder)
    inputs = extractor(window, sampling_rate=SECOND, return_tensors="pt")
    with torch.inference_mode():
        vectors = reference.get_audio_features(**inputs).pooler_output
        return torch.nn.functional.normalize(vectors, dim=-1).numpy()


@pytest.mark.parametrize("seconds", [2.0, 0.7])
def test_one_window_is_transformers_own_vector(model: CLAP, reference: ClapModel, folder: Path, seconds: float) -> None:
    wave = noise(seconds)
    [vector] = model.embed([wave])
    assert vector.shape == (12,)
    assert vector.dtype == np.float32
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    assert distance(vector[None], project(reference, folder, wave)) <= 1e-6


def test_a_long_track_is_the_mean_of_its_windows(model: CLAP, reference: ClapModel, folder: Path) -> None:
    wave = noise(5.3)
    starts = [0, 2 * SECOND, round(3.3 * SECOND)]
    each = np.concatenate([project(reference, folder, wave[start : start + 2 * SECOND]) for start in starts])
    assert distance(model.window_vectors(wave), each) <= 1e-6
    assert distance(model.embed([wave]), each.mean(axis=0, keepdims=True)) <= 1e-6


def test_the_same_track_gives_the_same_bits_in_any_batch(model: CLAP) -> None:
    tracks = [noise(5.3), noise(1, 1), noise(20, 2), noise(2, 3)]
    alone = np.concatenate([model.embed([track]) for track in tracks])
    np.testing.assert_array_equal(model.embed(tracks), alone)
    np.testing.assert_array_equal(model.embed(tracks[::-1])[::-1], alone)
    assert distance(alone[:1], alone[1:2]) > 1e-4


def test_a_model_that_fuses_views(tmp_path: Path) -> None:
    save(tmp_path, fusion=True)
    loaded = CLAP(checkpoint=str(tmp_path))
    loaded.load()
    first = loaded.embed([noise(5.3), noise(2, 1)])
    np.random.default_rng(5)
    np.testing.assert_array_equal(loaded.embed([noise(2, 1), noise(5.3)])[::-1], first)


@pytest.mark.parametrize(
    ("samples", "starts"),
    [(7, [0]), (10, [0]), (11, [0, 1]), (20, [0, 10]), (29, [0, 10, 19]), (30, [0, 10, 20])],
)
def test_windows_cover_the_track(samples: int, starts: list[int]) -> None:
    assert window_starts(samples, 10) == starts


def test_silence_and_too_short_tracks(model: CLAP) -> None:
    assert np.isfinite(model.embed([np.zeros(SECOND, dtype=np.float32)])).all()
    with pytest.raises(AudioError, match="too short"):
        model.prepare(noise(0.02))


def test_weights_in_torch_s_format_give_the_same(tmp_path: Path, model: CLAP) -> None:
    save(tmp_path)
    torch.save(safetensors.torch.load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    loaded = CLAP(checkpoint=str(tmp_path))
    loaded.load()
    np.testing.assert_array_equal(loaded.embed([noise(2)]), model.embed([noise(2)]))


def test_bad_files_give_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path)
    weights = tmp_path / "model.safetensors"
    state = safetensors.torch.load_file(weights)

    def complaint() -> str:
        with pytest.raises(MusicrecError) as error:
            CLAP(checkpoint=str(tmp_path)).load()
        assert "\n" not in str(error.value)
        return str(error.value)

    name = "audio_projection.linear1.weight"
    safetensors.torch.save_file({key: value for key, value in state.items() if key != name}, weights)
    assert complaint().endswith(f"does not fit this model: missing {name}")
    safetensors.torch.save_file(state | {name: torch.ones(3, 4)}, weights)
    assert f"wrong shapes: {name} (3, 4) instead of (12, 32)" in complaint()
    weights.write_bytes(weights.read_bytes()[:5000])
    assert "is damaged or not a checkpoint" in complaint()
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    assert 'model_type="bert" is not supported, only "clap"' in complaint()
    (tmp_path / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "x.Y"}}))
    assert "has an auto_map" in complaint()
    (tmp_path / "preprocessor_config.json").unlink()
    assert "has no preprocessor_config.json" in complaint()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MusicrecError, match="cannot fetch nobody/clap .*HF_HUB_OFFLINE is set"):
        CLAP(hub="nobody/clap").load()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": 2}, r"embedding\.layer=2 is invalid; must be null for clap"),
        ({"sample_rate": 44_100}, r"embedding\.sample_rate=44100 is not the model's; allowed: 48000"),
    ],
)
def test_wrong_options_name_the_allowed_values(
    folder: Path, reference: ClapModel, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(MusicrecError, match=message):
        CLAP(checkpoint=str(folder), **options).load()
