from __future__ import annotations

import bz2
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import DictConfig

from musicrec.embeddings.extraction.extract import extract
from musicrec.embeddings.published.onion import Onion
from musicrec.embeddings.tables.vector_options import without_options
from musicrec.errors import MusicrecError
from musicrec.workspace import TrackIndex, Workspace


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MUSICREC_CACHE", str(tmp_path / "cache"))
    (tmp_path / "onion").mkdir()
    text = b"id\tx1\tx2\n009aVe\t0.25\t-1\n00A0bc\tinf\t2\n00zzzz\t3\t4\n"
    (tmp_path / "onion" / "id_jukebox.tsv.bz2").write_bytes(bz2.compress(text))
    (tmp_path / "onion" / "id_mfcc_bow.tsv.bz2").write_bytes(bz2.compress(text))
    return tmp_path / "onion"


def test_extraction_from_the_published_file(compose: Callable[..., DictConfig], folder: Path, tmp_path: Path) -> None:
    options = ("embedding=onion", "embedding.feature=jukebox", f"embedding.checkpoint={folder}")
    embedding = instantiate(without_options(compose(*options).embedding))
    assert embedding.name == "onion_jukebox"
    workspace, tracks = Workspace(tmp_path / "workspace"), TrackIndex(["00A0bc", "009aVe", "0other"])
    report = extract(embedding, workspace, tracks, {})
    expected = np.array([[np.nan, np.nan], [0.25, -1], [np.nan, np.nan]], dtype=np.float32)
    np.testing.assert_array_equal(np.load(workspace.embedding("onion_jukebox")), expected)
    assert report.failed == {"00A0bc": "its vector holds NaN or infinite values", "0other": "no vector"}
    info = json.loads(workspace.embedding_info("onion_jukebox").read_text())
    assert info["failed"] == report.failed
    assert info["settings"] == {"model": "Onion", "checkpoint": str(folder), "feature": "jukebox"}
    # As a file of its own the same is read.
    file = Onion(feature="jukebox", checkpoint=str(folder / "id_jukebox.tsv.bz2"))
    np.testing.assert_array_equal(file.table(workspace, tracks), expected)


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    workspace, tracks = Workspace(tmp_path), TrackIndex(["a"])
    with pytest.raises(MusicrecError, match=r"embedding.feature=None: .* has no id_None.tsv.bz2; it has jukebox, mfcc"):
        Onion(checkpoint=str(folder)).table(workspace, tracks)
    with pytest.raises(MusicrecError, match="needs embedding.checkpoint=FOLDER with id_.*embedding.feature=jukebox"):
        Onion(feature="jukebox").table(workspace, tracks)
    with pytest.raises(MusicrecError, match="no id_.*tsv.bz2 is there"):
        Onion(feature="jukebox", checkpoint=str(tmp_path)).table(workspace, tracks)
