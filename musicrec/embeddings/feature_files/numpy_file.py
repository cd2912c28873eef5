"""Reads vectors from .npy, .npz and folders of per-track .npy files."""

from __future__ import annotations

import csv
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from musicrec.embeddings.feature_files.block import Block, blocks_of, rows_per_block
from musicrec.errors import MusicrecError
from musicrec.progress import progress


def read_npy(path: Path, ids: Path | None) -> Iterator[Block]:
    """Yields the rows of a matrix, with the ids in `ids` or in a .txt or .csv of the same name, if there is one."""
    with path.open("rb") as file:
        _check_promise(file, path.stat().st_size)
    return blocks_of(np.load(path, mmap_mode="r", allow_pickle=False), read_ids(ids, beside=path), path)


def read_npz(path: Path, ids: Path | None) -> Iterator[Block]:
    """Yields the rows of an archive with a 1-d array of track ids and a 2-d array of floats, whatever their names."""
    with zipfile.ZipFile(path) as packed:
        for info in packed.infolist():
            with packed.open(info) as member:
                _check_promise(member, info.file_size)
    with np.load(path, allow_pickle=False) as archive:
        arrays = [archive[name] for name in archive.files]
    texts = [array for array in arrays if array.ndim == 1 and array.dtype.kind in "USiu"]
    tables = [array for array in arrays if array.ndim == 2 and array.dtype.kind == "f"]
    if len(texts) != 1 or len(tables) != 1:
        raise MusicrecError(f"{path} must hold one 1-d array of track ids and one 2-d array of floats")
    yield from blocks_of(tables[0], [_text(track) for track in texts[0].tolist()], path)


def _check_promise(file: IO[bytes], size: int) -> None:
    """Refuses an array whose header promises more bytes than its file has, before memory is taken for it.

    Raises:
        ValueError: if it does, or the header is damaged.
    """
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, kind = read(file)
    promised = math.prod(shape) * kind.itemsize
    if promised > size and not kind.hasobject:
        raise ValueError(f"its header promises {promised:,} bytes, the file has {size:,}")


def read_folder(path: Path, ids: Path | None) -> Iterator[Block]:
    """Yields the vectors of a folder with one .npy per track, (dim,) or (1, dim); its track id is its path there."""
    files = folder_files(path)
    if not files:
        raise MusicrecError(f"{path} holds no .npy files, one per track, named by its id")
    tracks: list[str] = []
    vectors: list[np.ndarray] = []
    dim = len(_vector(files[0]))
    with progress(path.name, len(files), unit="files") as advance:
        for number, file in enumerate(files, 1):
            vector = _vector(file)
            if len(vector) != dim:
                raise MusicrecError(f"{file} has {len(vector)} values, {files[0].name} has {dim}")
            tracks.append(file.relative_to(path).with_suffix("").as_posix())
            vectors.append(vector)
            if len(tracks) == rows_per_block(dim) or number == len(files):
                yield Block(tracks, np.stack(vectors))
                advance(len(tracks))
                tracks, vectors = [], []


def folder_files(path: Path) -> list[Path]:
    """Returns the .npy files in a folder and below it, sorted."""
    return sorted(file for file in path.rglob("*.npy") if file.is_file())


def read_ids(path: Path | None, beside: Path) -> list[str] | None:
    """Returns the ids of a text file, one per line, or of a csv's column trackid or track_id.

    Args:
        path: the file; None = the .txt or .csv with the name of `beside`, if there is one.
        beside: the file with the vectors.
    """
    if path is None:
        path = next((other for kind in (".txt", ".csv") if (other := beside.with_suffix(kind)).is_file()), None)
        if path is None:
            return None
    if not path.is_file():
        raise MusicrecError(f"embedding.ids: {path} does not exist")
    with path.open(encoding="utf-8", newline="") as file:
        if path.suffix.lower() != ".csv":
            return file.read().splitlines()
        rows = list(csv.reader(file))
    column = next((rows[0].index(name) for name in ("trackid", "track_id") if rows and name in rows[0]), None)
    return [row[0] for row in rows if row] if column is None else [row[column] for row in rows[1:] if row]


def _vector(path: Path) -> np.ndarray:
    """Returns the vector of a file."""
    try:
        vector = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise MusicrecError(f"{path} cannot be read: {error}") from None
    if vector.dtype.kind not in "fiu":
        raise MusicrecError(f"{path} holds values of type {vector.dtype}, must be numbers")
    if vector.ndim != 1 and vector.shape[:-1] != (1,) * (vector.ndim - 1):
        raise MusicrecError(f"{path} has shape {vector.shape}, must be (dim,) or (1, dim): one vector per track")
    return np.atleast_1d(vector).reshape(-1)


def _text(track: Any) -> str:
    return track.decode() if isinstance(track, bytes) else str(track)
