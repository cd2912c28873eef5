"""MusicNN against the unmodified upstream package, through the code that extract.py runs: file, load_audio, embed.

Golden arrays and tolerances: tests/golden/musicnn/NOTICE. A waveform that differs in the last bit moves no limit below,
but another resampler does, so the waveforms are compared bit by bit.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from musicrec.audio.decode import AudioError, load_audio
from musicrec.embeddings.musicnn import MusicNN
from musicrec.errors import MusicrecError

DATA = Path(__file__).parents[1] / "golden" / "musicnn"
CLIPS = ["etr_freezingpoint_44k_stereo.ogg", "etr_spunkyrace_44k_stereo.mp3", "frozenbubble_intro_16k_mono.wav"]
VARIANTS = ["msd", "mtt"]

# Largest absolute difference from the golden array when starting from the waveform.
LIMITS = {
    "timbral": 5e-3,
    "temporal": 5e-3,
    "cnn1": 1e-3,
    "cnn2": 2e-2,
    "cnn3": 3e-2,
    "mean_pool": 3e-4,
    "max_pool": 2e-2,
    "penultimate": 1.5e-4,
    "taggram": 5e-5,
}
MEAN_LIMIT = 1e-4


@cache
def model(**options: object) -> MusicNN:
    loaded = MusicNN(**options)  # type: ignore[arg-type]
    loaded.load()
    return loaded


def wave(clip: str) -> np.ndarray:
    return load_audio(DATA / clip, 16_000)


def golden(clip: str) -> dict[str, np.ndarray]:
    with np.load((DATA / clip).with_suffix(".npz")) as arrays:
        return dict(arrays)


def distance(one: np.ndarray, other: np.ndarray) -> float:
    assert one.shape == other.shape
    return float(np.abs(one - other).max())


@pytest.mark.parametrize("clip", CLIPS)
def test_waveform_is_that_of_the_reference_bit_by_bit(clip: str) -> None:
    expected = json.loads((DATA / "waveforms.json").read_text())[clip]
    decoded = wave(clip)
    assert decoded.dtype == np.float32
    assert len(decoded) == expected["samples"]
    assert hashlib.sha256(decoded.tobytes()).hexdigest() == expected["sha256"]


@pytest.mark.parametrize("clip", CLIPS)
def test_log_mel(clip: str) -> None:
    difference = np.abs(model().features(wave(clip))["logmel"] - golden(clip)["logmel"])
    assert difference.max() <= 6e-4
    # Cells where a last bit flips the float16 rounding; leaving the rounding out would move most cells.
    assert (difference > 1e-5).mean() <= 0.005


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("clip", CLIPS)
def test_every_stage(clip: str, variant: str) -> None:
    features = model(weights=variant).features(wave(clip))
    expected = golden(clip)
    compared = [stage for stage in LIMITS if f"{variant}.{stage}" in expected]
    assert {"mean_pool", "max_pool", "penultimate", "taggram"} <= set(compared)
    for stage in compared:
        reference = expected[f"{variant}.{stage}"]
        assert distance(features[stage][: len(reference)], reference) <= LIMITS[stage], stage
    assert len(features["penultimate"]) == len(expected[f"{variant}.penultimate"])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("clip", CLIPS)
def test_network_alone_from_the_golden_log_mel(clip: str, variant: str) -> None:
    expected = golden(clip)
    output = model(weights=variant)._model.stages(torch.from_numpy(expected["logmel"]))
    assert distance(output["penultimate"].numpy(), expected[f"{variant}.penultimate"]) <= 5e-5
    assert distance(output["taggram"].numpy(), expected[f"{variant}.taggram"]) <= 2e-5
    assert distance(output["mean_pool"].numpy(), expected[f"{variant}.mean_pool"]) <= 1e-4
    assert distance(output["max_pool"].numpy(), expected[f"{variant}.max_pool"]) <= 2e-3


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("clip", CLIPS)
def test_track_embedding(clip: str, variant: str) -> None:
    expected = golden(clip)
    audio = wave(clip)
    [vector] = model(weights=variant).embed([audio])
    assert vector.dtype == np.float32
    assert distance(vector, expected[f"{variant}.mean_penultimate"]) <= MEAN_LIMIT
    [first] = model(weights=variant, patches="first").embed([audio])
    assert distance(first, expected[f"{variant}.mean_penultimate_pypi010"]) <= MEAN_LIMIT
    reflect = model(weights=variant, pad_mode="reflect").features(audio)
    assert distance(reflect["penultimate"], expected[f"{variant}.penultimate_reflect"]) <= LIMITS["penultimate"]
    assert distance(reflect["logmel"][0, 0], expected["logmel_frame0_reflect"]) <= 6e-4


def edge_cases() -> dict[str, tuple[dict[str, object], np.ndarray]]:
    """Returns case -> (options, waveform)."""
    music = wave(CLIPS[2])
    seconds = np.arange(48_000) / 16_000
    square = 0.98 * np.sign(np.sin(2 * np.pi * 110 * seconds))
    cases: dict[str, tuple[dict[str, object], np.ndarray]] = {
        f"n{samples}": ({}, music[:samples]) for samples in (47_616, 48_000, 95_487, 95_488)
    }
    cases["overlap1s"] = ({"hop_seconds": 1.0}, music)
    cases["length1p5s"] = ({"patch_seconds": 1.5}, music)
    cases["silence"] = ({}, np.zeros(48_000, dtype=np.float32))
    cases["square110"] = ({}, square.astype(np.float32))
    cases["quiet"] = ({}, music[:48_000] * np.float32(0.001))
    return cases


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("case", list(edge_cases()))
def test_edge_cases(case: str, variant: str) -> None:
    options, audio = edge_cases()[case]
    features = model(weights=variant, **options).features(audio)
    with np.load(DATA / "edge_cases.npz") as expected:
        for stage in ("penultimate", "taggram"):
            assert distance(features[stage], expected[f"{case}.{variant}.{stage}"]) <= LIMITS[stage], stage
        for stage in ("mean_pool", "max_pool"):
            assert distance(features[stage][0], expected[f"{case}.{variant}.{stage}0"]) <= LIMITS[stage], stage


def test_too_short_for_one_patch() -> None:
    extractor = model()
    assert extractor.min_samples == 47_616
    assert len(extractor.prepare(np.zeros(47_616, dtype=np.float32))) == 47_616
    with pytest.raises(AudioError, match=r"^too short: 2\.98 s \(47615 samples\), the model needs 2\.976 s$"):
        extractor.prepare(np.zeros(47_615, dtype=np.float32))


def test_max_seconds_cuts_and_pad_fills() -> None:
    audio = wave(CLIPS[2])
    [first_three] = model().embed([audio[:48_000]])
    cut = model(max_seconds=3.0)
    [vector] = cut.embed([cut.prepare(audio)])
    np.testing.assert_array_equal(vector, first_three)
    padded = model(max_seconds=4.0, pad=True).prepare(audio[:1000])
    assert len(padded) == 64_000
    assert not padded[1000:].any()


@pytest.mark.parametrize(
    ("layer", "dim"), [("penultimate", 200), ("mean_pool", 753), ("max_pool", 753), ("taggram", 50)]
)
def test_layers(layer: str, dim: int) -> None:
    audio = wave(CLIPS[2])
    [vector] = model(layer=layer).embed([audio])
    assert vector.shape == (dim,)
    assert distance(vector, golden(CLIPS[2])[f"msd.{layer}"].mean(axis=0)) <= LIMITS[layer]


def test_waves_of_any_length_do_not_influence_each_other() -> None:
    audio = wave(CLIPS[2])
    together = model().embed([audio, audio[:48_000]])
    np.testing.assert_array_equal(together[0], model().embed([audio])[0])
    np.testing.assert_array_equal(together[1], model().embed([audio[:48_000]])[0])


def test_half_precision_stays_close() -> None:
    audio = wave(CLIPS[2])[:48_000]
    half = MusicNN()
    half.load(precision="bf16")
    [vector] = half.embed([audio])
    [reference] = model().embed([audio])
    assert vector.dtype == np.float32
    assert vector @ reference / np.linalg.norm(vector) / np.linalg.norm(reference) > 0.999


def test_shipped_weights_are_the_published_ones() -> None:
    assert model().checkpoint_hash() == "0970a68c64e3dddacaa84286fd9e862b971bcd5cfd7609e2b2cf61521f219e93"
    assert model(weights="mtt").checkpoint_hash() == "84cfff12c3c4d5bdab375be8bd5b2223ab138f7f54cde69b45cfd8adee42b874"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "msdd"}, "embedding.weights=msdd is invalid; must be msd or mtt"),
        ({"patches": "last"}, "embedding.patches=last is invalid; must be all or first"),
        ({"pad_mode": "edge"}, "embedding.pad_mode=edge is invalid; must be constant or reflect"),
        ({"layer": "cnn9"}, "embedding.layer=cnn9 is invalid; must be penultimate or mean_pool"),
        ({"sample_rate": 22050}, "embedding.sample_rate=22050 is invalid; must be 16000"),
        ({"max_seconds": 0}, "embedding.max_seconds=0 is invalid; must be a finite number above 0"),
        ({"pad": True}, "embedding.pad=true needs embedding.max_seconds"),
        ({"name": "a/b"}, "embedding.name=a/b is invalid; must be a file name"),
    ],
)
def test_wrong_options_name_the_allowed_values(options: dict[str, object], message: str) -> None:
    with pytest.raises(MusicrecError) as error:
        MusicNN(**options)  # type: ignore[arg-type]
    assert str(error.value).startswith(message)


def test_missing_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(MusicrecError, match="nowhere.safetensors does not exist"):
        MusicNN(checkpoint=str(tmp_path / "nowhere.safetensors")).load()
