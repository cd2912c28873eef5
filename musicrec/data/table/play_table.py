"""PlayTable: the good rows of a log with ids as numbers, and the file of its plays, sorted by user, time and track."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from musicrec.columns import COUNT, SPLIT, TIMESTAMP, TRACK, USER
from musicrec.data.database import copy_to_parquet, database, spill_folder
from musicrec.data.in_order import in_order
from musicrec.data.log.arrays import id_array
from musicrec.data.log.values import LogBatch
from musicrec.data.table.codes import Codes, typed_ids
from musicrec.data.table.keys import SECOND, PlayKeys
from musicrec.data.table.rows import Columns, Rows
from musicrec.data.table.scratch import Scratch
from musicrec.data.table.sort import sorted_keys
from musicrec.data.table.sorted_file import write_sorted
from musicrec.system import usable_cpus
from musicrec.values import memory_bytes

# Share of data.memory_limit that the rows may take, and again the numbers that are sorted.
_SHARE = 1 / 8
_USER, _TRACK, _TIME, _COUNT, _SPLIT = "user_code", "track_code", "played", "n", "split_code"


class PlayTable:
    """The good rows of a log, with ids as numbers in order of their first occurrence.

    Attributes:
        users: numbers of the user ids.
        tracks: numbers of the log's track ids.
        has_counts: whether there is a column of counts; otherwise each row is one play.
        has_splits: whether there is a column that says to which split a row belongs.
        artists: the pairs of a track's number and the name of an artist of its, in order of their first occurrence.
    """

    def __init__(self, folder: Path, memory_limit: str):
        """Makes an empty table; `table_in` does so in a new folder.

        Args:
            folder: an empty folder in the workspace, for what does not fit in memory; its maker deletes it.
            memory_limit: `data.memory_limit`.
        """
        self._folder, self._memory_limit = folder, memory_limit
        self._bytes = int(_SHARE * memory_bytes(memory_limit))
        self._scratch = Scratch(folder / "rows")
        self._rows = Rows(self._scratch, self._bytes)
        self._splits = Codes()
        self._first, self._last, self._unit = np.iinfo(np.int64).max, np.iinfo(np.int64).min, SECOND
        self.users, self.tracks = Codes(), Codes()
        self.has_counts = False
        self.has_splits = False
        self.artists: dict[tuple[int, str], None] = {}

    @property
    def rows(self) -> int:
        """Returns the number of rows."""
        return self._rows.count

    @property
    def spilled(self) -> int:
        """Returns the bytes that were written to disk because they exceeded the limit."""
        return self._scratch.size

    def append(self, batch: LogBatch) -> None:
        """Adds the good rows of a batch."""
        if not self.rows:
            self.has_counts, self.has_splits = batch.counts is not None, batch.labels is not None
        if not len(batch):
            return
        times = batch.timestamps.view(np.int64)
        self._first, self._last = min(self._first, int(times.min())), max(self._last, int(times.max()))
        if self._unit > 1 and not np.array_equal(times // SECOND * SECOND, times):
            self._unit = 1
        columns = {_USER: self.users.encode(batch.users), _TRACK: self.tracks.encode(batch.tracks), _TIME: times}
        if batch.counts is not None:
            columns[_COUNT] = batch.counts
        if batch.labels is not None:
            columns[_SPLIT] = self._splits.encode(batch.labels)
        if batch.artists is not None:
            self._note(columns[_TRACK], batch.artists)
        self._rows.append(columns)

    def close(self) -> None:
        """Closes the temporary file."""
        self._scratch.close()

    def _note(self, tracks: np.ndarray, artists: pa.DictionaryArray) -> None:
        """Adds the artists of the tracks of a batch that have one."""
        names = artists.dictionary.to_pylist()
        rows = tracks.astype(np.int64) * len(names) + artists.indices.to_numpy()
        _, first = np.unique(rows, return_index=True)
        for row in np.sort(first).tolist():
            if name := names[artists.indices[row].as_py()]:
                self.artists[int(tracks[row]), name] = None

    def plays_of(self, track_codes: Sequence[int]) -> dict[int, int]:
        """Returns the number of plays of some tracks, by the track's number."""
        if not track_codes:
            return {}
        plays = np.zeros(len(self.tracks), np.int64)
        for piece in self._rows.pieces(_TRACK, *([_COUNT] if self.has_counts else [])):
            np.add.at(plays, piece[_TRACK], piece[_COUNT] if self.has_counts else 1)
        return {code: int(plays[code]) for code in track_codes}

    def write(self, rows: Sequence[int | None], path: Path, metadata: Callable[[], dict[str, Any]]) -> None:
        """Writes the plays of known tracks as Parquet, sorted by user, time and track.

        Args:
            rows: idx of each track by its number, None for unknown tracks.
            path: the file; the caller gives a temporary one (`musicrec.files.atomic_path`).
            metadata: returns what is stored in the file; called as late as possible.
        """
        ids = typed_ids(self.users.ids())
        order = np.argsort(ids, kind="stable")
        ranks = np.empty(len(ids), np.int32)
        ranks[order] = np.arange(len(ids), dtype=np.int32)
        idx = np.array([-1 if row is None else row for row in rows], np.int32)
        keys = PlayKeys.of(len(ids), int(idx.max(initial=0)), self._first, self._last, self._unit)
        if keys is None or self.has_counts or self.has_splits:
            self._write_by_columns(ids, ranks, idx, path, metadata())
            return
        with closing(Scratch(self._folder / "keys")) as scratch:
            packed = sorted_keys(self._packed(keys, ranks, idx), self.rows, scratch, self._bytes)
            write_sorted(packed, keys, id_array(ids[order]), path, metadata)

    def _packed(self, keys: PlayKeys, ranks: np.ndarray, idx: np.ndarray) -> Iterator[np.ndarray]:
        """Yields the numbers of the plays of known tracks, in the order of the log."""
        some_unknown = idx.min(initial=0) < 0

        def packed(piece: Columns) -> np.ndarray:
            tracks = idx[piece[_TRACK]]
            numbers = keys.pack(ranks[piece[_USER]], piece[_TIME], tracks)
            return numbers[tracks >= 0] if some_unknown else numbers

        return in_order(packed, self._rows.pieces(_USER, _TRACK, _TIME), usable_cpus())

    def _write_by_columns(
        self, ids: np.ndarray, ranks: np.ndarray, idx: np.ndarray, path: Path, metadata: dict[str, Any]
    ) -> None:
        """Writes the file by a database, which sorts any columns, but three times as slowly; see `write`.

        Args:
            ids: user ids by their number.
            ranks: the place of each of them among the sorted ones.
            idx: idx of each track by its number, -1 for unknown tracks.
            path: the file.
            metadata: stored in the file.
        """
        count = f", {_COUNT} AS {COUNT}" if self.has_counts else ""
        count += f", {SPLIT}" if self.has_splits else ""
        query = f"""
            SELECT id AS {USER}, idx AS {TRACK}, {_TIME} AS {TIMESTAMP}{count}
            FROM raw JOIN users USING ({_USER}) JOIN tracks USING ({_TRACK})
            ORDER BY rank, {_TIME}, idx{f", {_COUNT}" if self.has_counts else ""}
            """
        codes = np.arange(len(ids), dtype=np.int32)
        known = np.flatnonzero(idx >= 0).astype(np.int32)
        with database(self._folder.parent, self._memory_limit, usable_cpus()) as connection:
            connection.register("users", pa.table({_USER: codes, "rank": ranks, "id": pa.array(ids)}))
            connection.register("tracks", pa.table({_TRACK: known, "idx": idx[known].astype(np.int64)}))
            batches = self._batches()
            connection.register("raw", pa.RecordBatchReader.from_batches(next(batches).schema, batches))
            copy_to_parquet(connection, query, path, metadata)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        """Yields an empty batch and then all rows, with the names of their splits."""
        counts, splits = [_COUNT] * self.has_counts, [_SPLIT] * self.has_splits
        names = pa.array(self._splits.ids(), pa.string())
        for number, piece in enumerate(self._rows.pieces(_USER, _TRACK, _TIME, *counts, *splits)):
            columns: dict[str, Any] = {**piece, _TIME: piece[_TIME].view("datetime64[us]")}
            if self.has_splits:
                columns[SPLIT] = pa.DictionaryArray.from_arrays(columns.pop(_SPLIT), names)
            batch = pa.RecordBatch.from_pydict(columns)
            yield from [batch] if number else [batch.slice(0, 0), batch]


@contextmanager
def table_in(folder: Path, memory_limit: str) -> Iterator[PlayTable]:
    """Yields an empty table, whose temporary files are in a new folder in `folder` that is deleted at the end."""
    with spill_folder(folder) as spill:
        table = PlayTable(spill, memory_limit)
        try:
            yield table
        finally:
            table.close()
