"""Atomic writing of files, JSON, CSV, parquet tables with JSON metadata, lock files, hashes."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicrec.disk import disk_problem
from musicrec.errors import DiskError, MusicrecError, first_line
from musicrec.processes import is_running, machine

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

_SPECIAL = re.compile(r'[",\r\n]')

# Key of our JSON in a parquet file's schema metadata.
PARQUET_KEY = b"musicrec"


# What other machines left is deleted after this many seconds without a change.
_ABANDONED = 7 * 86400.0
_TEMPORARY = re.compile(r"\.tmp-(?P<machine>[0-9a-f]{8})-(?P<pid>\d+)-.*", re.DOTALL)
_LEFTOVER = re.compile(r"\.tmp-(\d+|duckdb)-.*", re.DOTALL)  # by versions that did not record the machine


def temporary_name(name: str) -> str:
    """Returns the name of a temporary file or folder of this process, from which `remove_leftovers` knows its owner."""
    return f".tmp-{machine()}-{os.getpid()}-{name}"


@contextmanager
def atomic_path(path: str | Path, *, durable: bool = True, before: Callable[[], None] | None = None) -> Iterator[Path]:
    """Yields a temporary path beside `path` (same suffix); renames it to `path` on success, deletes it on error.

    Parent folders are created. A reader sees the old file or the new one, never a part of one, also after a power cut.

    Args:
        path: the file.
        durable: False leaves it to the system when the bytes reach the disk: for many small files that can be made
            again.
        before: called when only the renaming is left; what it raises keeps the old file.

    Raises:
        DiskError: if the disk is full, read-only or forbidden: names file, file system and free space.
    """
    path = Path(path)
    temporary = path.with_name(temporary_name(path.name))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if durable:
            _sync(temporary)
        if before is not None:
            before()
        temporary.replace(path)
        if durable:
            _sync(path.parent)
    except MusicrecError:
        raise
    except Exception as error:  # libraries raise what they like when they cannot write
        if problem := disk_problem(error, path):
            raise DiskError(problem) from error
        raise
    finally:
        with suppress(OSError):  # what made the writing fail is the error to report
            temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Waits until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        # Some network file systems cannot do that for folders, and rename in order anyway.
        with suppress(OSError) if path.is_dir() else nullcontext():
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Deletes the temporary files and folders in `folder` of processes that died.

    Those of this machine are deleted at once, those of others after a week without a change.
    """
    try:
        found = [path for path in folder.iterdir() if path.name.startswith(".tmp-")]
    except OSError:  # missing, or not to be read
        return
    for path in found:
        owner = _TEMPORARY.fullmatch(path.name)
        with suppress(OSError):
            if owner and owner["machine"] == machine():
                dead = not is_running(int(owner["pid"]))
            else:
                dead = bool(owner or _LEFTOVER.fullmatch(path.name)) and time.time() - path.stat().st_mtime > _ABANDONED
            if dead:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def write_text(path: str | Path, text: str, before: Callable[[], None] | None = None) -> None:
    """Writes `text` as UTF-8, atomically; `before` as in `atomic_path`."""
    with atomic_path(path, before=before) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: Any) -> None:
    """Writes `content` as indented JSON, atomically."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n")


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    r"""Returns rows as CSV; a value with a comma, a quote or any line end is quoted.

    The csv module writes a carriage return as it is, and then reads two lines.

    >>> csv_text([("user_id", "n"), ("a,b", 1), ("c\rd", 2)])
    'user_id,n\n"a,b",1\n"c\rd",2\n'
    """
    return "".join(",".join(map(_csv_field, row)) + "\n" for row in rows)


def _csv_field(value: object) -> str:
    text = str(value)
    return '"' + text.replace('"', '""') + '"' if not text or _SPECIAL.search(text) else text


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
    kept[PARQUET_KEY] = json.dumps(metadata or {}, default=str).encode()
    with atomic_path(path) as temporary:
        described = table.replace_schema_metadata(kept)
        pq.write_table(described, temporary, compression="zstd", write_page_checksum=True)


def parquet_metadata(path: str | Path) -> dict[str, Any]:
    """Returns the JSON stored by `write_parquet`, or {} for a file written by another program."""
    import pyarrow.parquet as pq  # noqa: PLC0415 (as above)

    kept = pq.read_schema(path).metadata or {}
    content = json.loads(kept.get(PARQUET_KEY, b"{}"))
    if not isinstance(content, dict):
        raise ValueError(f"the metadata of {path} are no object")
    return content


def parquet_damage(path: Path) -> str | None:
    """Returns what is wrong with a parquet file that is there, None if all of it can be read."""
    import pyarrow.parquet as pq  # noqa: PLC0415 (as above)

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for _ in file.iter_batches():
                pass
    except (OSError, ValueError) as error:  # those of pyarrow are ValueErrors
        return first_line(error).split(". ")[0].rstrip(".")
    return None


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
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        if waiting:
            log.info("%s", waiting)
        try:
            lock.acquire(timeout=-1 if patience is None else patience)
        except Timeout:
            raise MusicrecError(refusal) from None
    except OSError as error:
        if problem := disk_problem(error, path):
            raise MusicrecError(problem) from error
        raise
    try:
        yield
    finally:
        lock.release()


def file_hash(path: str | Path) -> str:
    """Returns the SHA-256 of a file's bytes, 16 hex digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
