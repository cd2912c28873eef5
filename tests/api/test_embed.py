"""embed_files by the name of an embedding, and what an import of musicrec costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import musicrec
from musicrec.config import config_dir
from musicrec.embeddings.extraction.embed_files import embed_files as embed_with
from musicrec.embeddings.mfcc import MFCC


def test_names_and_options_are_those_of_the_yaml(music: Path) -> None:
    files = [music / "flute" / "0.wav", music / "bass" / "1.wav", music / "broken.wav"]
    matrix, failed = musicrec.embed_files(map(str, files), "mfcc", max_seconds=0.5, device="cpu", num_workers=0)
    expected, _ = embed_with(files, MFCC(max_seconds=0.5), device="cpu", num_workers=0)
    assert (matrix.shape, matrix.dtype) == ((3, 104), np.float32)
    np.testing.assert_array_equal(matrix, expected)
    assert np.isnan(matrix[2]).all() and list(failed) == [str(files[2])]
    whole, _ = musicrec.embed_files(files[:2], MFCC(), device="cpu", num_workers=0)
    assert not np.array_equal(whole, matrix[:2])


@pytest.mark.parametrize(
    ("files", "embedding", "options", "message"),
    [
        ("song.mp3", "mfcc", {}, r"files=song.mp3 is invalid; must be a list of paths"),
        (None, "mfcc", {}, "files=null is invalid"),
        ([3], "mfcc", {}, "3 is a int; a file must be a str or a Path"),
        (["x.mp3"], "mfcc", {}, "none of the 1 tracks could be embedded"),
        ([], "none", {}, "embedding=none is not made from audio"),
        ([], "nothing", {}, "nothing"),
        ([], "a=b,c", {}, "a=b,c"),
        ([], "", {}, "embedding='' is invalid; must be the name of an option"),
        ([], "mfcc", {"pad": 3}, "embedding.pad=3 is invalid; must be true or false"),
        ([], "mfcc", {"pads": True}, "embedding.pads is unknown"),
        ([], "mfcc", {"max_seconds": object()}, "max_seconds"),
        ([], MFCC(), {"pad": True}, "options=.*must be given to MFCC itself"),
    ],
)
def test_what_it_refuses(files: Any, embedding: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(musicrec.MusicrecError, match=message) as error:
        musicrec.embed_files(files, embedding, device="cpu", num_workers=0, **options)
    assert "\n" not in str(error.value)


def test_importing_musicrec_imports_nothing_else() -> None:
    program = "import json, sys, musicrec; dir(musicrec); print(json.dumps(sorted(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(config_dir().parent)}
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    loaded = set(json.loads(result.stdout))
    assert not loaded & {"numpy", "torch", "pandas", "hydra", "omegaconf", "musicrec.api", "musicrec.errors"}


def test_the_names_are_those_that_are_documented() -> None:
    documented = (config_dir().parent / "docs" / "python-api.md").read_text(encoding="utf-8")
    for name in musicrec.__all__:
        assert getattr(musicrec, name).__name__ == name
        assert f"`{name}" in documented or f"musicrec.{name}" in documented
    with pytest.raises(AttributeError, match="has no attribute 'embed'"):
        musicrec.embed  # noqa: B018
