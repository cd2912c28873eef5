"""Geometry on hand-made tables and against plain loops."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from omegaconf import DictConfig
from scipy.sparse import csr_matrix
from scipy.stats import skew

from musicrec import stages
from musicrec.errors import MusicrecError
from musicrec.evaluation.geometry import effective_rank, geometry, nearest
from musicrec.workspace import TrackIndex
from tests.evaluation.made_up import MadeUp


def test_values_by_hand() -> None:
    # Two pairs of neighbours; each pair shares its one listener, and the pairs share none.
    vectors = np.array([[1, 0], [2, 0], [0, 1], [0, 3]], dtype=np.float32)
    listeners = csr_matrix([[1, 0], [1, 0], [0, 1], [0, 1]])
    artists = csr_matrix([[1, 0, 0], [1, 0, 0], [0, 1, 1], [0, 0, 1]])  # track 2 is by two artists
    found = geometry(vectors, listeners, artists)
    assert (found.tracks, found.size) == (4, 2)
    assert found.mean_cosine == pytest.approx(1 / 3)  # 2 of 6 pairs
    # Three neighbours each, for there are no more: everybody is everybody's neighbour.
    assert found.co_listening == pytest.approx(1 / 3) and found.chance == pytest.approx(1 / 3)
    assert found.same_artist == pytest.approx(2 / 6) and found.hubness == 0
    assert found.to_row()["lift"] == pytest.approx(1)


def test_tracks_without_an_artist_do_not_count() -> None:
    vectors, listeners = np.array([[1, 0], [2, 0], [0, 1], [0, 3]]), csr_matrix(np.ones((4, 1)))
    for artists, share in (([[1], [1], [0], [0]], 1), ([[1, 0], [1, 0], [0, 0], [0, 1]], 2 / 6)):
        assert geometry(vectors, listeners, csr_matrix(artists)).same_artist == pytest.approx(share)
    assert np.isnan(geometry(vectors, listeners, csr_matrix((4, 2))).same_artist)


def test_everything_against_loops() -> None:
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(60, 5)) + 1).astype(np.float32)
    listeners = (rng.random((60, 30)) < 0.2).astype(float)
    listeners[:, 0] = 1  # nobody is without a listener
    found = geometry(vectors, csr_matrix(listeners))
    unit = vectors.astype(float) / np.linalg.norm(vectors.astype(float), axis=1, keepdims=True)
    cosines = unit @ unit.T
    others = ~np.eye(60, dtype=bool)
    assert found.mean_cosine == pytest.approx(cosines[others].mean(), abs=1e-6)
    near = []
    for i, row in enumerate(cosines):
        rest = np.delete(np.arange(60), i)
        near.append(rest[np.argsort(-row[rest], kind="stable")][:10])
    assert found.hubness == pytest.approx(skew(np.bincount(np.ravel(near), minlength=60)))
    heard = listeners / np.linalg.norm(listeners, axis=1, keepdims=True)
    shared = heard @ heard.T
    assert found.co_listening == pytest.approx(np.mean([shared[i, j] for i in range(60) for j in near[i]]))
    assert found.chance == pytest.approx(shared[others].mean())
    values = np.linalg.svd(vectors - vectors.mean(axis=0), compute_uv=False)
    shares = values / values.sum()
    assert found.effective_rank == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-4)
    assert np.isnan(found.same_artist)


def test_effective_rank_of_degenerate_tables() -> None:
    assert effective_rank(np.ones((5, 3))) == 0
    assert effective_rank(np.outer(np.arange(5.0), [1, 2, 3])) == pytest.approx(1)
    assert effective_rank(np.eye(4, 9)) == pytest.approx(3)  # more dimensions than tracks


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    directions = np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32)
    whole = nearest(directions, np.arange(50), 3)
    monkeypatch.setattr("musicrec.evaluation.geometry._BLOCK", 120)
    np.testing.assert_array_equal(nearest(directions, np.arange(50), 3), whole)


def test_the_stage_measures_every_table(
    compose: Callable[..., DictConfig], made_up: MadeUp, capsys: pytest.CaptureFixture[str]
) -> None:
    root = made_up.workspace.root
    (root / "embeddings").mkdir()
    table = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    table[3] = np.nan
    np.save(root / "embeddings" / "mfcc.npy", table)
    np.save(root / "embeddings" / "short.npy", table[:2])
    options = ("inspect.embeddings=true", f"paths.root={root}")
    stages.evaluate(compose(*options))
    frame = pd.read_csv(root / "geometry.csv")
    assert frame.embedding.tolist() == ["mfcc"] and frame["size"].tolist() == [6]
    assert "mfcc" in capsys.readouterr().out
    assert (root / "report" / "geometry.svg").is_file() and (root / "report" / "geometry.png").is_file()
    assert frame.same_artist.isna().all()
    TrackIndex([f"t{number:02d}" for number in range(40)]).save(made_up.workspace.track_index)
    (root / "data" / "artists.csv").write_text("idx,artist\n" + "".join(f"{track},same\n" for track in range(40)))
    stages.evaluate(compose(*options, "embedding.transform=zscore"))
    assert pd.read_csv(root / "geometry.csv").same_artist.tolist() == [1]
    assert "same artist" in capsys.readouterr().out
    assert pd.read_csv(root / "geometry.csv").embedding.tolist() == ["mfcc zscore"]


def test_without_embeddings(compose: Callable[..., DictConfig], made_up: MadeUp) -> None:
    with pytest.raises(MusicrecError, match="no embedding to inspect in .*embeddings: make one with extract.py"):
        stages.evaluate(compose("inspect.embeddings=true", f"paths.root={made_up.workspace.root}"))
