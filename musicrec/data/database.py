"""A DuckDB connection that stays within a memory limit by spilling to disk, and writing its Parquet files."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from musicrec.disk import disk_problem
from musicrec.errors import MusicrecError, first_line
from musicrec.files import temporary_name

# Share of the memory limit; the rest is for Python, its libraries and the blocks of a log that are being parsed.
DATABASE_SHARE = 0.75
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")


@contextmanager
def database(folder: Path, memory_limit: str, threads: int) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yields an in-memory database.

    Args:
        folder: data beyond the memory limit is spilled to a temporary folder in it.
        memory_limit: memory of this process, e.g. 4GB; the database gets DATABASE_SHARE of it.
        threads: threads per query.

    Raises:
        MusicrecError: if the limit is not a memory size, or memory or disk are insufficient.
    """
    with spill_folder(folder) as spill, duckdb.connect() as connection:
        try:
            connection.execute(f"SET memory_limit = {literal(memory_limit)}")
            connection.execute(f"SET memory_limit = '{int(DATABASE_SHARE * _limit(connection))}B'")
        except duckdb.Error as error:
            raise MusicrecError(
                f"data.memory_limit={memory_limit} is not a memory size; e.g. data.memory_limit=4GB"
            ) from error
        connection.execute(f"SET temp_directory = {literal(spill)}")
        connection.execute(f"SET threads = {threads}")
        connection.execute("SET enable_progress_bar = false")  # it would write to standard output
        connection.execute("SET TimeZone = 'UTC'")
        # Queries ask for an order where it matters; keeping it everywhere costs memory.
        connection.execute("SET preserve_insertion_order = false")
        try:
            yield connection
        except duckdb.OutOfMemoryException as error:
            raise MusicrecError(
                f"data.memory_limit={memory_limit} is too small, or the disk of {folder} is full; raise the limit or "
                f"free some space ({first_line(error)})"
            ) from error
        except duckdb.IOException as error:
            problem = disk_problem(error, folder) or f"{folder} cannot be written or read: {first_line(error)}"
            raise MusicrecError(problem) from error


@contextmanager
def spill_folder(folder: Path) -> Iterator[Path]:
    """Yields a new folder in another one, and deletes it at the end; if this process dies, the next start does."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        spill = Path(tempfile.mkdtemp(prefix=temporary_name("duckdb-"), dir=folder))
    except OSError as error:
        raise MusicrecError(disk_problem(error, folder) or f"{folder} cannot be written: {error}") from error
    try:
        yield spill
    finally:
        shutil.rmtree(spill, ignore_errors=True)


def literal(text: str | Path) -> str:
    """Returns an SQL string literal."""
    return "'" + str(text).replace("'", "''") + "'"


def copy_to_parquet(
    connection: duckdb.DuckDBPyConnection, query: str, path: Path, metadata: dict[str, Any] | None = None
) -> None:
    """Writes the rows of a query as Parquet (zstd).

    Args:
        connection: where the query runs.
        query: its rows are written in its order.
        path: the file; the caller gives a temporary one (`musicrec.files.atomic_path`).
        metadata: stored as `musicrec.files.write_parquet` does.
    """
    stored = literal(json.dumps(metadata or {}, default=str))
    connection.execute(
        f"""
        COPY ({query}) TO {literal(path)}
        (
            FORMAT parquet, PARQUET_VERSION v2, COMPRESSION zstd, COMPRESSION_LEVEL 1,
            KV_METADATA {{musicrec: {stored}}}
        )
        """
    )


def _limit(connection: duckdb.DuckDBPyConnection) -> float:
    """Returns the memory limit in bytes, which DuckDB reports as e.g. 3.7 GiB."""
    [(text,)] = connection.execute("SELECT current_setting('memory_limit')").fetchall()
    number, unit = text.split()
    return float(number) * 1024 ** _UNITS.index(unit)
