"""Encoders of transformers against its own forward on the same input; tiny random models in the files of the hub."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers as tf
from torch import Tensor

from musicrec.audio.decode import AudioError
from musicrec.embeddings.hf import HuggingFace
from musicrec.errors import MusicrecError
from musicrec.options import construct
from tests.embeddings.golden_cases import distance

SIZES: dict[str, Any] = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32}
WAVE: dict[str, Any] = SIZES | {
    **{"conv_dim": [16, 16, 16], "conv_kernel": [10, 3, 3], "conv_stride": [5, 8, 8], "num_feat_extract_layers": 3},
    **{"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4},
}
SPEECH: dict[str, Any] = {
    **{"d_model": 24, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 4, "vocab_size": 50},
    **{"decoder_attention_heads": 4, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "pad_token_id": 0},
    **{"bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1},
}
ENCODEC: dict[str, Any] = {"num_filters": 4, "hidden_size": 16, "codebook_size": 16, "codebook_dim": 16}
ENCODEC_48KHZ: dict[str, Any] = ENCODEC | {
    **{"target_bandwidths": [3.0], "sampling_rate": 48_000, "chunk_length_s": 1.0, "overlap": 0.01},
    **{"audio_channels": 2, "normalize": True, "norm_type": "time_group_norm", "use_causal_conv": False},
}
DAC: dict[str, Any] = {
    **{"encoder_hidden_size": 4, "downsampling_ratios": [2, 4, 8], "decoder_hidden_size": 16, "n_codebooks": 2},
    **{"upsampling_ratios": [8, 4, 2], "codebook_size": 16, "codebook_dim": 4},
}
# Architecture -> class that is saved (with the head of a task where the published ones have one), configuration,
# feature extractor, sample rate, seconds of a window.
MODELS: dict[str, tuple[Callable[..., Any], Callable[[], Any], Callable[[], Any], int, float]] = {
    "whisper": (
        tf.WhisperForConditionalGeneration,
        lambda: tf.WhisperConfig(num_mel_bins=80, max_source_positions=100, **SPEECH),
        lambda: tf.WhisperFeatureExtractor(chunk_length=2),
        16_000,
        2.0,
    ),
    "ast": (
        tf.ASTForAudioClassification,
        lambda: tf.ASTConfig(max_length=128, num_mel_bins=32, **SIZES),
        lambda: tf.ASTFeatureExtractor(max_length=128, num_mel_bins=32),
        16_000,
        1.295,
    ),
    "wav2vec2": (
        tf.Wav2Vec2ForCTC,
        lambda: tf.Wav2Vec2Config(**WAVE),
        lambda: tf.Wav2Vec2FeatureExtractor(return_attention_mask=False),
        16_000,
        1.5,
    ),
    "hubert": (
        tf.HubertModel,
        lambda: tf.HubertConfig(feat_extract_norm="layer", do_stable_layer_norm=True, **WAVE),
        lambda: tf.Wav2Vec2FeatureExtractor(return_attention_mask=True),
        16_000,
        1.5,
    ),
    "wavlm": (tf.WavLMModel, lambda: tf.WavLMConfig(**WAVE), tf.Wav2Vec2FeatureExtractor, 16_000, 1.5),
    "data2vec": (
        tf.Data2VecAudioModel,
        lambda: tf.Data2VecAudioConfig(**(WAVE | {"num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 5})),
        tf.Wav2Vec2FeatureExtractor,
        16_000,
        1.5,
    ),
    "wav2vec2_bert": (
        tf.Wav2Vec2BertModel,
        lambda: tf.Wav2Vec2BertConfig(feature_projection_input_dim=160, **SIZES),
        tf.SeamlessM4TFeatureExtractor,
        16_000,
        1.5,
    ),
    "speech_to_text": (
        tf.Speech2TextForConditionalGeneration,
        lambda: tf.Speech2TextConfig(conv_channels=16, **SPEECH),
        tf.Speech2TextFeatureExtractor,
        16_000,
        1.5,
    ),
    "encodec": (
        tf.EncodecModel,
        lambda: tf.EncodecConfig(target_bandwidths=[1.5], **ENCODEC),
        lambda: tf.EncodecFeatureExtractor(sampling_rate=24_000),
        24_000,
        1.5,
    ),
    "encodec_48khz": (
        tf.EncodecModel,
        lambda: tf.EncodecConfig(**ENCODEC_48KHZ),
        lambda: tf.EncodecFeatureExtractor(feature_size=2, sampling_rate=48_000, chunk_length_s=1.0, overlap=0.01),
        48_000,
        1.0,
    ),
    "dac": (
        tf.DacModel,
        lambda: tf.DacConfig(**DAC),
        tf.DacFeatureExtractor,
        16_000,
        1.5,
    ),
}
CODECS = {"encodec", "encodec_48khz", "dac"}
# Number of real frames of the first 0.6 s, of all frames of a window that the model pads, where it pads.
PADDED = {"whisper": (30, 100)}


@pytest.fixture(scope="module")
def save(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Any]]:
    """Returns what writes an architecture's tiny model, and returns the folder and the model."""

    @cache
    def saved(architecture: str) -> tuple[Path, Any]:
        build, config, extractor, *_ = MODELS[architecture]
        torch.manual_seed(1)
        model = build(config()).eval()
        folder = tmp_path_factory.mktemp(architecture)
        model.save_pretrained(folder)
        extractor().save_pretrained(folder)
        return folder, model

    return saved


def load(folder: Path, window: float = 30.0, **options: Any) -> HuggingFace:
    model = HuggingFace(checkpoint=str(folder), window_seconds=window, **options)
    model.load()
    return model


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def theirs(architecture: str, folder: Path, model: Any, wave: np.ndarray) -> tuple[list[Tensor], Tensor]:
    """Returns the hidden states and the output that transformers gives for a window, each (frames, dim)."""
    rate = MODELS[architecture][3]
    extractor = tf.AutoFeatureExtractor.from_pretrained(folder)
    with torch.inference_mode():
        if architecture == "encodec_48khz":
            stereo = torch.from_numpy(np.stack([wave, wave]))[None]
            latents = model.encoder(stereo / (stereo[:, :1].square().mean().sqrt() + 1e-8))
            return [], latents[0].T
        if architecture in CODECS:
            return [], model.encoder(torch.from_numpy(wave)[None, None])[0].T
        encoder = getattr(model, model.base_model_prefix, model)
        encoder = encoder.encoder if encoder.config.is_encoder_decoder else encoder
        inputs = extractor(wave, sampling_rate=rate, return_tensors="pt")
        output = encoder(**inputs, output_hidden_states=True)
    return [state[0] for state in output.hidden_states], output.last_hidden_state[0]


@pytest.mark.parametrize("architecture", MODELS)
def test_a_window_is_transformers_own_mean(save: Callable[[str], tuple[Path, Any]], architecture: str) -> None:
    folder, reference = save(architecture)
    rate, seconds = MODELS[architecture][3:]
    wave = noise(round(rate * seconds))
    states, output = theirs(architecture, folder, reference, wave)
    tokens = 2 if architecture == "ast" else 0
    loaded = load(folder, seconds)
    assert loaded.sample_rate == rate
    vectors = loaded.embed([loaded.prepare(wave)])
    assert vectors.dtype == np.float32
    assert distance(vectors[0], output[tokens:].mean(dim=0).numpy()) <= 2e-6
    for layer, state in enumerate(states):
        expected = state[tokens:].mean(dim=0).numpy()
        assert distance(load(folder, seconds, layer=layer).embed([wave])[0], expected) <= 2e-6
    if states:
        every = torch.stack([state[tokens:].mean(dim=0) for state in states])
        assert distance(load(folder, seconds, layer="all").embed([wave])[0], every.flatten().numpy()) <= 2e-6
        averaged = load(folder, seconds, layer="all", layer_pooling="mean").embed([wave])[0]
        assert distance(averaged, every.mean(dim=0).numpy()) <= 2e-6


@pytest.mark.parametrize("architecture", MODELS)
def test_long_tracks_are_averaged_over_the_frames_of_all_windows(
    save: Callable[[str], tuple[Path, Any]], architecture: str
) -> None:
    folder, reference = save(architecture)
    rate, seconds = MODELS[architecture][3:]
    size = round(rate * seconds)
    wave = noise(2 * size + round(0.6 * rate))
    frames = []
    for start in (0, size, 2 * size):
        _, output = theirs(architecture, folder, reference, wave[start : start + size])
        if architecture == "ast":  # 2 tokens, then 2 rows of 12 columns of patches; 58 spectra are real at the end
            rows = output[2:].unflatten(0, (2, 12))
            output = (rows if start < 2 * size else rows[:, :6]).flatten(0, 1)
        elif architecture in PADDED and start == 2 * size:
            real, whole = PADDED[architecture]
            assert len(output) == whole
            output = output[:real]
        frames.append(output)
    expected = torch.cat(frames).mean(dim=0).numpy()
    assert distance(load(folder, seconds).embed([wave])[0], expected) <= 3e-6


@pytest.mark.parametrize("architecture", MODELS)
def test_a_vector_does_not_depend_on_its_batch(save: Callable[[str], tuple[Path, Any]], architecture: str) -> None:
    folder, _ = save(architecture)
    rate, seconds = MODELS[architecture][3:]
    loaded = load(folder, seconds)
    tracks = [noise(round(rate * length), seed) for seed, length in enumerate((0.5, 3.7, 1.5, 1.0))]
    alone = np.concatenate([loaded.embed([track]) for track in tracks])
    np.testing.assert_array_equal(loaded.embed(tracks), alone)
    np.testing.assert_array_equal(loaded.embed(tracks[::-1])[::-1], alone)


def test_zeros_that_the_extractor_adds_do_not_count(save: Callable[[str], tuple[Path, Any]]) -> None:
    folder, reference = save("whisper")
    wave = noise(9600)
    _, output = theirs("whisper", folder, reference, wave)
    [vector] = load(folder).embed([wave])
    assert distance(vector, output[:30].mean(dim=0).numpy()) <= 2e-6
    assert distance(vector, output.mean(dim=0).numpy()) > 1e-2


def test_a_rest_that_is_too_short_is_left_out(save: Callable[[str], tuple[Path, Any]]) -> None:
    loaded = load(save("wavlm")[0], 1.5)
    wave = noise(24_000 + 1599)
    np.testing.assert_array_equal(loaded.embed([wave]), loaded.embed([wave[:24_000]]))
    with pytest.raises(AudioError, match="too short"):
        loaded.prepare(wave[:1599])


def test_half_precision_stays_close(save: Callable[[str], tuple[Path, Any]]) -> None:
    folder, _ = save("whisper")
    half = HuggingFace(checkpoint=str(folder))
    half.load(precision="bf16")
    [vector], [exact] = half.embed([noise(32_000)]), load(folder).embed([noise(32_000)])
    assert vector @ exact / np.linalg.norm(vector) / np.linalg.norm(exact) > 0.999


def test_remote_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("config.json", "preprocessor_config.json"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text('{"model_type": "hubert"}')
        (folder / name).write_text('{"auto_map": {"AutoModel": "modeling.Model"}}')
        (folder / "modeling.py").write_text("raise SystemExit('executed')")
        with pytest.raises(MusicrecError, match="has an auto_map: the model needs code from its repository") as error:
            HuggingFace(checkpoint=str(folder)).load()
        assert "\n" not in str(error.value)
    asked = []

    def fetch(hub: str, revision: str, files: Any) -> Path:
        asked.append(files)
        return tmp_path / "config.json"

    monkeypatch.setattr("musicrec.embeddings.checkpoints.hub.fetch", fetch)
    with pytest.raises(MusicrecError, match="has an auto_map"):
        HuggingFace(hub="somebody/model").load()
    assert asked == [(("config.json",),)]  # no weights were fetched


def test_bad_files_give_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build, config, extractor, *_ = MODELS["wavlm"]
    model = build(config())
    model.save_pretrained(tmp_path)
    extractor().save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    state = safetensors.torch.load_file(weights)
    settings = json.loads((tmp_path / "config.json").read_text())

    def complaint(**options: Any) -> str:
        with pytest.raises(MusicrecError) as error:
            HuggingFace(checkpoint=str(tmp_path), **options).load()
        assert "\n" not in str(error.value)
        return str(error.value)

    assert complaint(layer=3).startswith("embedding.layer=3 does not exist in hf, whose weights have 2 layers")
    assert "embedding.sample_rate=44100 is not the model's; allowed: 16000, null" in complaint(sample_rate=44_100)
    name = "encoder.layers.1.attention.k_proj.weight"
    safetensors.torch.save_file({key: value for key, value in state.items() if key != name}, weights)
    assert complaint().endswith(f"does not fit this model: missing {name}")
    safetensors.torch.save_file(state | {name: torch.ones(3, 4)}, weights)
    assert complaint().endswith(f"wrong shapes: {name} (3, 4) instead of (24, 24)")
    safetensors.torch.save_file({"other.weight": torch.ones(3)}, weights)
    assert "does not fit this model: missing" in complaint()
    weights.write_bytes(b"\x00" * 100)
    assert "is damaged or not a checkpoint" in complaint()
    (tmp_path / "config.json").write_text(json.dumps(settings | {"model_type": "nothing"}))
    assert "transformers has no model of model_type=nothing" in complaint()
    (tmp_path / "preprocessor_config.json").write_text('{"feature_extractor_type": "Nothing"}')
    assert "transformers has no such audio feature extractor" in complaint()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MusicrecError, match="cannot fetch nobody/model .*HF_HUB_OFFLINE is set"):
        HuggingFace(hub="nobody/model").load()


def test_models_that_take_no_audio_are_refused(tmp_path: Path) -> None:
    sizes = SIZES | {"vocab_size": 30}
    tf.BertModel(tf.BertConfig(**sizes)).save_pretrained(tmp_path)
    tf.Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    with pytest.raises(MusicrecError, match="BertModel takes input_ids, not audio"):
        HuggingFace(checkpoint=str(tmp_path)).load()


def test_codecs_offer_no_layers(save: Callable[[str], tuple[Path, Any]]) -> None:
    for layer in (0, "all"):
        with pytest.raises(MusicrecError, match=f"embedding.layer={layer} is not offered by this model; allowed: null"):
            load(save("dac")[0], layer=layer)


def test_settings_are_the_same_before_and_after_loading(save: Callable[[str], tuple[Path, Any]]) -> None:
    folder, _ = save("encodec")
    model = HuggingFace(checkpoint=str(folder))
    before = model.settings()
    model.load()
    assert model.settings() == before
    assert model.sample_rate == 24_000
    with pytest.raises(MusicrecError, match=r"embedding\.window_seconds=0 is invalid; .* number from 0\.5"):
        construct(HuggingFace, {"window_seconds": 0}, "embedding")
