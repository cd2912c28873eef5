"""export: writes what another framework needs to be trained on the splits of a workspace."""

from __future__ import annotations

import hashlib
import logging
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from musicrec.columns import TRACK, USER
from musicrec.embeddings.base import Embedding
from musicrec.embeddings.tables.vector_options import VectorOptions
from musicrec.errors import MusicrecError, demand
from musicrec.export.dataset import Dataset, collect
from musicrec.export.formats import FORMATS
from musicrec.files import exclusive, file_hash, read_json, write_json, write_parquet, write_text
from musicrec.workspace import Workspace

log = logging.getLogger(__name__)

# Raise it when the same dataset gives other files.
_VERSION = 2


def export(
    workspace: Workspace,
    framework: str,
    name: str,
    embedding: Embedding,
    options: VectorOptions,
    *,
    seed: int = 0,
    repeat: bool = False,
    overwrite: bool = False,
) -> Path:
    """Writes `export/{framework}/` of a workspace, unless it is up to date, and returns the folder.

    `users.pqt` and `items.pqt` say which user and track each number stands for. `export.json` is written last: without
    it the folder is not complete, and the next call writes it again.

    Args:
        workspace: has the splits and the embedding.
        framework: one of FORMATS.
        name: of the data set, which files and folders are called by.
        embedding: whose vectors are exported; `embedding=none`: none are.
        options: what is done to the vectors first.
        seed: of a permutation of the vectors.
        repeat: whether held-out tracks that the user played in train count.
        overwrite: write also what is up to date.

    Raises:
        MusicrecError: there is no such framework, or splits or vectors are missing.
    """
    demand("export", framework, framework in FORMATS, " or ".join(FORMATS))
    form, folder = FORMATS[framework], workspace.root / "export" / framework
    dataset = _collected(workspace, name, embedding, options, seed, repeat)
    record = {
        "framework": framework,
        "version": _VERSION,
        "name": name,
        "embedding": embedding.name if dataset.vectors is not None else None,
        "inputs": _inputs(workspace, dataset),
    }
    usage = form.usage.format(folder=folder)
    with exclusive(folder / ".writing.lock", f"waiting: another process is writing {folder}"):
        known = _read(folder / "export.json")
        if not overwrite and known is not None and {key: known.get(key) for key in record} == record:
            files = [folder / str(file) for file in known.get("files", [])]
            if files and all(file.is_file() for file in files):
                log.info("%s is up to date; run it with: %s", folder, usage)
                return folder
        (folder / "export.json").unlink(missing_ok=True)
        paths = form.write(folder, dataset)
        for stem, frame in zip(("users", "items"), dataset.mapping(), strict=True):
            paths.append(folder / f"{stem}.pqt")
            write_parquet(frame, paths[-1])
        script = resources.files("musicrec.export.scripts").joinpath(f"{form.script}.py")
        paths.append(folder / f"{form.script}.py")
        write_text(paths[-1], script.read_text(encoding="utf-8"))
        write_json(folder / "export.json", {**record, "files": [str(path.relative_to(folder)) for path in paths]})
    rows = ", ".join(f"{len(frame):,} {phase}" for phase, frame in dataset.phases.items())
    vectors = f"vectors of {embedding.name}" if dataset.vectors is not None else "no vectors"
    log.info("%s: %s rows, %d items, %s; run it with: %s", folder, rows, len(dataset.tracks), vectors, usage)
    return folder


def _collected(
    workspace: Workspace, name: str, embedding: Embedding, options: VectorOptions, seed: int, repeat: bool
) -> Dataset:
    """Returns the dataset; an embedding that was not extracted is refused with a hint."""
    try:
        return collect(workspace, name, embedding, options, seed, repeat)
    except MusicrecError as error:
        if embedding.needs_audio and not workspace.embedding(embedding.name).is_file() and embedding.name in str(error):
            raise MusicrecError(f"{error}; or export the splits alone with embedding=none") from None
        raise


def _inputs(workspace: Workspace, dataset: Dataset) -> dict[str, Any]:
    """Returns hashes of what an export is made from."""
    splits = {path.stem: file_hash(path) for path in sorted(workspace.data_dir.glob("[!.]*.pqt"))}
    digest = hashlib.blake2b(digest_size=8)
    if dataset.vectors is not None:
        digest.update(np.ascontiguousarray(dataset.vectors).data)
    rows = {phase: len(frame) for phase, frame in dataset.phases.items()}
    ids = hashlib.blake2b("\n".join(dataset.track_ids).encode(), digest_size=8).hexdigest()
    return {"splits": splits, "rows": rows, TRACK: ids, USER: len(dataset.users), "vectors": digest.hexdigest()}


def _read(path: Path) -> dict[str, Any] | None:
    """Returns the record of an earlier export, None if there is none that can be read."""
    try:
        content = read_json(path)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None
