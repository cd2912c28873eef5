"""Precomputed: vectors made by another program, read from .npy, .npz or .parquet with track ids."""

from __future__ import annotations

import csv
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from musicrec.embeddings.base import Embedding
from musicrec.errors import MusicrecError
from musicrec.files import file_hash
from musicrec.workspace import TrackIndex, Workspace

log = logging.getLogger(__name__)

_HELP = "give it as embedding.path=FILE (.npy with ids beside it, .npz or .parquet)"


class Precomputed(Embedding):
    """Vectors read from a file and put in the order of the track index; tracks it lacks become NaN rows.

    - `.parquet`: a column of track ids (`track_id`, `trackid` or the first that holds strings) and either one column of
      lists or one column per dimension;
    - `.npz`: a 1-d array of track ids and a 2-d array, whatever their names;
    - `.npy`: (rows, dim), with the ids in `ids` or in a file of the same name with the extension .txt or .csv beside it
      (one per line, or the column `trackid` or `track_id`). Without ids, row i is track idx i. Where the index was made
      from a log, that is only accepted if its track ids are 0, 1, 2, …; `ids=index` accepts it for any index.

    Without a path it is `embeddings/{name}.npy` of the workspace.
    """

    def __init__(
        self,
        name: str = "precomputed",
        path: str | None = None,
        ids: str | None = None,
        trainable: bool = False,
        checkpoint: str | None = None,
        max_seconds: float | None = None,
        pad: bool = False,
        layer: int | str | None = None,
        sample_rate: int | None = None,
    ):
        """Keeps the paths; nothing is read yet.

        Args:
            name: names the files; give each table its own.
            path: the file.
            ids: file with the track ids of a .npy; `index`: its rows follow trackid_sorted.csv.
            trainable: recommenders learn the table, starting from these values.
            checkpoint: the same as `path`, under the name that other embeddings have for their file.
            max_seconds: ignored, like all keys that follow: accepted so that a sweep can set them for every embedding.
            pad: ignored.
            layer: ignored.
            sample_rate: ignored.
        """
        super().__init__(name, trainable)
        given = path or checkpoint
        self.path = Path(given).expanduser() if given else None
        self.follows_index = ids == "index"
        self.ids = Path(ids).expanduser() if ids and not self.follows_index else None

    def settings(self) -> dict[str, Any]:
        """Returns the file's path."""
        return {"model": "Precomputed", "checkpoint": str(self.path) if self.path else None}

    def checkpoint_hash(self) -> str | None:
        """Returns the SHA-256 of the file."""
        return file_hash(self._existing()) if self.path else None

    def table(self, workspace: Workspace, tracks: TrackIndex) -> np.ndarray:
        """Returns the vectors in the order of the track index, (tracks, dim) float32, NaN where the file lacks one.

        Raises:
            MusicrecError: missing, unreadable, or without any of the tracks.
        """
        if self.path is None:
            if not workspace.embedding(self.name).is_file():
                raise MusicrecError(f"embedding={self.name} has no file: {_HELP}")
            return super().table(workspace, tracks)
        ids, values = self._read()
        if values.ndim != 2:
            raise MusicrecError(f"{self.path} has shape {values.shape}, must be (tracks, dim)")
        values = values.astype(np.float32, copy=False)
        if ids is None:
            if len(values) != len(tracks):
                raise MusicrecError(
                    f"{self.path} has {len(values)} rows without track ids, trackid_sorted.csv has {len(tracks)} "
                    f"tracks: put one id per line in {self.path.with_suffix('.txt')}"
                )
            self._check_order(workspace, tracks)
            return values
        return _align(self.path, ids, values, tracks)

    def _check_order(self, workspace: Workspace, tracks: TrackIndex) -> None:
        """Says which order is assumed of rows without ids.

        Raises:
            MusicrecError: if the index came from a log and is not 0, 1, 2, …, so that no order can be assumed.
        """
        counting = all(track == str(row) for row, track in enumerate(tracks.ids))
        if self.follows_index or not workspace.index_from_log():
            log.info("%s has no track ids: row i is taken for the track with idx i in trackid_sorted.csv", self.path)
        elif counting:
            log.info("%s has no track ids: row i is taken for track i of the log", self.path)
        else:
            beside = self.path.with_suffix(".txt") if self.path else None
            raise MusicrecError(
                f"{self.path} has no track ids, and those of the log ({', '.join(tracks.ids[:3])}, …) are not "
                f"0, 1, 2, …: put one id per line in {beside}, or set embedding.ids=index if the rows follow "
                "trackid_sorted.csv"
            )

    def _existing(self) -> Path:
        assert self.path is not None
        if not self.path.is_file():
            raise MusicrecError(f"embedding.path: {self.path} does not exist; {_HELP}")
        return self.path

    def _read(self) -> tuple[list[str] | None, np.ndarray]:
        path = self._existing()
        readers = {".npy": self._read_npy, ".npz": _read_npz, ".parquet": _read_parquet, ".pqt": _read_parquet}
        reader = readers.get(path.suffix.lower())
        if reader is None:
            raise MusicrecError(f"{path}: unknown extension {path.suffix!r}; allowed: {' '.join(readers)}")
        try:
            return reader(path)
        except (ValueError, OSError) as error:
            reason = (
                "it holds Python objects, save ids as np.array(ids, dtype=str)" if "pickle" in str(error) else error
            )
            raise MusicrecError(f"{path} cannot be read: {reason}") from None

    def _read_npy(self, path: Path) -> tuple[list[str] | None, np.ndarray]:
        beside = [path.with_suffix(suffix) for suffix in (".txt", ".csv")]
        ids = self.ids or next((file for file in beside if file.is_file()), None)
        return (None if ids is None else _read_ids(ids)), np.load(path, allow_pickle=False)


def _read_npz(path: Path) -> tuple[list[str], np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        arrays = [archive[name] for name in archive.files]
    ids = [array for array in arrays if array.ndim == 1 and array.dtype.kind in "USiu"]
    tables = [array for array in arrays if array.ndim == 2 and array.dtype.kind == "f"]
    if len(ids) != 1 or len(tables) != 1:
        raise MusicrecError(f"{path} must hold one 1-d array of track ids and one 2-d array of floats")
    return [_text(track_id) for track_id in ids[0].tolist()], tables[0]


def _read_parquet(path: Path) -> tuple[list[str], np.ndarray]:
    table = pq.read_table(path)
    kinds = {column.name: column.type for column in table.schema}
    texts = [name for name, kind in kinds.items() if pa.types.is_string(kind) or pa.types.is_large_string(kind)]
    key = next((name for name in ("track_id", "trackid", *texts) if name in kinds), None)
    if key is None:
        raise MusicrecError(f"{path} has no column track_id; it has {', '.join(kinds)}")
    lists = [
        name
        for name, kind in kinds.items()
        if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    ]
    numbers = [name for name, kind in kinds.items() if name != key and pa.types.is_floating(kind)]
    ids = [str(track_id) for track_id in table[key].to_pylist()]
    if len(lists) == 1:
        return ids, np.array(table[lists[0]].to_pylist(), dtype=np.float32)
    if lists or not numbers:
        raise MusicrecError(
            f"{path} must have one column of lists, or one column of floats per dimension, beside {key}"
        )
    return ids, np.stack([table[name].to_numpy() for name in numbers], axis=1)


def _read_ids(path: Path) -> list[str]:
    """Returns the ids of a text file, one per line, or of a csv's column trackid or track_id."""
    if not path.is_file():
        raise MusicrecError(f"embedding.ids: {path} does not exist")
    with path.open(encoding="utf-8", newline="") as file:
        if path.suffix.lower() != ".csv":
            return file.read().splitlines()
        rows = list(csv.reader(file))
    column = next((rows[0].index(name) for name in ("trackid", "track_id") if rows and name in rows[0]), None)
    return [row[0] for row in rows if row] if column is None else [row[column] for row in rows[1:] if row]


def _text(track_id: Any) -> str:
    return track_id.decode() if isinstance(track_id, bytes) else str(track_id)


def _align(path: Path, ids: list[str], values: np.ndarray, tracks: TrackIndex) -> np.ndarray:
    """Returns the rows in the order of the track index, NaN where `ids` lacks a track."""
    if len(ids) != len(values):
        raise MusicrecError(f"{path} has {len(values)} rows but {len(ids)} track ids")
    if len(set(ids)) != len(ids):
        raise MusicrecError(f"{path}: {len(ids) - len(set(ids))} track ids occur more than once")
    table = np.full((len(tracks), values.shape[1]), np.nan, dtype=np.float32)
    known = [(tracks.row(track_id), row) for row, track_id in enumerate(ids) if track_id in tracks]
    if not known:
        raise MusicrecError(f"{path}: none of its {len(ids)} track ids (e.g. {ids[:1]}) is in trackid_sorted.csv")
    target, source = zip(*known, strict=True)
    table[list(target)] = values[list(source)]
    return table
