from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from musicrec.embeddings.random import Random
from musicrec.embeddings.tables import store
from musicrec.embeddings.tables.embedding_info import EmbeddingInfo
from musicrec.errors import MusicrecError
from musicrec.workspace import TrackIndex, Workspace

TRACKS = TrackIndex(["a", "b", "c"])
VALUES = np.arange(6, dtype=np.float32).reshape(3, 2)
INFO = EmbeddingInfo(
    name="random", model="Random", dim=2, tracks=3, tracks_hash=TRACKS.fingerprint(), settings=Random().settings()
)


def load(workspace: Workspace, embedding: Random, tracks: TrackIndex) -> np.ndarray:
    return store.load(workspace, embedding.name, embedding.settings(), tracks)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Returns a workspace that holds `random`, made for TRACKS."""
    made = Workspace(tmp_path)
    store.write(made, INFO, VALUES)
    return made


def test_round_trip(workspace: Workspace) -> None:
    np.testing.assert_array_equal(load(workspace, Random(), TRACKS), VALUES)
    info = store.read_info(workspace.embedding_info("random"))
    assert info is not None
    assert (info.name, info.model, info.dim, info.tracks) == ("random", "Random", 2, 3)
    assert info.created is not None


def test_missing_names_the_command(workspace: Workspace) -> None:
    with pytest.raises(MusicrecError, match="mine.npy is missing: make it with: python extract.py embedding=mine"):
        load(workspace, Random(name="mine"), TRACKS)


def test_other_tracks_are_refused(workspace: Workspace) -> None:
    with pytest.raises(MusicrecError, match="was made with another trackid_sorted.csv"):
        load(workspace, Random(), TrackIndex(["a", "x", "c"]))
    with pytest.raises(MusicrecError, match="2 new tracks of trackid_sorted.csv have no row yet"):
        load(workspace, Random(), TrackIndex(["a", "b", "c", "d", "e"]))


def test_other_settings_are_refused(workspace: Workspace) -> None:
    with pytest.raises(MusicrecError, match=r"seed=0 \(now seed=1\)"):
        load(workspace, Random(seed=1), TRACKS)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"no array", "is damaged"), (np.ones(3), r"has shape \(3,\)"), (np.ones((2, 2)), "do not match")],
)
def test_damaged_tables(workspace: Workspace, content: bytes | np.ndarray, message: str) -> None:
    path = workspace.embedding("random")
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    with pytest.raises(MusicrecError, match=message):
        load(workspace, Random(), TRACKS)


def test_damaged_description(workspace: Workspace) -> None:
    workspace.embedding_info("random").write_text("{")
    with pytest.raises(MusicrecError, match="random.json is damaged"):
        load(workspace, Random(), TRACKS)


def test_differences() -> None:
    recorded = {"a": 1, "b": [1, 2], "c": None, "old": True}
    assert store.differences(recorded, {"a": 1, "b": (1, 2), "c": None, "old": True}) == ""
    found = store.differences(recorded, {"a": 2, "b": (1, 2), "c": "x", "new": 1})
    assert found == "a=1 (now a=2), c=null (now c=x), old=true (now old=null), new=null (now new=1)"
