"""open_library and Library: neighbours by hand, resuming, new and broken files, bad input."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import musicrec
from musicrec.api.library import Library


@pytest.fixture(scope="module")
def library(music: Path, tmp_path_factory: pytest.TempPathFactory) -> Library:
    root = tmp_path_factory.mktemp("open") / "workspace"
    return musicrec.open_library(music, "mfcc", root=root, device="cpu", num_workers=0)


def cosines(library: Library, query: np.ndarray) -> dict[str, float]:
    """Returns the cosine of each track with a vector, by the formula, the largest first."""
    vectors = library.vectors.astype(np.float64)
    found = vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
    pairs = [(track, cosine) for track, cosine in zip(library.tracks.ids, found, strict=True) if not np.isnan(cosine)]
    return dict(sorted(pairs, key=lambda pair: -pair[1]))


def test_a_folder_becomes_a_library(library: Library, music: Path) -> None:
    assert len(library) == 13 and library.vectors.shape == (13, 104)
    assert library.tracks.ids[:3] == ["bass/0", "bass/1", "bass/2"]
    assert library.files["flute/1"] == music / "flute" / "1.wav"
    assert list(library.failed) == ["broken"] and "not decodable" in library.failed["broken"]
    assert repr(library) == f"Library(13 tracks of {music}, mfcc)"


def test_similar_tracks_are_those_of_the_largest_cosine(library: Library, music: Path) -> None:
    row = library.tracks.row("bass/0")
    expected = cosines(library, library.vectors[row].astype(np.float64))
    del expected["bass/0"]
    found = library.similar_tracks("bass/0", 20)
    assert [match.track_id for match in found] == list(expected)  # all others but the broken one
    np.testing.assert_allclose([match.score for match in found], list(expected.values()), rtol=1e-6)
    assert {match.track_id for match in found[:2]} == {"bass/1", "bass/2"}
    assert found[0].file == music / f"{found[0].track_id}.wav"
    assert library.similar_tracks("bass/0", 1) == found[:1] and len(library.similar_tracks("bass/0")) == 10


def test_a_file_of_the_library_is_its_track(library: Library, music: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = library.similar_tracks("noise/2", 3)
    assert library.similar_tracks(music / "noise" / "2.wav", 3) == expected
    monkeypatch.chdir(music / "noise")
    assert library.similar_tracks("2.wav", 3) == expected


def test_another_file_is_embedded(library: Library, outside: Path) -> None:
    vectors, failed = musicrec.embed_files([outside], "mfcc", device="cpu", num_workers=0)
    assert failed == {}
    found = library.similar_tracks(outside, 3)
    expected = cosines(library, vectors[0].astype(np.float64))
    assert [match.track_id for match in found] == list(expected)[:3]
    assert {match.track_id for match in found} == {"flute/0", "flute/1", "flute/2"}
    np.testing.assert_allclose([match.score for match in found], list(expected.values())[:3], rtol=1e-5)


def test_recommendations_are_near_the_mean(library: Library, outside: Path) -> None:
    rows = [library.tracks.row(track) for track in ("bass/0", "organ/1")]
    expected = cosines(library, library.vectors[rows].astype(np.float64).mean(axis=0))
    found = library.recommend(["bass/0", "organ/1", "bass/0"], 20)
    assert [match.track_id for match in found] == [track for track in expected if track not in ("bass/0", "organ/1")]
    mixed = library.recommend([outside, "flute/0"], 2)
    assert {match.track_id for match in mixed} == {"flute/1", "flute/2"}


def test_a_second_call_embeds_only_new_files(
    music: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "My Music"
    shutil.copytree(music / "bass", copy)
    monkeypatch.chdir(tmp_path)
    first = musicrec.open_library(copy, "mfcc", device="cpu", num_workers=0)
    assert first.workspace.root == Path("workspaces/My Music")
    (copy / "a.wav").write_bytes((music / "flute" / "0.wav").read_bytes())
    with caplog.at_level(logging.INFO):
        second = musicrec.open_library(str(copy), "mfcc", device="cpu", num_workers=0)
    assert second.tracks.ids == ["0", "1", "2", "a"]
    np.testing.assert_array_equal(second.vectors[:3], first.vectors)
    assert any("mfcc.npy: 1 tracks on cpu" in line for line in caplog.messages)


@pytest.mark.parametrize(
    ("track", "k", "message"),
    [
        ("bass/9", 3, "bass/9 is neither a track id nor an audio file; track ids of .* include bass/0, bass/1, bass/2"),
        ("broken", 3, "broken has no vector in embedding=mfcc: not decodable"),
        ("x" * 5000, 3, "x… is neither a track id nor an audio file"),
        ("a\0b", 3, "cannot be the path of a file"),
        (7, 3, "7 is a int; a file must be a str or a Path"),
        (None, 3, "null is a NoneType; a file must be a str or a Path"),
        (b"bass/0", 3, "is a bytes; a file must be a str or a Path"),
        ("bass/0", 0, "k=0 is invalid; must be a whole number from 1"),
        ("bass/0", True, "k=true is invalid; must be a whole number from 1"),
        ("bass/0", 2.5, "k=2.5 is invalid; must be a whole number from 1"),
    ],
)
def test_what_similar_tracks_refuses(library: Library, track: Any, k: Any, message: str) -> None:
    with pytest.raises(musicrec.MusicrecError, match=message) as error:
        library.similar_tracks(track, k)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("tracks", "message"),
    [
        ([], r"tracks=\[\] is invalid; must be a list of one or more track ids"),
        ("bass/0", "tracks=bass/0 is invalid; must be a list of track ids or audio files"),
        (3, "tracks='3' is invalid|tracks=3 is invalid"),
        (["bass/0", "gone.mp3"], "gone.mp3 is neither a track id nor an audio file"),
    ],
)
def test_what_recommend_refuses(library: Library, tracks: Any, message: str) -> None:
    with pytest.raises(musicrec.MusicrecError, match=message):
        library.recommend(tracks)


def test_what_open_library_refuses(music: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder, embedding, options, message in (
        (tmp_path / "gone", "mfcc", {}, "gone does not exist"),
        (tmp_path / "empty", "mfcc", {}, "contains no audio files"),
        (music, "vgg", {}, "(?i)vgg"),
        (music, "mfcc", {"layers": 3}, "embedding.layers is unknown"),
        (music, "mfcc", {"max_seconds": "x"}, "embedding.max_seconds=x is invalid"),
        (music, 7, {}, "embedding='?7'? is invalid; must be the name of an option"),
        (music, "random", {}, "reads no audio"),
    ):
        arguments: Any = (folder, embedding)
        with pytest.raises(musicrec.MusicrecError, match=message) as error:
            musicrec.open_library(*arguments, root=tmp_path / "workspace", **options)
        assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_embedded_is_refused(library: Library, tmp_path: Path) -> None:
    (tmp_path / "text.mp3").write_text("hello")
    with pytest.raises(musicrec.MusicrecError, match="could be embedded"):
        library.similar_tracks(tmp_path / "text.mp3")
    assert os.fspath(tmp_path) not in [str(folder) for folder in library.files.values()]
