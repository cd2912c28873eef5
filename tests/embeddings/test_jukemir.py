"""JukeMIR against the upstream's classes at a small size, through the code that extract.py runs: file, decode, embed.

Golden arrays: tests/golden/jukebox/NOTICE.
Typical mistakes (another GELU or norm epsilon) move the mean by 3e-2 or more.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from musicrec.audio.decode import AudioError, load_audio
from musicrec.embeddings import embed_files
from musicrec.embeddings.jukemir import JukeMIR
from musicrec.embeddings.networks.jukebox import conditioning
from musicrec.embeddings.networks.jukebox.prior import PATTERNS, Layer, Prior
from musicrec.embeddings.networks.jukebox.sizes import Sizes
from musicrec.errors import MusicrecError

# A folder with the same files may hold more arrays than fit into the repository.
DATA = Path(os.environ.get("MUSICREC_JUKEBOX_PARITY") or Path(__file__).parents[1] / "golden" / "jukebox")
CLIPS = ["full", "exact", "short", "odd", "subblock", "silence", "stereo_pcm16"]

# Largest absolute difference from the golden array.
LIMITS = {"audio_norm": 1e-6, "latent": 1e-4, "codes": 0, "h0": 1e-6, "mean": 5e-5}
LAYER_LIMIT = 1e-4
HALF_LIMITS = {"layer_6": 6e-2, "mean": 1e-2}


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUSICREC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
    model.cache_clear()


@cache
def model(precision: str = "fp32", **options: object) -> JukeMIR:
    loaded = JukeMIR(checkpoint=str(DATA), **options)  # type: ignore[arg-type]
    loaded.load(precision=precision)
    return loaded


def golden(name: str) -> dict[str, np.ndarray]:
    with np.load(DATA / f"{name}.npz") as arrays:
        return dict(arrays)


def wave(clip: str) -> np.ndarray:
    return load_audio(DATA / f"{clip}.wav", 44_100) if clip == "stereo_pcm16" else golden(clip)["audio_raw"]


def distance(one: np.ndarray, other: np.ndarray) -> float:
    assert one.shape == other.shape
    return float(np.abs(one.astype(np.float64) - other).max())


@pytest.mark.parametrize("clip", CLIPS)
def test_every_stage(clip: str) -> None:
    features = model().features(wave(clip))
    compared = [stage for stage in golden(clip) if stage in features]
    assert {"codes", "mean"} <= set(compared)
    for stage in compared:
        limit = LIMITS.get(stage, LAYER_LIMIT)
        assert distance(features[stage], golden(clip)[stage]) <= limit, stage


@pytest.mark.parametrize("clip", CLIPS)
def test_embedding(clip: str) -> None:
    extractor = model()
    [vector] = extractor.embed([extractor.prepare(wave(clip))])
    assert vector.dtype == np.float32
    assert distance(vector, golden(clip)["mean"]) <= LIMITS["mean"]


@pytest.mark.parametrize("clip", CLIPS)
def test_half_precision(clip: str) -> None:
    expected = golden(clip)
    features = model("fp16").features(wave(clip))
    assert features["layer_6"].dtype == np.float16
    assert features["mean"].dtype == np.float32
    assert distance(features["mean"], expected["fp16_mean"]) <= HALF_LIMITS["mean"]
    if "fp16_layer_6" in expected:
        assert distance(features["layer_6"], expected["fp16_layer_6"]) <= HALF_LIMITS["layer_6"]


def test_bf16_stays_close() -> None:
    [vector] = model("bf16").embed([wave("short")])
    assert distance(vector, golden("short")["mean"]) <= 4.5e-2


def test_the_paper_s_batch() -> None:
    expected = golden("batch")
    waves = list(expected["audio_raw"])
    assert distance(model().embed(waves), expected["mean"]) <= LIMITS["mean"]
    assert distance(model("fp16").embed(waves), expected["fp16_mean"]) <= HALF_LIMITS["mean"]
    codes = np.stack([model().features(clip)["codes"] for clip in waves])
    assert distance(codes, expected["codes"]) == 0


def test_peak_beyond_the_25_seconds_that_the_model_takes() -> None:
    expected = golden("long25")
    audio = np.resize(expected["base"], int(expected["n_samples"]))
    audio[int(expected["spike_index"])] = expected["spike_value"]
    extractor = model(max_seconds=None)
    features = extractor.features(extractor.prepare(audio))
    assert distance(features["codes"], expected["codes"]) == 0
    assert distance(features["mean"], expected["mean"]) <= LIMITS["mean"]


def test_clips_of_any_length_do_not_influence_each_other() -> None:
    clips = ["short", "subblock", "full", "silence", "odd", "stereo_pcm16"]
    together = model().embed([wave(clip) for clip in clips])
    for clip, vector in zip(clips, together, strict=True):
        assert distance(vector, model().embed([wave(clip)])[0]) <= 5e-5
        assert distance(vector, golden(clip)["mean"]) <= 5e-5


def test_batches_larger_than_what_goes_through_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("musicrec.embeddings.jukemir._POSITIONS", {"cpu": 300})
    monkeypatch.setattr("musicrec.embeddings.networks.jukebox.prior._ROWS", {"cpu": 100})
    clips = ["silence", "full", "odd", "subblock", "short"]
    together = model().embed([wave(clip) for clip in clips])
    for clip, vector in zip(clips, together, strict=True):
        assert distance(vector, golden(clip)["mean"]) <= 5e-5


def test_conditioning() -> None:
    expected = golden("cond")
    sizes = Sizes.read(DATA / "config.json")
    bins = conditioning.time_bins(sizes)
    for name, found in bins.items():
        assert distance(found.numpy(), expected[f"bins_{name}"].reshape(-1)) == 0
    tables = torch.load(DATA / "prior_level_2.pth.tar", weights_only=True)["model"]
    start, times = conditioning.fold(tables, sizes)
    assert distance(start.numpy()[None], expected["y_cond"]) <= 1e-6
    assert distance(times.numpy(), expected["x_cond"]) <= 1e-6
    assert list(conditioning.lengths(sizes)) == expected["y"][0, [0, 2]].tolist()


def test_time_bins_of_the_published_sizes() -> None:
    expected = golden("cond_bins_real_5b")
    for name, found in conditioning.time_bins(Sizes()).items():
        assert distance(found.numpy(), expected[f"bins_{name}"].reshape(-1)) == 0
    assert conditioning.lengths(Sizes()) == (2_734_080, 1_048_576)


@pytest.mark.parametrize("pattern", range(3))
def test_patterns_against_a_full_mask(pattern: int) -> None:
    rows, columns, heads, width = 5, 4, 2, 3
    generator = torch.Generator().manual_seed(pattern)
    query, key, value = torch.randn(3, 2, rows, columns, heads, width, generator=generator)
    row, column = torch.arange(rows * columns) // columns, torch.arange(rows * columns) % columns
    mask = [
        (row[:, None] == row) & (column <= column[:, None]),
        (column[:, None] == column) & (row <= row[:, None]),
        row[:, None] == row + 1,
    ][pattern]
    flat = [part.flatten(1, 2).transpose(1, 2) for part in (query, key, value)]
    scores = flat[0] @ flat[1].transpose(2, 3) / width**0.5
    weights = scores.masked_fill(~mask, float("-inf")).softmax(dim=-1).nan_to_num(0.0)
    expected = (weights @ flat[2]).transpose(1, 2).unflatten(1, (rows, columns))
    torch.testing.assert_close(PATTERNS[pattern](query, key, value), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu() -> None:
    clips = ["short", "full", "subblock", "odd"]
    for precision, limit in (("fp32", LIMITS["mean"]), ("fp16", HALF_LIMITS["mean"])):
        extractor = JukeMIR(checkpoint=str(DATA))
        extractor.load("cuda", precision)
        key = "mean" if precision == "fp32" else "fp16_mean"
        for clip, vector in zip(clips, extractor.embed([wave(clip) for clip in clips]), strict=True):
            assert distance(vector, golden(clip)[key]) <= limit
            assert distance(extractor.features(wave(clip))["codes"], golden(clip)["codes"]) == 0


def test_only_the_needed_layers_are_made() -> None:
    assert len(model()._prior.layers) == 6
    layer = model()._prior.layers[0]
    assert isinstance(layer, Layer)
    assert layer.attn.c_attn.w.dtype == torch.float16  # also if the arithmetic is fp32
    assert "x_out" not in " ".join(model()._prior.state_dict())


def test_published_model_takes_less_than_5_gib() -> None:
    sizes = Sizes()
    with torch.device("meta"):
        prior = Prior(sizes.prior, sizes.vqvae.l_bins, sizes.layer)
    parameters = dict(prior.named_parameters())
    # The specification counts 2,538,811,200 without the start vector.
    assert sum(value.numel() for value in parameters.values()) == 2_538_811_200 + 4800
    size = sum(value.numel() * (2 if name.endswith(".w") else 4) for name, value in parameters.items())
    assert size < 4.83 * 2**30


@pytest.mark.parametrize("layer", [1, 3])
def test_other_layers(layer: int) -> None:
    extractor = model(layer=layer)
    assert len(extractor._prior.layers) == layer
    [vector] = extractor.embed([wave("short")])
    assert distance(vector, golden("short")[f"layer_{layer}"].mean(axis=0)) <= LAYER_LIMIT


def test_layer_beyond_the_model() -> None:
    with pytest.raises(MusicrecError, match=r"^embedding\.layer=13: .* has layers 1 to 12$"):
        model(layer=13)


def test_too_short() -> None:
    extractor = model()
    assert extractor.min_samples == 256
    vector = extractor.embed([extractor.prepare(wave("short")[:256])])
    assert np.isfinite(vector).all()
    with pytest.raises(AudioError, match=r"^too short: 0\.01 s \(255 samples\), the model needs 0\.006 s$"):
        extractor.prepare(np.zeros(255, dtype=np.float32))


def test_first_24_seconds_by_default() -> None:
    prepared = JukeMIR().prepare(np.ones(30 * 44_100, dtype=np.float32))
    assert len(prepared) == 1_058_400


def test_same_vectors_from_files(tmp_path: Path) -> None:
    shutil.copyfile(DATA / "stereo_pcm16.wav", tmp_path / "music.wav")
    (tmp_path / "broken.wav").write_text("no audio")
    names = ["broken.wav", "music.wav"]
    table, failed = embed_files([tmp_path / name for name in names], JukeMIR(checkpoint=str(DATA)), device="cpu")
    assert table.shape == (2, 96)
    assert distance(table[1], golden("stereo_pcm16")["mean"]) <= LIMITS["mean"]
    assert list(failed) == [str(tmp_path / "broken.wav")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": 73}, "embedding.layer=73 is invalid; must be null or 1 to 72"),
        ({"max_seconds": -1}, "embedding.max_seconds=-1 is invalid; must be a finite number above 0"),
        ({"max_seconds": None, "pad": True}, "embedding.pad=true needs embedding.max_seconds"),
    ],
)
def test_wrong_options_name_the_allowed_values(options: dict[str, object], message: str) -> None:
    with pytest.raises(MusicrecError) as error:
        JukeMIR(**options)  # type: ignore[arg-type]
    assert str(error.value).startswith(message)


def config(**changes: object) -> dict[str, object]:
    return json.loads((DATA / "config.json").read_text()) | changes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "does not describe a Jukebox model"),
        (json.dumps(config(layer=0)), r"layer=0 must be from 1 to prior\.depth=12"),
        (json.dumps({"prior": {"attn_order": 12}}), r"only prior\.attn_order=2"),
        (json.dumps({"prior": {"blocks": 100}}), r"prior\.n_ctx must be a multiple of prior\.blocks"),
        (json.dumps({"vqvae": {"levels": 2}}), r"vqvae\.downs_t must have 2 values"),
        (json.dumps({"vqvae": 3}), "does not describe a Jukebox model"),
    ],
)
def test_config_that_fits_no_model(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(MusicrecError, match=message):
        Sizes.read(path)


def test_config_overrides_the_published_sizes() -> None:
    sizes = Sizes.read(DATA / "config.json")
    assert (sizes.layer, sizes.prior.n_ctx, sizes.prior.width, sizes.vqvae.hop) == (6, 256, 96, 128)
    published = Sizes()
    assert (published.layer, published.prior.block, published.prior.attention_width) == (36, 64, 1200)
    assert published.vqvae.hop == 128


def test_wrong_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(MusicrecError, match="nowhere does not exist"):
        JukeMIR(checkpoint=str(tmp_path / "nowhere")).load()
    with pytest.raises(MusicrecError, match=r"has no vqvae\.pth\.tar; it must hold vqvae\.pth\.tar and prior"):
        JukeMIR(checkpoint=str(tmp_path)).load()
    for name in ("vqvae.pth.tar", "prior_level_2.pth.tar"):
        shutil.copyfile(DATA / name, tmp_path / name)
    with pytest.raises(MusicrecError, match=r"k has shape \(64, 16\), \(2048, 64\) is needed: .* config\.json"):
        JukeMIR(checkpoint=str(tmp_path)).load()  # no config.json: the published sizes


def test_licence_is_told_once_for_the_published_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MUSICREC_CACHE", str(tmp_path / "cache"))
    caplog.set_level("INFO")
    for _ in range(2):
        with pytest.raises(MusicrecError):
            JukeMIR(checkpoint=str(tmp_path)).load()
    assert caplog.text.count("Noncommercial Use License") == 1
