"""The pretrained transformers as extract.py runs them: configuration, audio files, extraction, table."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from hydra.utils import instantiate
from omegaconf import DictConfig

from musicrec import stages
from musicrec.audio.library import scan
from musicrec.config import config_dir
from musicrec.embeddings.extraction.extract import extract
from musicrec.embeddings.pretrained.base import Pretrained
from musicrec.embeddings.tables.vector_options import without_options
from musicrec.workspace import TrackIndex, Workspace
from tests.embeddings.golden_cases import DATA, arrays
from tests.embeddings.tiny_models import save_clap, save_wavlm

ABC = ("a", "b", "c")
# Option -> folder with inputs.npz, checkpoint, golden.npz, sample rate, key of the golden vector, tolerance, cases.
MODELS = {
    "mert": ("mert/v1_330m", "checkpoint", "golden.npz", 24_000, "pooled", 1e-5, ABC),
    "mert_95m": ("mert/v1_95m", "checkpoint", "golden.npz", 24_000, "pooled", 1e-5, ABC),
    "music2vec": ("music2vec", "checkpoint", "golden.npz", 16_000, "pooled", 1e-5, ABC),
    "encodecmae": ("encodecmae", "v1", "v1/golden.npz", 24_000, "time_mean", 2e-5, ("a", "b")),
    "musicfm_mean": ("musicfm", "checkpoint", "golden.npz", 24_000, "pooled_time_mean", 1e-4, ("a", "b")),
    "muq": ("muq", "checkpoint", "golden.npz", 24_000, "pooled", 1e-5, ABC),
    "muq_mulan": ("muq_mulan", "checkpoint", "golden.npz", 24_000, "embedding", 2e-6, ("multi", "short", "tiny")),
    "mule": ("mule", "checkpoint", "golden.npz", 16_000, "embedding", 2e-4, ("b", "long", "short", "tiny")),
}
WITHOUT_LAYERS = ("muq_mulan", "mule")


@pytest.mark.parametrize("option", MODELS)
def test_extraction_of_files_gives_the_upstream_s_numbers(
    compose: Callable[..., DictConfig], tmp_path: Path, option: str
) -> None:
    folder, checkpoint, golden, rate, key, limit, cases = MODELS[option]
    inputs, expected = arrays(DATA / folder / "inputs.npz"), arrays(DATA / folder / golden)
    (tmp_path / "music").mkdir()
    for case in cases:
        soundfile.write(tmp_path / "music" / f"{case}.wav", inputs[case], rate, subtype="FLOAT")
    path = DATA / folder / checkpoint
    whole = ("embedding.max_seconds=null", "embedding.pad=false")
    embedding = instantiate(
        without_options(compose(f"embedding={option}", f"embedding.checkpoint={path}", *whole).embedding)
    )
    assert isinstance(embedding, Pretrained)
    files = scan(tmp_path / "music")
    workspace, tracks = Workspace(tmp_path / "workspace"), TrackIndex(list(cases))
    report = extract(embedding, workspace, tracks, files, device="cpu", num_workers=0)
    assert not report.failed
    table = embedding.table(workspace, tracks)
    for vector, case in zip(table, cases, strict=True):
        np.testing.assert_allclose(vector, expected[f"{case}.{key}"][0], rtol=0, atol=limit)
    info = json.loads(workspace.embedding_info(option).read_text())
    assert info["checkpoint_sha256"] == embedding.checkpoint_hash()
    assert info["settings"]["hub"] == embedding.weights.hub
    assert info["settings"]["revision"] == embedding.weights.revision


@pytest.mark.parametrize(
    ("option", "samples"),
    [
        ("mert", 720_000),
        ("mert_95m", 720_000),
        ("music2vec", 480_000),
        ("musicfm", 720_000),
        ("musicfm_mean", 720_000),
        ("muq", 720_000),
    ],
)
def test_clips_are_cut_and_padded_to_thirty_seconds(
    compose: Callable[..., DictConfig], option: str, samples: int
) -> None:
    embedding = instantiate(without_options(compose(f"embedding={option}").embedding))
    for length in (10_000, samples + 1):
        assert len(embedding.prepare(np.ones(length, dtype=np.float32))) == samples
    whole = instantiate(without_options(compose("embedding=encodecmae").embedding))
    assert len(whole.prepare(np.ones(samples + 1, dtype=np.float32))) == samples + 1


@pytest.mark.parametrize("option", MODELS)
def test_several_threads_may_embed_at_once(compose: Callable[..., DictConfig], option: str) -> None:
    folder, checkpoint, *_, cases = MODELS[option]
    wave = arrays(DATA / folder / "inputs.npz")[cases[1]]
    layer = "null" if option in WITHOUT_LAYERS else "all"
    whole = ("embedding.max_seconds=null", "embedding.pad=false", f"embedding.layer={layer}")
    path = DATA / folder / checkpoint
    embedding = instantiate(
        without_options(compose(f"embedding={option}", f"embedding.checkpoint={path}", *whole).embedding)
    )
    embedding.load()
    waves = [wave * np.float32(1 + 0.1 * number) for number in range(8)]
    alone = [embedding.embed([louder]) for louder in waves]
    with ThreadPoolExecutor(4) as executor:
        together = list(executor.map(lambda louder: embedding.embed([louder]), waves))
    np.testing.assert_array_equal(np.concatenate(together), np.concatenate(alone))


@pytest.mark.slow
def test_every_stage_with_a_tiny_checkpoint(tmp_path: Path) -> None:
    root = tmp_path / "workspace"
    common = ("experiment=smoke", f"paths.root={root}", "logger=none", "trainer=cpu")
    model = ("embedding=encodecmae", f"embedding.checkpoint={DATA / 'encodecmae' / 'v2'}")
    for stage, arguments in (("extract", model), ("train", ("recommender=knn", *model)), ("evaluate", ())):
        command = [sys.executable, str(config_dir().parent / f"{stage}.py"), *arguments, *common]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert ran.returncode == 0, ran.stderr
    assert np.isfinite(np.load(root / "embeddings" / "encodecmae.npy")).all()
    assert list(pd.read_csv(root / "cosine.csv").embedding) == ["encodecmae"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workspace")


@pytest.mark.slow
@pytest.mark.parametrize("option", ["muq", "muq_mulan", "mule", "clap", "hf"])
def test_every_stage_of_the_newer_models(
    compose: Callable[..., DictConfig], root: Path, tmp_path: Path, option: str
) -> None:
    if option in ("clap", "hf"):
        (save_clap if option == "clap" else save_wavlm)(tmp_path)
    checkpoint = tmp_path if option in ("clap", "hf") else DATA / option / "checkpoint"
    common = ("experiment=smoke", f"paths.root={root}", "logger=none", "trainer=cpu", "extract.num_workers=0")
    model = (f"embedding={option}", f"embedding.checkpoint={checkpoint}", "embedding.max_seconds=3")
    stages.extract(compose(*common, *model))
    stages.train(compose(*common, *model, "recommender=knn"))
    stages.evaluate(compose(*common))
    assert np.isfinite(np.load(root / "embeddings" / f"{option}.npy")).all()
    assert option in list(pd.read_csv(root / "cosine.csv").embedding)
