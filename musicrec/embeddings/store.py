"""The stored embeddings: `{name}.npy`, one row a track, and `{name}.json`, what the rows are."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from musicrec.errors import MusicrecError
from musicrec.files import atomic_path, write_json

if TYPE_CHECKING:
    from musicrec.embeddings.base import Embedding
    from musicrec.workspace import TrackIndex, Workspace

log = logging.getLogger(__name__)

_LIBRARIES = ("musicrec", "torch", "numpy", "soundfile", "soxr", "transformers")


def read_info(path: Path) -> dict[str, Any]:
    """Returns the content of a `{name}.json`, {} if there is none."""
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise MusicrecError(f"{path} is damaged ({error}): make it anew with extract.overwrite=true") from None


@contextmanager
def writing(path: Path, shape: tuple[int, int]) -> Iterator[np.ndarray]:
    """Yields a float32 array in a file that becomes `path` at the end: tables larger than memory can be filled."""
    with atomic_path(path) as temporary:
        table = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape)
        yield table
        table.flush()
        del table


def write_info(path: Path, info: dict[str, Any]) -> None:
    """Writes a `{name}.json`."""
    write_json(path, info | {"created": datetime.now(UTC).isoformat(timespec="seconds")})


def write_table(
    workspace: Workspace, embedding: Embedding, tracks: TrackIndex, values: np.ndarray, info: dict[str, Any]
) -> None:
    """Writes `{name}.npy` and `{name}.json` of an embedding that needs no audio."""
    with writing(workspace.embedding(embedding.name), values.shape) as table:
        table[:] = values
    write_info(workspace.embedding_info(embedding.name), describe(embedding, tracks, values.shape[1]) | info)


def describe(embedding: Embedding, tracks: TrackIndex, dim: int) -> dict[str, Any]:
    """Returns the part of `{name}.json` that identifies the embedding."""
    settings = embedding.settings()
    return {
        "name": embedding.name,
        "model": settings.get("model", type(embedding).__name__),
        "dim": dim,
        **tracks.stamp(),
        "settings": settings,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the libraries that may change the numbers."""
    found = {"python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def differences(recorded: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Returns "key=recorded (now key=wanted)" for every key whose values differ, "" if none do."""
    keys = dict.fromkeys([*recorded, *wanted])
    plain = json.loads(json.dumps(wanted, default=str))  # tuples become lists, as in the file
    return ", ".join(
        f"{key}={_show(recorded.get(key))} (now {key}={_show(plain.get(key))})"
        for key in keys
        if recorded.get(key) != plain.get(key)
    )


def _show(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def load(workspace: Workspace, embedding: Embedding, tracks: TrackIndex) -> np.ndarray:
    """Returns a stored table, (tracks, dim) float32, after checking that it is what the run asks for.

    A table without `{name}.json` (made elsewhere) is taken if it has one row a track, with a warning.

    Raises:
        MusicrecError: missing, other settings, other tracks; names the command that helps.
    """
    path = workspace.embedding(embedding.name)
    remedy = f"python extract.py embedding={embedding.name}"
    if not path.is_file():
        raise MusicrecError(f"{path} is missing: make it with: {remedy}")
    info = read_info(workspace.embedding_info(embedding.name))
    try:
        values = np.load(path, allow_pickle=False)
    except ValueError as error:
        raise MusicrecError(f"{path} is damaged ({error}): make it anew: {remedy} extract.overwrite=true") from None
    if values.ndim != 2:
        raise MusicrecError(f"{path} has shape {values.shape}, it must be (tracks, dim)")
    if not info:
        log.warning("%s has no %s.json: taken as it is, row i for track idx i", path, embedding.name)
    elif info.get("tracks") != len(values):
        raise MusicrecError(f"{path} and its .json do not belong together, an extraction was interrupted: {remedy}")
    else:
        check_settings(info, embedding, path)
    tracks.check(info, path, f"{remedy} extract.overwrite=true")
    if len(values) != len(tracks):
        new = len(tracks) - len(values)
        what = f"{new} new tracks of trackid_sorted.csv have no row yet" if new > 0 else f"has {-new} rows too many"
        raise MusicrecError(f"{path}: {what}: {remedy}")
    return values.astype(np.float32, copy=False)


def check_settings(info: dict[str, Any], embedding: Embedding, path: Path) -> None:
    """Refuses a table made with other settings; without a checkpoint now, any is fine: only extraction needs it."""
    recorded, wanted = dict(info.get("settings", {})), embedding.settings()
    if wanted.get("checkpoint") is None:
        wanted.pop("checkpoint", None)
        recorded.pop("checkpoint", None)
    found = differences(recorded, wanted)
    if found:
        raise MusicrecError(
            f"{path} was made with {found}: give the settings it was made with, or another embedding.name, or make it "
            f"anew: python extract.py embedding={embedding.name} extract.overwrite=true"
        )
