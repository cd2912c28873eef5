from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from musicrec.embeddings import embed_files
from musicrec.embeddings.mfcc import MFCC
from musicrec.embeddings.musicnn import MusicNN
from musicrec.embeddings.random import Random
from musicrec.errors import MusicrecError

CLIPS = Path(__file__).parents[2] / "golden" / "musicnn"


def test_from_files_to_a_matrix(tmp_path: Path) -> None:
    files = [CLIPS / "etr_spunkyrace_44k_stereo.mp3", tmp_path / "gone.mp3", CLIPS / "frozenbubble_intro_16k_mono.wav"]
    matrix, failed = embed_files([*files, files[0]], MusicNN(), device="cpu", num_workers=0)
    assert matrix.shape == (4, 200)
    assert matrix.dtype == np.float32
    assert failed == {str(files[1]): "cannot be read: No such file or directory"}
    assert np.isnan(matrix[1]).all()
    np.testing.assert_array_equal(matrix[3], matrix[0])
    for row in (0, 2):
        with np.load(files[row].with_suffix(".npz")) as golden:
            assert np.abs(matrix[row] - golden["msd.mean_penultimate"]).max() <= 1e-4


def test_what_it_cannot_do(tmp_path: Path) -> None:
    with pytest.raises(MusicrecError, match="embedding=random is not made from audio"):
        embed_files([CLIPS / "frozenbubble_intro_16k_mono.wav"], Random())
    with pytest.raises(MusicrecError, match="none of the 1 tracks could be embedded: 1 cannot be read"):
        embed_files([tmp_path / "gone.mp3"], MusicNN(), device="cpu", num_workers=0)


def test_no_file_is_an_empty_matrix() -> None:
    for embedding, size in ((MusicNN(), 200), (MFCC(), 104)):
        matrix, failed = embed_files([], embedding, device="cpu", num_workers=0)
        assert (matrix.shape, matrix.dtype, failed) == ((0, size), np.float32, {})


def test_the_documented_scan_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Music").mkdir()
    (tmp_path / "Music" / "a.wav").write_bytes((CLIPS / "frozenbubble_intro_16k_mono.wav").read_bytes())
    monkeypatch.setenv("HOME", str(tmp_path))
    text = (Path(__file__).parents[3] / "docs" / "extracting.md").read_text()
    code = text.split("```python\n")[1].split("```")[0].replace('"musicnn")', '"musicnn", num_workers=0)')
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["matrix"].shape == (1, 200)
    assert names["failed"] == {}
