"""Bombs: small files that unpack to, or announce, more than any memory holds; run in one process of their own."""

from __future__ import annotations

import bz2
import gzip
import json
import os
import resource
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import soundfile

from musicrec.audio.decode import decode
from musicrec.config import config_dir
from musicrec.data.prepare import prepare
from musicrec.data.source import DataSource
from musicrec.embeddings.feature_files.read import read_blocks
from musicrec.errors import MusicrecError
from musicrec.workspace import Workspace
from tests.data.made_log import flat
from tests.hostile.trial import Count

MEGABYTE = 1 << 20
# Megabytes that a log unpacks to in the long trial.
_SIZE = 256
# What the process may hold: imports take about 200 MB, and a block of a log in each of a few threads.
_MOST_MEMORY = 900 * MEGABYTE
_HEADER = b"user_id,track_id,timestamp\n"
_ROW = b"1,2,1577836800\n"

# What a log begins with and what it repeats.
LOGS: dict[str, tuple[bytes, bytes]] = {
    "one endless line": (b"", b"a"),
    "an endless second line": (_HEADER + _ROW, b"a"),
    "quotation marks": (_HEADER, b'"'),
    "a quotation mark that never closes": (_HEADER + b'1,"', b"a\n"),
    "a quotation mark per line": (_HEADER, b'"\n'),
    "zeros": (b"", b"\0"),
    "zeros after a row": (_HEADER + _ROW, b"\0"),
    "empty lines": (_HEADER, b"\n"),
    "carriage returns": (_HEADER, b"\r"),
    "delimiters": (_HEADER, b","),
    "lines of delimiters": (_HEADER, b",,\n"),
    "bad rows": (_HEADER, b"x,y,z\n"),
    "bad rows after a good one": (_HEADER + _ROW, b"x,y,z\n"),
    "rows of one cell": (_HEADER, b"a\n"),
    "brackets": (b"", b"["),
    "nested objects": (b"", b'{"a":'),
    "an endless string": (b'[{"a":"', b"a"),
    "an array of numbers": (b"[", b"1,"),
    "empty objects": (b"", b"{}\n"),
    "spaces in an array": (b"[", b" "),
    "UTF-16 without an end": (b"\xff\xfe", b"a\0"),
}
_Pack = Callable[[Path, bytes, int], Path]


def _zipped(path: Path, unit: bytes, repeats: int, begin: bytes = b"") -> Path:
    path = path.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file, file.open("log.csv", "w") as member:
        member.write(begin)
        for _ in range(repeats):
            member.write(unit)
    return path


def packed(path: Path, begin: bytes, unit: bytes, megabytes: int, how: str) -> Path:
    """Writes a log of so many megabytes, compressed; returns its path."""
    block = unit * (MEGABYTE // len(unit))
    if how == "zip":
        return _zipped(path, block, megabytes, begin)
    if how == "zst":
        with pa.CompressedOutputStream(pa.OSFile(str(path), "wb"), "zstd") as stream:
            stream.write(begin)
            for _ in range(megabytes):
                stream.write(block)
        return path
    with gzip.open(path, "wb", 1) if how == "gz" else bz2.open(path, "wb", 1) as file:
        file.write(begin)
        for _ in range(megabytes):
            file.write(block)
    return path


def _log(begin: bytes, unit: bytes, how: str) -> Callable[[Path, int], object]:
    def explode(folder: Path, megabytes: int) -> object:
        path = packed(folder / "log.csv", begin, unit, megabytes, how)
        source = flat(DataSource, "x", plays=path, format="auto", split="leave_one_out")
        return prepare(source, Workspace(folder / "workspace"))

    return explode


def _silence(folder: Path, megabytes: int) -> object:
    with soundfile.SoundFile(folder / "silence.flac", "w", 8_000, 1) as file:
        for _ in range(megabytes):
            file.write(np.zeros(8_000 * 600, np.int16))  # ten minutes
    return decode(folder / "silence.flac", 16_000).note


def _rate(rate: int) -> Callable[[Path, int], object]:
    def explode(folder: Path, megabytes: int) -> object:
        path = folder / "rate.wav"
        soundfile.write(path, np.zeros(100_000, np.int16), 8_000)
        content = path.read_bytes()
        at = content.index(b"fmt ") + 12
        path.write_bytes(content[:at] + struct.pack("<I", rate) + content[at + 4 :])
        return decode(path, 16_000).note

    return explode


def _numpy(shape: str, archive: bool) -> Callable[[Path, int], object]:
    def explode(folder: Path, megabytes: int) -> object:
        header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
        content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(64)
        path = folder / "table.npy"
        path.write_bytes(content)
        if archive:
            path = path.with_suffix(".npz")
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
                file.writestr("embeddings.npy", content)
        return list(read_blocks(path))

    return explode


def _safetensors(shape: list[int]) -> Callable[[Path, int], object]:
    def explode(folder: Path, megabytes: int) -> object:
        entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, 4 * int(np.prod(shape, dtype=object))]}
        header = json.dumps({"embeddings": entry}).encode()
        path = folder / "table.safetensors"
        path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(64))
        return list(read_blocks(path))

    return explode


PACKINGS = ("gz", "zst", "bz2", "zip")
BOMBS: dict[str, Callable[[Path, int], object]] = {
    **{f"WAV of {rate:,} Hz": _rate(rate) for rate in (0, 1, 4_000_000_000)},
    "npy of terabytes": _numpy("(1000000000, 1024)", False),
    "npz of terabytes": _numpy("(1000000000, 1024)", True),
    "safetensors of terabytes": _safetensors([1_000_000_000, 1024]),
    **{
        f"{name} in .{PACKINGS[number % 4]}": _log(begin, unit, PACKINGS[number % 4])
        for number, (name, (begin, unit)) in enumerate(LOGS.items())
    },
    "ten-minute silences": _silence,
}


def _peak() -> int:
    """Returns the largest memory of this program so far, in bytes.

    `getrusage` also counts the process that started it, which may be a larger one.
    """
    status = Path("/proc/self/status")
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def explode(folder: Path, megabytes: int, count: int) -> None:
    """Runs bombs one after the other; prints for each its name, seconds, peak memory, and what was not clean."""
    for name, bomb in list(BOMBS.items())[:count]:
        case = folder / name.replace(" ", "_")
        case.mkdir()
        began, problem = time.monotonic(), None
        try:
            bomb(case, megabytes)
        except MusicrecError as error:
            if "\n" in str(error) or len(str(error)) > 1000:
                problem = f"more than a line: {str(error)[:300]}"
        except BaseException as error:
            problem = f"crashed: {type(error).__name__}: {str(error)[:300]}"
        peak = _peak()
        if peak > _MOST_MEMORY and not problem:
            problem = f"took {peak // MEGABYTE} MB"
        print(json.dumps([name, time.monotonic() - began, peak // MEGABYTE, problem]), flush=True)


def trial(folder: Path, count: int, seed: int = 0, megabytes: int = _SIZE) -> Count:
    """Runs the first `count` bombs, each of so many megabytes."""
    folder.mkdir(parents=True, exist_ok=True)
    root = config_dir().parent
    command = [sys.executable, "-m", "tests.hostile.bombs", str(folder), str(megabytes), str(count)]
    ended = subprocess.run(
        command, capture_output=True, text=True, cwd=root, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    counted = Count("bombs")
    for line in ended.stdout.splitlines():
        if line.startswith("["):
            name, seconds, peak, problem = json.loads(line)
            print(f"  {name}: {seconds:.1f} s, peak of the process {peak} MB", flush=True)
            counted.add(name, problem)
    if counted.tried < min(count, len(BOMBS)):
        counted.add("the process itself", f"ended with {ended.returncode}: {ended.stderr[-300:]}")
    return counted


if __name__ == "__main__":
    explode(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
