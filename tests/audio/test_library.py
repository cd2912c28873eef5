from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile

from musicrec.audio.library import scan
from musicrec.errors import MusicrecError


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_track_ids_are_paths_without_ending(tmp_path: Path) -> None:
    touch(tmp_path, "b.mp3", "a/01. One.flac", "a/deep/er/two.OGG", "cover.jpg", "notes.txt", "v1.2.wav")
    assert scan(tmp_path) == {
        "a/01. One": tmp_path / "a/01. One.flac",
        "a/deep/er/two": tmp_path / "a/deep/er/two.OGG",
        "b": tmp_path / "b.mp3",
        "v1.2": tmp_path / "v1.2.wav",
    }
    assert list(scan(tmp_path)) == sorted(scan(tmp_path))


def test_hidden_files_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp3", "._a.mp3", ".Trash/b.mp3")
    assert list(scan(tmp_path)) == ["a"]


def test_of_two_files_with_one_id_the_lossless_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "a.mp3", "a.flac", "b.m4a", "b.mp3")
    with caplog.at_level(logging.WARNING):
        files = scan(tmp_path)
    assert [path.name for path in files.values()] == ["a.flac", "b.mp3"]
    assert "2 files skipped: same name with a different extension, e.g. a" in caplog.text


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere", "song.mp3")
    library = tmp_path / "library"
    library.mkdir()
    (library / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(tmp_path / "elsewhere")
    assert list(scan(library)) == ["linked/song"]


@pytest.mark.parametrize(
    ("folder", "message"),
    [("missing", "does not exist"), ("file.mp3", "is not a folder"), ("empty", "contains no audio files")],
)
def test_no_library(tmp_path: Path, folder: str, message: str) -> None:
    touch(tmp_path, "file.mp3", "empty/readme.txt")
    with pytest.raises(MusicrecError, match=message):
        scan(tmp_path / folder)


def test_content_decides_and_what_is_not_taken_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "cover.jpg", "b.jpg", "notes.txt", "no extension", "c.xyz")
    wave = np.zeros(8000, np.float32)
    for name, kind in (("a.xyz", "FLAC"), ("01. Song", "WAV"), ("c.mp3x", "MP3"), ("d.bin", "OGG"), ("e", "AIFF")):
        soundfile.write(tmp_path / name, wave, 8000, format=kind)
    with caplog.at_level(logging.INFO):
        assert list(scan(tmp_path)) == ["01. Song", "a", "c", "d", "e"]
    assert "not taken: 5 files with other extensions and contents: .jpg 2, .txt 1, .xyz 1, none 1" in caplog.text
    with pytest.raises(MusicrecError, match=r"no audio files \(1 files with other extensions and contents: .zip 1\)"):
        touch(tmp_path / "empty", "x.zip")
        scan(tmp_path / "empty")
