"""Reads a feature file of any supported format, chosen by its extension."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
from safetensors import SafetensorError

from musicrec.embeddings.feature_files.block import Block
from musicrec.embeddings.feature_files.numpy_file import folder_files, read_folder, read_npy, read_npz
from musicrec.embeddings.feature_files.parquet_file import read_parquet
from musicrec.embeddings.feature_files.safetensors_file import read_safetensors
from musicrec.embeddings.feature_files.text_table import COMPRESSIONS, DELIMITERS, read_text_table
from musicrec.errors import MusicrecError, first_line
from musicrec.files import file_hash

Reader = Callable[[Path, Path | None], Iterator[Block]]

_READERS: dict[str, Reader] = {
    ".npy": read_npy,
    ".npz": read_npz,
    ".parquet": read_parquet,
    ".pqt": read_parquet,
    ".safetensors": read_safetensors,
    **dict.fromkeys(DELIMITERS, read_text_table),
}


def read_blocks(path: Path, ids: Path | None = None, column: str | None = None) -> Iterator[Block]:
    """Yields the rows of a feature file, or of a folder of per-track .npy files, in blocks of limited size.

    Args:
        path: the file or folder.
        ids: file with the track ids of a matrix without ids.
        column: the column of lists, of a Parquet file that has several.

    Raises:
        MusicrecError: unknown extension, damaged, or not laid out as expected.
    """
    try:
        yield from _reader(path)(path, ids) if column is None else read_parquet(path, ids, column)
    except (ValueError, OSError, EOFError, pa.ArrowException, SafetensorError) as error:
        reason = "it holds Python objects, save ids as np.array(ids, dtype=str)" if "pickle" in str(error) else ""
        raise MusicrecError(f"{path} cannot be read: {reason or first_line(error)}") from None


def content_hash(path: Path) -> str:
    """Returns the SHA-256 of a file, or of the names and contents of a folder's .npy files, 16 hex digits."""
    if path.is_file():
        return file_hash(path)
    digest = hashlib.sha256()
    for file in folder_files(path):
        digest.update(f"{file.relative_to(path).as_posix()}\0{file_hash(file)}\n".encode())
    return digest.hexdigest()[:16]


def _reader(path: Path) -> Reader:
    if path.is_dir():
        return read_folder
    suffix = path.suffix.lower()
    if suffix in COMPRESSIONS:
        suffix = Path(path.stem).suffix.lower()
        if suffix in DELIMITERS:
            return read_text_table
    elif suffix in _READERS:
        return _READERS[suffix]
    compressed = ", ".join(COMPRESSIONS)
    raise MusicrecError(
        f"{path}: unknown extension {path.suffix!r}; allowed: {' '.join(_READERS)}, of .csv and .tsv also {compressed}"
    )
