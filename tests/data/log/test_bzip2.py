"""Parallel .bz2 equals Python's bz2, for one stream and several, and tells damage."""

import bz2
import io

import numpy as np
import pytest

from musicrec.data.log import bzip2
from musicrec.data.log.bzip2 import open_bzip2


def text(size, seed=0):
    return np.random.default_rng(seed).choice(np.frombuffer(b"abcdefgh \n", "S1"), size).tobytes()


def read(path):
    with open_bzip2(path, 2) as stream:
        return stream.read()


@pytest.mark.parametrize(
    "content",
    [
        bz2.compress(b""),
        bz2.compress(b"x"),
        bz2.compress(text(350_000), 1),
        bz2.compress(text(300_000), 1) + bz2.compress(b"") + bz2.compress(text(250_001, 1), 9) + bz2.compress(b"end"),
    ],
)
def test_equals_bz2(tmp_path, monkeypatch, content):
    monkeypatch.setattr(bzip2, "WINDOW", 30_011)
    path = tmp_path / "log.bz2"
    path.write_bytes(content)
    assert read(path) == bz2.decompress(content)


def test_every_bit_position_and_window_border(tmp_path, monkeypatch):
    content = bz2.compress(text(1_200_000), 1)  # a dozen blocks, at as many bit positions
    path = tmp_path / "log.bz2"
    path.write_bytes(content)
    first = []
    for window in (1 << 20, 1009, 4096):
        monkeypatch.setattr(bzip2, "WINDOW", window)
        assert read(path) == bz2.decompress(content)
        with path.open("rb") as file, bzip2.mmap.mmap(file.fileno(), 0, access=bzip2.mmap.ACCESS_READ) as data:
            first.append(list(bzip2._starts(data)))
    assert first[0] == first[1] == first[2]
    assert len({bit % 8 for bit in first[0]}) > 4


def test_lines_and_early_close(tmp_path):
    content = text(400_000)
    path = tmp_path / "log.bz2"
    path.write_bytes(bz2.compress(content, 1))
    with open_bzip2(path, 2) as stream:
        assert [stream.readline() for _ in range(5)] == io.BytesIO(content).readlines()[:5]


@pytest.mark.parametrize("cut", [3, 10, 1000, 60_000, -1, -5, -11, -40])
def test_cut_off(tmp_path, cut):
    path = tmp_path / "log.bz2"
    path.write_bytes(bz2.compress(text(400_000), 1)[:cut])
    with pytest.raises((EOFError, OSError)):
        read(path)


def test_damage(tmp_path):
    content = bytearray(bz2.compress(text(400_000), 1))
    path = tmp_path / "log.bz2"
    content[50_000] ^= 4
    path.write_bytes(content)
    with pytest.raises((EOFError, OSError)):
        read(path)
    with path.open("wb") as file:  # a block is missing: each of the others is whole
        whole = bz2.compress(text(400_000), 1)
        with (tmp_path / "whole").open("w+b") as other:
            other.write(whole)
            other.flush()
            with bzip2.mmap.mmap(other.fileno(), 0, access=bzip2.mmap.ACCESS_READ) as data:
                starts = list(bzip2._starts(data))
                bits = bin(int.from_bytes(whole, "big"))[2:].zfill(8 * len(whole))
        bits = bits[: starts[1]] + bits[starts[2] :]
        bits += "0" * (-len(bits) % 8)
        file.write(int(bits, 2).to_bytes(len(bits) // 8, "big"))
    with pytest.raises(OSError, match="checksum of the whole"):
        read(path)


def test_a_magic_number_inside_a_block_is_no_border(tmp_path, monkeypatch):
    content = bz2.compress(text(400_000), 1)
    path = tmp_path / "log.bz2"
    path.write_bytes(content)
    starts = bzip2._starts

    def with_a_false_one(data):
        for number, bit in enumerate(starts(data)):
            yield bit
            if number == 1:
                yield bit + 100_003

    monkeypatch.setattr(bzip2, "_starts", with_a_false_one)
    assert read(path) == bz2.decompress(content)
