"""Reading .bz2 equals Python's bz2 for one stream and several, and reports damage."""

import bz2
import io
import sys
from pathlib import Path

import numpy as np
import pytest

from musicrec.data.log import bzip2
from musicrec.data.log.bzip2 import open_bzip2

BLOCK = f"{0x314159265359:048b}"


@pytest.fixture(params=["indexed_bzip2", "bz2"], autouse=True)
def decompressor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs every test with the parallel decompressor and with the standard library's."""
    if request.param == "bz2":
        monkeypatch.setattr(bzip2, "indexed_bzip2", None)
    elif bzip2.indexed_bzip2 is None:
        pytest.skip("indexed_bzip2 is not installed")
    return str(request.param)


def text(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).choice(np.frombuffer(b"abcdefgh \n", "S1"), size).tobytes()


def read(path: Path, content: bytes, workers: int) -> bytes:
    path.write_bytes(content)
    with open_bzip2(path, workers) as stream:
        return stream.read()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    "content",
    [
        bz2.compress(b""),
        bz2.compress(b"x"),
        bz2.compress(text(1_200_000), 1),  # a dozen blocks, at as many bit positions
        bz2.compress(text(300_000), 1) + bz2.compress(b"") + bz2.compress(text(250_001, 1), 9) + bz2.compress(b"end"),
    ],
)
def test_equals_bz2(tmp_path: Path, content: bytes, workers: int) -> None:
    assert read(tmp_path / "log.bz2", content, workers) == bz2.decompress(content)


def test_lines_and_early_close(tmp_path: Path) -> None:
    content = text(400_000)
    path = tmp_path / "log.bz2"
    path.write_bytes(bz2.compress(content, 1))
    with open_bzip2(path, 2) as stream:
        assert [stream.readline() for _ in range(5)] == io.BytesIO(content).readlines()[:5]


@pytest.mark.parametrize("cut", [3, 10, 1000, 60_000, -1, -5, -11, -40])
@pytest.mark.parametrize("workers", [1, 2])
def test_truncated(tmp_path: Path, cut: int, workers: int) -> None:
    with pytest.raises(EOFError, match="ended before the end-of-stream marker"):
        read(tmp_path / "log.bz2", bz2.compress(text(400_000), 1)[:cut], workers)


@pytest.mark.parametrize("workers", [1, 2])
def test_second_stream_truncated(tmp_path: Path, workers: int) -> None:
    whole = bz2.compress(text(250_000), 1)
    with pytest.raises(EOFError, match="ended before the end-of-stream marker"):
        read(tmp_path / "log.bz2", whole + whole[:60_000], workers)


@pytest.mark.parametrize("workers", [1, 2])
def test_damaged_block(tmp_path: Path, workers: int) -> None:
    content = bytearray(bz2.compress(text(400_000), 1))
    content[50_000] ^= 4
    with pytest.raises(OSError, match="Invalid data stream"):
        read(tmp_path / "log.bz2", bytes(content), workers)


@pytest.mark.parametrize("workers", [1, 2])
def test_missing_block(tmp_path: Path, workers: int) -> None:
    """A stream that lacks one of its blocks is refused although each of the others is intact."""
    whole = bz2.compress(text(400_000), 1)
    bits = "".join(f"{byte:08b}" for byte in whole)
    first = bits.index(BLOCK)
    second = bits.index(BLOCK, first + 1)
    third = bits.index(BLOCK, second + 1)
    bits = bits[:second] + bits[third:]
    bits += "0" * (-len(bits) % 8)
    with pytest.raises(OSError, match="Invalid data stream"):
        read(tmp_path / "log.bz2", int(bits, 2).to_bytes(len(bits) // 8, "big"), workers)


def test_ignores_bytes_after_the_last_stream(tmp_path: Path) -> None:
    content = bz2.compress(text(1000)) + b"no bzip2"
    assert read(tmp_path / "log.bz2", content, 2) == bz2.decompress(content)


@pytest.mark.skipif(sys.platform == "win32", reason="the file cannot be deleted while it is open")
def test_closing_releases_the_file(tmp_path: Path) -> None:
    path = tmp_path / "log.bz2"
    path.write_bytes(bz2.compress(text(1000)))
    stream = open_bzip2(path, 2)
    stream.close()
    assert stream.closed
    path.unlink()
