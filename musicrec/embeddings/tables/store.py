"""Reading and writing stored embeddings: `{name}.npy` with one row per track, `{name}.json` beside it."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from musicrec.embeddings.tables.embedding_info import EmbeddingInfo
from musicrec.errors import MusicrecError, first_line
from musicrec.files import atomic_path, write_json
from musicrec.workspace import TrackIndex, Workspace

log = logging.getLogger(__name__)

_BLOCK = 1 << 26  # bytes that are hashed at a time


def read_info(path: Path) -> EmbeddingInfo | None:
    """Returns the content of a `{name}.json`, None if there is no such file or it is empty.

    Raises:
        MusicrecError: damaged; names the command that replaces it.
    """
    if not path.is_file():
        return None
    try:
        content = dict(json.loads(path.read_text(encoding="utf-8")))
        return EmbeddingInfo.from_json(content) if content else None
    except (ValueError, TypeError) as error:
        raise MusicrecError(f"{path} is damaged ({error}); recreate it with extract.overwrite=true") from None


def open_table(path: Path) -> np.ndarray:
    """Returns the vectors in a `.npy` file, (tracks, dim), mapped into memory.

    Raises:
        MusicrecError: if it is no such file, or not all of it is there.
    """
    try:
        vectors: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError, OverflowError) as error:
        raise _damaged(path, first_line(error)) from None
    if not isinstance(vectors, np.ndarray) or vectors.ndim != 2 or vectors.dtype.kind not in "fiu":
        raise _damaged(path, f"it has shape {np.shape(vectors)}; must be numbers of shape (tracks, dim)")
    return vectors


def content_hash(vectors: np.ndarray) -> str:
    """Returns the BLAKE2b of a table's numbers, 32 hex digits."""
    digest = hashlib.blake2b(digest_size=16)
    step = max(1, _BLOCK // max(1, vectors.shape[1] * vectors.itemsize))
    for start in range(0, len(vectors), step):
        digest.update(np.ascontiguousarray(vectors[start : start + step]).data)
    return digest.hexdigest()


def check_content(path: Path, vectors: np.ndarray, info: EmbeddingInfo) -> None:
    """Refuses a table that does not hold what was written (MusicrecError); files of earlier versions do not say it."""
    if info.vectors_hash is not None and content_hash(vectors) != info.vectors_hash:
        raise _damaged(path, f"its numbers are not those that {info.name}.json records")


def _damaged(path: Path, why: str) -> MusicrecError:
    remedy = f"python extract.py embedding={path.stem} extract.overwrite=true"
    return MusicrecError(f"{path} is damaged ({why}); recreate it: {remedy}")


@contextmanager
def writing(path: Path, shape: tuple[int, int]) -> Iterator[np.ndarray]:
    """Yields a float32 array in a file that becomes `path` at the end; it may be larger than memory."""
    with atomic_path(path) as temporary:
        matrix = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape)
        _reserve(temporary)
        yield matrix
        matrix.flush()
        del matrix


def _reserve(path: Path) -> None:
    """Takes the space that a file says it has: writing to a mapped file on a full disk would kill the process."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            size = os.fstat(file.fileno()).st_size
            if size:
                os.posix_fallocate(file.fileno(), 0, size)


def write_info(path: Path, info: EmbeddingInfo) -> None:
    """Writes a `{name}.json` with the hash of the `.npy` beside it and the time of now."""
    hashed = content_hash(open_table(path.with_suffix(".npy")))
    created = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(path, replace(info, vectors_hash=hashed, created=created).to_json())


def write(workspace: Workspace, info: EmbeddingInfo, vectors: np.ndarray) -> None:
    """Writes `{name}.npy` and `{name}.json` of an embedding whose vectors, (tracks, dim), are in memory."""
    with writing(workspace.embedding(info.name), vectors.shape) as matrix:
        matrix[:] = vectors
    write_info(workspace.embedding_info(info.name), info)


def differences(recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Returns "key=recorded (now key=wanted)" for every key whose values differ, "" if none do."""
    keys = dict.fromkeys([*recorded, *wanted])
    plain = json.loads(json.dumps(wanted, default=str))  # tuples become lists, as in the file
    return ", ".join(
        f"{key}={_show(recorded.get(key))} (now {key}={_show(plain.get(key))})"
        for key in keys
        if recorded.get(key) != plain.get(key)
    )


def _show(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def load(workspace: Workspace, name: str, settings: Mapping[str, Any] | None, tracks: TrackIndex) -> np.ndarray:
    """Returns a stored embedding, (tracks, dim) float32, after checking that it is what the run asks for.

    A `{name}.npy` without `{name}.json` (made elsewhere) is accepted with a warning if it has one row per track.

    Args:
        workspace: where it is stored.
        name: of the embedding.
        settings: those asked for, compared with those recorded; None: whatever they are.
        tracks: the index that the rows must follow.

    Raises:
        MusicrecError: missing, other settings, other tracks; names the command that helps.
    """
    path = workspace.embedding(name)
    remedy = f"python extract.py embedding={name}"
    if not path.is_file():
        raise MusicrecError(f"{path} is missing: make it with: {remedy}")
    info = read_info(workspace.embedding_info(name))
    vectors = open_table(path)
    if info is None:
        log.warning("%s has no %s.json; it is used as is, row i for track idx i", path, name)
    elif info.tracks != len(vectors):
        raise MusicrecError(f"{path} and its .json do not match, an extraction was interrupted: {remedy}")
    else:
        if settings is not None:
            check_settings(info, name, settings, path)
        tracks.check(info.stamp(), path, f"{remedy} extract.overwrite=true")
    if len(vectors) != len(tracks):
        new = len(tracks) - len(vectors)
        what = f"{new} new tracks of trackid_sorted.csv have no row yet" if new > 0 else f"has {-new} rows too many"
        raise MusicrecError(f"{path}: {what}: {remedy}")
    if info is not None:
        check_content(path, vectors, info)
    return np.array(vectors, dtype=np.float32)


def check_settings(info: EmbeddingInfo, name: str, settings: Mapping[str, Any], path: Path) -> None:
    """Refuses an embedding made with other settings.

    Without a checkpoint in `settings` any recorded one is accepted: only the extraction needs it.
    """
    recorded, wanted = dict(info.settings), dict(settings)
    if wanted.get("checkpoint") is None:
        wanted.pop("checkpoint", None)
        recorded.pop("checkpoint", None)
    found = differences(recorded, wanted)
    if found:
        raise MusicrecError(
            f"{path} was made with {found}: use the recorded settings or another embedding.name, or recreate it: "
            f"python extract.py embedding={name} extract.overwrite=true"
        )
