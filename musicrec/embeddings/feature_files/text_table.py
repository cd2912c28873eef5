"""Reads vectors from .csv and .tsv, plain or compressed, one float per column; converted once and kept in the cache.

Music4All-Onion's `id_{feature}.tsv.bz2` are such files. A file is read in blocks, so memory does not grow with it, and
the conversion, float32 values and a list of ids, is found again by the SHA-256 of its content.
"""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from musicrec.embeddings.checkpoints.cache import cache_dir
from musicrec.embeddings.feature_files.block import Block, blocks_of
from musicrec.embeddings.feature_files.id_column import id_column
from musicrec.errors import MusicrecError, first_line
from musicrec.files import atomic_path, exclusive, file_hash, read_json, write_json
from musicrec.progress import progress

log = logging.getLogger(__name__)

DELIMITERS = {".tsv": "\t", ".csv": ","}
# Ending of a compressed file -> pyarrow's name.
COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
_NULLS = ["", "NA", "N/A", "#N/A", "NULL", "null", "None", "nan", "NaN", "NAN", "-nan"]
# Names of columns that number the rows, as programs add them beside the ids.
_ROW_NUMBERS = ("", "unnamed: 0", "index", "idx")
_BLOCK_BYTES = 16 << 20
# Names 0, 1, 2, ... of so many columns are a header, not the values of a track.
_COUNTED = 8
# Characters of a message.
_LONGEST = 200
_MEGABYTE = 1 << 20
# Changed when a conversion would give something else for the same file.
_VERSION = 1


def read_text_table(path: Path, ids: Path | None) -> Iterator[Block]:
    """Yields the rows of a file, from its conversion in the cache, which is made if it is missing.

    Raises:
        MusicrecError: truncated, or a column holds something else than numbers; names it.
    """
    folder = cache_dir() / "features"
    stem = folder / f"{file_hash(path)}-v{_VERSION}"
    with exclusive(stem.with_suffix(".lock"), f"waiting: another process is converting {path}"):
        if _converted(stem) is None:
            _convert(path, stem)
    found = _converted(stem)
    assert found is not None
    yield from blocks_of(*found, path)


def _converted(stem: Path) -> tuple[np.ndarray, list[str]] | None:
    """Returns a conversion, mapped from its files, None if there is none or it is damaged."""
    content, values = read_json(stem.with_suffix(".json")), stem.with_suffix(".f32")
    if content is None or not values.is_file():
        return None
    ids, dim = content["ids"], content["dim"]
    if values.stat().st_size != 4 * dim * len(ids):
        return None
    return np.memmap(values, dtype="<f4", mode="r", shape=(len(ids), dim)), ids


def _convert(path: Path, stem: Path) -> None:
    """Writes the conversion of a file: `.f32`, and `.json`, which says that it is complete."""
    log.info("reading %s once; its conversion is kept in %s", path, stem.parent)
    ids: list[str] = []
    dim = 0
    try:
        with atomic_path(stem.with_suffix(".f32")) as temporary, temporary.open("wb") as out:
            for tracks, values in _parsed(path):
                ids += tracks
                dim = values.shape[1]
                out.write(values.astype("<f4", copy=False).data)
    except (pa.ArrowInvalid, OSError, EOFError) as error:
        raise MusicrecError(f"{path} cannot be read: {first_line(error)}") from None
    if not ids:
        raise MusicrecError(f"{path} holds no vectors")
    write_json(stem.with_suffix(".json"), {"source": path.name, "dim": dim, "ids": ids})


def _parsed(path: Path) -> Iterator[tuple[list[str], np.ndarray]]:
    """Yields ids and values, (rows, dim) float32, of blocks of lines."""
    names, header, delimiter = _layout(path)
    found = id_column(names) if header else None
    key = names.index(found) if found is not None else 0
    ignored = [number for number, name in enumerate(names) if header and number != key and _numbers_rows(name)]
    wanted = [str(number) for number in range(len(names)) if number != key and number not in ignored]
    if not wanted:
        raise MusicrecError(f"{path} has one column; must have the track ids and one column per dimension")
    if ignored:
        log.warning("%s: skipping the row numbers in column %s", path, ", ".join(repr(names[one]) for one in ignored))
    with (
        path.open("rb") as raw,
        progress(path.name, path.stat().st_size // _MEGABYTE, unit="MB") as advance,
        _naming(path, names),
    ):
        reader = pa_csv.open_csv(
            _decompressed(raw, path),
            read_options=pa_csv.ReadOptions(
                column_names=[str(number) for number in range(len(names))],
                skip_rows=int(header),
                block_size=_BLOCK_BYTES,
            ),
            parse_options=pa_csv.ParseOptions(delimiter=delimiter),
            convert_options=pa_csv.ConvertOptions(
                column_types={str(key): pa.string()} | dict.fromkeys(wanted, pa.float32()),
                include_columns=[str(key), *wanted],
                null_values=_NULLS,
            ),
        )
        done = 0
        while True:
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                break
            columns = [column.to_numpy(zero_copy_only=False) for column in batch.columns[1:]]
            yield batch.column(0).to_pylist(), np.stack(columns, axis=1)
            now = raw.tell() // _MEGABYTE
            advance(now - done)
            done = now


def _layout(path: Path) -> tuple[list[str], bool, str]:
    """Returns the names of the columns (numbers from 1 without a header), whether there is a header, the delimiter."""
    with path.open("rb") as raw:
        line = _first_line(_decompressed(raw, path))
    suffix = next(kind for kind in path.suffixes[::-1] if kind.lower() in DELIMITERS).lower()
    usual = DELIMITERS[suffix]
    delimiter = usual if usual in line else max("\t,;", key=line.count)
    cells = next(csv.reader([line], delimiter=delimiter), [])
    if _is_header(cells):
        return cells, True, delimiter
    return [str(number) for number in range(1, len(cells) + 1)], False, delimiter


def _first_line(stream: Any) -> str:
    """Returns the first line of a stream of bytes, without its line break."""
    text = b""
    while b"\n" not in text:
        more = stream.read(_MEGABYTE)
        if not more:
            break
        text += more
    return text.split(b"\n", 1)[0].decode("utf-8-sig", errors="replace").rstrip("\r")


def _is_header(cells: list[str]) -> bool:
    """Returns whether the cells of the first line are names.

    They are if one of them is a usual name of an id, if the first is empty, if another is no number, or if the others
    count from 0 or 1 and are too many for a coincidence.

    >>> [_is_header(line.split(",")) for line in ("id,0,1", "song,a,b", "x7,0.5,-1e-3", "x7,0,1,2", "x7,,nan")]
    [True, True, False, False, False]
    """
    if id_column(cells) or not cells or not cells[0]:
        return True
    others = cells[1:]
    counted = [[str(number) for number in range(start, start + len(others))] for start in (0, 1)]
    return not all(_is_number(cell) for cell in others) or (len(others) >= _COUNTED and others in counted)


def _is_number(cell: str) -> bool:
    try:
        float(cell or "nan")
    except ValueError:
        return cell in _NULLS
    return True


def _numbers_rows(name: str) -> bool:
    return name.strip().lower() in _ROW_NUMBERS


def _decompressed(raw: IO[bytes], path: Path) -> Any:
    """Returns a stream of the text of a file."""
    kind = COMPRESSIONS.get(path.suffix.lower())
    stream = pa.PythonFile(raw, mode="r")
    return pa.CompressedInputStream(stream, kind) if kind else stream


@contextmanager
def _naming(path: Path, names: list[str]) -> Iterator[None]:
    """Names the column in what pyarrow says about a value."""
    try:
        yield
    except pa.ArrowInvalid as error:
        raise MusicrecError(f"{path}: {_named(first_line(error), names)}") from None


def _named(message: str, names: list[str]) -> str:
    """Returns pyarrow's message about a column with the column's name.

    >>> _named("In CSV column #1: CSV conversion error to float: invalid value 'rock'", ["id", "genre"])
    "column genre holds 'rock', which is no number; remove the column, or its row"
    """
    found = re.search(r"In CSV column #(\d+).*invalid value '(.*)'", message)
    if not found:
        return message[:_LONGEST]  # it may quote a whole line
    return f"column {names[int(found[1])]} holds {found[2]!r}, which is no number; remove the column, or its row"
