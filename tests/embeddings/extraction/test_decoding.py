"""How many processes decode by default."""

from __future__ import annotations

import pytest

from musicrec.embeddings.extraction import decoding
from musicrec.embeddings.extraction.decoding import decoding_processes
from musicrec.errors import MusicrecError


@pytest.mark.parametrize(
    ("cores", "device", "workers"),
    [
        *[(1, "cpu", 1), (2, "cpu", 1), (3, "cpu", 2), (8, "cpu", 4), (16, "cpu", 8), (64, "cpu", 16)],
        *[(1, "cuda", 1), (2, "cuda", 1), (8, "cuda:1", 7), (64, "cuda", 16)],
    ],
)
def test_auto_follows_the_cores(monkeypatch: pytest.MonkeyPatch, cores: int, device: str, workers: int) -> None:
    monkeypatch.setattr(decoding, "usable_cpus", lambda: cores)
    assert decoding_processes("auto", device) == decoding_processes(None, device) == workers


def test_a_number_is_a_number() -> None:
    assert [decoding_processes(given, "cpu") for given in (0, "3", 40)] == [0, 3, 40]
    with pytest.raises(MusicrecError, match="num_workers=-1 is invalid"):
        decoding_processes(-1, "cpu")
