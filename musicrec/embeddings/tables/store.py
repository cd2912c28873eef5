"""Reading and writing stored embeddings: `{name}.npy` with one row per track, `{name}.json` beside it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from musicrec.embeddings.tables.embedding_info import EmbeddingInfo
from musicrec.errors import MusicrecError
from musicrec.files import atomic_path, write_json
from musicrec.workspace import TrackIndex, Workspace

log = logging.getLogger(__name__)


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


@contextmanager
def writing(path: Path, shape: tuple[int, int]) -> Iterator[np.ndarray]:
    """Yields a float32 array in a file that becomes `path` at the end; it may be larger than memory."""
    with atomic_path(path) as temporary:
        matrix = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape)
        yield matrix
        matrix.flush()
        del matrix


def write_info(path: Path, info: EmbeddingInfo) -> None:
    """Writes a `{name}.json` with the time of now."""
    write_json(path, replace(info, created=datetime.now(UTC).isoformat(timespec="seconds")).to_json())


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
    try:
        vectors = np.load(path, allow_pickle=False)
    except ValueError as error:
        raise MusicrecError(f"{path} is damaged ({error}); recreate it: {remedy} extract.overwrite=true") from None
    if vectors.ndim != 2:
        raise MusicrecError(f"{path} has shape {vectors.shape}; must be (tracks, dim)")
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
    return vectors.astype(np.float32, copy=False)


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
