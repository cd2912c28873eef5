"""Fusion of stored tables: literal values, missing tracks, bad input."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from musicrec.embeddings.derived.fusion import Fusion
from musicrec.errors import MusicrecError
from musicrec.files import write_parquet
from musicrec.workspace import TrackIndex, Workspace

TRACKS = TrackIndex(["a", "b", "c", "d"])
NAN = np.nan
AUDIO = [[1, 4], [3, 0], [5, 4], [NAN, NAN]]
LYRICS = [[10], [30], [NAN], [NAN]]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Returns a workspace with two stored tables; tracks a and b are in train."""
    found = Workspace(tmp_path)
    found.embedding("audio").parent.mkdir()
    for name, rows in {"audio": AUDIO, "lyrics": LYRICS}.items():
        np.save(found.embedding(name), np.array(rows, dtype=np.float32))
    write_parquet(pd.DataFrame({"track_id": [0, 1, 1]}), found.split("train"))
    return found


def fused(workspace: Workspace, parts: Sequence[str] = ("audio", "lyrics"), **options: Any) -> np.ndarray:
    return Fusion(parts=parts, **options).table(workspace, TRACKS)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [[-1, 1, -1], [1, -1, 1], [NAN] * 3]),
        ({"missing": "mean"}, [[-1, 1, -1], [1, -1, 1], [3, 1, 0]]),
        ({"scale": "none"}, [[1, 4, 10], [3, 0, 30], [NAN] * 3]),
        ({"scale": "none", "missing": "mean"}, [[1, 4, 10], [3, 0, 30], [5, 4, 20]]),
        ({"scale": "l2"}, [[1 / 17**0.5, 4 / 17**0.5, 1], [1, 0, 1], [NAN] * 3]),
    ],
)
def test_values_by_hand(workspace: Workspace, options: dict[str, Any], expected: list[list[float]]) -> None:
    result = fused(workspace, **options)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, [*expected, [NAN] * 3], atol=1e-6)


def test_the_name_says_what_was_fused() -> None:
    assert Fusion(parts=["musicnn", "mert"]).name == "musicnn+mert"
    assert Fusion(parts=["musicnn", "mert"], scale="l2", missing="mean").name == "musicnn+mert-l2-mean"
    assert Fusion(name="both", parts=["musicnn", "mert"]).name == "both"


def test_without_a_split_all_tracks_count(workspace: Workspace) -> None:
    workspace.split("train").unlink()
    result = fused(workspace)
    assert result[0, 0] == pytest.approx(-((3 / 2) ** 0.5))  # 1, 3, 5


@pytest.mark.parametrize(
    ("parts", "options", "message"),
    [
        (["audio"], {}, r"embedding.parts=\[audio\] is invalid; must be two or more different names"),
        ([], {}, r"embedding.parts=\[\] is invalid"),
        (["audio", "audio"], {}, r"embedding.parts=\[audio,audio\] is invalid"),
        (["audio", "tags"], {}, "tags.npy is missing: make it with: python extract.py embedding=tags"),
        ("audio", {}, "embedding.parts=audio is invalid; must be a list of names"),
        (["audio", "lyrics"], {"scale": "minmax"}, "embedding.scale=minmax is invalid; must be zscore, l2, none"),
        (["audio", "lyrics"], {"missing": "zero"}, "embedding.missing=zero is invalid; must be row, mean"),
    ],
)
def test_bad_input(workspace: Workspace, parts: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(MusicrecError, match=message):
        fused(workspace, parts, **options)


def test_parts_that_share_no_track(workspace: Workspace) -> None:
    np.save(workspace.embedding("lyrics"), np.array([[NAN], [NAN], [1], [2]], dtype=np.float32))
    with pytest.raises(MusicrecError, match="embedding=lyrics has no row of any track of train"):
        fused(workspace)
    np.save(workspace.embedding("audio"), np.array([[1], [NAN], [NAN], [NAN]], dtype=np.float32))
    np.save(workspace.embedding("lyrics"), np.array([[NAN], [2], [1], [2]], dtype=np.float32))
    with pytest.raises(MusicrecError, match=r"no track has a vector in all parts \(tracks: audio 1, lyrics 3\)"):
        fused(workspace, scale="none")
