"""Atomic writing of files, JSON, parquet tables with JSON metadata, lock files, hashes."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicrec.errors import MusicrecError

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

# Key of our JSON in a parquet file's schema metadata.
_PARQUET_KEY = b"musicrec"


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside `path` (same suffix); renames it to `path` on success, deletes it on error.

    Parent folders are created. A reader sees the old file or the new one, never a part of one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Writes `text` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: Any) -> None:
    """Writes `content` as indented JSON, atomically."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n")


def read_json(path: str | Path) -> Any:
    """Returns the content of a JSON file, None if it does not exist."""
    path = Path(path)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def write_parquet(frame: pd.DataFrame, path: str | Path, metadata: dict[str, Any] | None = None) -> None:
    """Writes `frame` without its index as parquet (zstd), atomically; `metadata` is stored as JSON in the schema."""
    # Every command loads this module, and pyarrow takes longer to import than all else of `--cfg job`.
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    table = pa.Table.from_pandas(frame, preserve_index=False)
    kept = dict(table.schema.metadata or {})
    kept[_PARQUET_KEY] = json.dumps(metadata or {}, default=str).encode()
    with atomic_path(path) as temporary:
        pq.write_table(table.replace_schema_metadata(kept), temporary, compression="zstd")


def parquet_metadata(path: str | Path) -> dict[str, Any]:
    """Returns the JSON stored by `write_parquet`, or {} for a file written by another program."""
    import pyarrow.parquet as pq  # noqa: PLC0415 (as above)

    kept = pq.read_schema(path).metadata or {}
    return dict(json.loads(kept.get(_PARQUET_KEY, b"{}")))


@contextmanager
def exclusive(
    path: str | Path, waiting: str | None = None, *, patience: float | None = None, refusal: str = ""
) -> Iterator[None]:
    """Holds a lock file, so that of two processes that need the same missing file only one makes it.

    Args:
        path: the lock file; released also when the process dies.
        waiting: logged once if another process holds it.
        patience: seconds to wait for another process; None = as long as it takes.
        refusal: the message if it takes longer.

    Raises:
        MusicrecError: another process still held the lock after `patience`.
    """
    from filelock import FileLock, Timeout  # noqa: PLC0415 (25 ms, see write_parquet)

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if waiting:
            log.info("%s", waiting)
        try:
            lock.acquire(timeout=-1 if patience is None else patience)
        except Timeout:
            raise MusicrecError(refusal) from None
    try:
        yield
    finally:
        lock.release()


def file_hash(path: str | Path) -> str:
    """Returns the SHA-256 of a file's bytes, 16 hex digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
