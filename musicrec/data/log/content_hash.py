"""content_hash: what a listening log holds, wherever it lies; remembered by size and time of its last change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from musicrec.data.log.files import identified_files
from musicrec.errors import DiskError
from musicrec.files import write_json
from musicrec.workspace import Workspace


def hashes_path(workspace: Workspace) -> Path:
    """Returns the path of the file that remembers hashes."""
    return workspace.root / ".hashes.json"


def content_hash(path: Path, remembered: Path) -> str:
    """Returns the BLAKE2b of a file's bytes, 32 hex digits.

    The bytes are read only if the file is not known or has another size or modification time than then.

    Args:
        path: the file.
        remembered: the file that holds the hashes of earlier calls.
    """
    found = path.stat()
    key, state = str(path.resolve()), [found.st_size, found.st_mtime_ns]
    known = _read(remembered)
    entry = known.get(key)
    if isinstance(entry, list) and len(entry) == 3 and entry[:2] == state and isinstance(entry[2], str):
        return entry[2]
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    with suppress(OSError, DiskError):  # a workspace that cannot be written to
        write_json(remembered, {**known, key: [*state, digest]})
    return digest


def log_hashes(paths: Sequence[Path], remembered: Path) -> list[str]:
    """Returns the hashes of the files of a listening log; empty if one of them is missing or unclear.

    Args:
        paths: `data.plays`.
        remembered: the file that holds the hashes of earlier calls.
    """
    return [content_hash(file, remembered) for file in identified_files(paths)]


def _read(path: Path) -> dict[str, object]:
    """Returns the hashes that a file holds, none if it is missing or damaged."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}
