"""Checkpoints in several files: the index that the hub has for large models names the file of every tensor."""

from __future__ import annotations

import json
from pathlib import Path, PurePath

from musicrec.errors import MusicrecError

_INDEX = ".index.json"


def is_index(name: str) -> bool:
    """Returns whether a file names the files of a checkpoint instead of holding tensors."""
    return name.endswith(_INDEX)


def shard_names(index: Path) -> list[str]:
    """Returns the names of the files that an index lists; they lie beside it.

    Raises:
        MusicrecError: it is damaged, or names a file in another folder.
    """
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError):
        names = []
    if not names or any(not isinstance(name, str) or PurePath(name).name != name for name in names):
        raise MusicrecError(f"{index} does not list the files of a checkpoint; fetch it again")
    return names


def shard_files(path: Path) -> list[Path]:
    """Returns the files with the tensors of a checkpoint: those that an index lists, else the file itself.

    Raises:
        MusicrecError: one is missing.
    """
    if not is_index(path.name):
        return [path]
    files = [path.with_name(name) for name in shard_names(path)]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise MusicrecError(f"{path} lists {len(files)} files, but {', '.join(missing[:3])} is missing; fetch it again")
    return files
