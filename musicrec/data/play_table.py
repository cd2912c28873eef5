"""The plays of a log in a DuckDB table with ids as numbers, and their sorted Parquet file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from musicrec.columns import COUNT, SPLIT, TIMESTAMP, TRACK, USER
from musicrec.data.database import copy_to_parquet
from musicrec.data.log.values import LogBatch

if TYPE_CHECKING:
    import duckdb

# Known strings per distinct string of a batch, up to which they are looked up in bulk.
_BULK_SHARE = 8
_CANONICAL_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}")


class Codes:
    """Numbers strings in order of their first occurrence."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        # The first strings as an array for bulk look-ups. Strings added since it was built are missing.
        self._known: pa.StringArray | None = None
        # The number of each integer, -1 for those that have not occurred. Larger integers arrive as strings.
        self._by_integer = np.empty(0, np.int32)

    def encode(self, values: pa.DictionaryArray | np.ndarray) -> np.ndarray:
        """Returns (rows,) int32, the number of each value; an integer (≥ 0) counts as the string of its digits."""
        codes = self._codes
        if isinstance(values, np.ndarray):
            size = int(values.max(initial=-1)) + 1
            if size > len(self._by_integer):
                self._by_integer = np.pad(
                    self._by_integer, (0, size - len(self._by_integer)), constant_values=np.int32(-1)
                )
            numbers = self._by_integer[values]
            if (numbers < 0).any():
                for value in np.unique(values[numbers < 0]).tolist():
                    self._by_integer[value] = codes.setdefault(str(value), len(codes))
                numbers = self._by_integer[values]
            return numbers
        return self._of_distinct(values.dictionary)[values.indices.to_numpy()]

    def _of_distinct(self, values: pa.StringArray) -> np.ndarray:
        """Returns (values,) int32 numbers of a batch's distinct values; only new values pass through Python."""
        codes = self._codes
        numbers = np.full(len(values), -1, np.int32)
        # A bulk look-up first hashes all known strings, so it pays only while a batch holds many of them.
        if self._known is not None and len(codes) <= _BULK_SHARE * len(values):
            found = pc.index_in(values, value_set=self._known)
            numbers = pc.fill_null(found, -1).to_numpy(zero_copy_only=False).copy()
        new = np.flatnonzero(numbers < 0)
        numbers[new] = [codes.setdefault(value, len(codes)) for value in values.take(pa.array(new)).to_pylist()]
        if len(codes) <= _BULK_SHARE * len(values) and len(new) > len(values) // 100:
            self._known = pa.array(list(codes), pa.string())
        return numbers

    def ids(self) -> list[str]:
        """Returns the strings in order of their numbers."""
        return list(self._codes)


class PlayTable:
    """The good rows of a log in a DuckDB table (`raw`) with ids as numbers.

    Attributes:
        users: numbers of the user ids.
        tracks: numbers of the log's track ids.
        rows: number of rows.
        has_counts: whether there is a column of counts; otherwise each row is one play.
        has_splits: whether there is a column that says to which split a row belongs.
        artists: the pairs of a track's number and the name of an artist of its, in order of their first occurrence.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection):
        self._connection = connection
        self.users, self.tracks = Codes(), Codes()
        self.rows = 0
        self.has_counts = False
        self.has_splits = False
        self.artists: dict[tuple[int, str], None] = {}

    def append(self, batch: LogBatch) -> None:
        """Adds the good rows of a batch."""
        columns: dict[str, Any] = {
            "user_code": self.users.encode(batch.users),
            "track_code": self.tracks.encode(batch.tracks),
            "played": batch.timestamps,
        }
        if batch.counts is not None:
            columns["n"] = batch.counts
        if batch.labels is not None:
            columns[SPLIT] = batch.labels.cast(pa.string())
        if batch.artists is not None:
            self._note(columns["track_code"], batch.artists)
        self._connection.register("batch", pa.table(columns))
        if not self.rows:
            self.has_counts, self.has_splits = batch.counts is not None, batch.labels is not None
            self._connection.execute("CREATE TABLE raw AS FROM batch LIMIT 0")
        self._connection.execute("INSERT INTO raw FROM batch")
        self._connection.unregister("batch")
        self.rows += len(batch)

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
        self._connection.register("wanted", pa.table({"track_code": pa.array(track_codes, pa.int32())}))
        plays = "sum(n)::BIGINT" if self.has_counts else "count(*)"
        query = f"SELECT track_code, {plays} FROM raw SEMI JOIN wanted USING (track_code) GROUP BY ALL ORDER BY ALL"
        return dict(self._connection.execute(query).fetchall())

    def write(self, rows: Sequence[int | None], path: Path, metadata: dict[str, Any]) -> None:
        """Writes the plays of known tracks as Parquet, sorted by user, time and track.

        Args:
            rows: idx of each track by its number, None for unknown tracks.
            path: the file; the caller gives a temporary one (`musicrec.files.atomic_path`).
            metadata: stored in the file.
        """
        ids = typed_ids(self.users.ids())
        order = np.argsort(ids, kind="stable")
        rank = np.empty(len(ids), np.int32)
        rank[order] = np.arange(len(ids), dtype=np.int32)
        codes = np.arange(len(ids), dtype=np.int32)
        self._connection.register("users", pa.table({"user_code": codes, "rank": rank, "id": pa.array(ids)}))
        known = {code: row for code, row in enumerate(rows) if row is not None}
        table = {"track_code": pa.array(known.keys(), pa.int32()), "idx": pa.array(known.values(), pa.int64())}
        self._connection.register("tracks", pa.table(table))
        query = None if self.has_counts or self.has_splits else self._packed(len(ids), max(known.values(), default=0))
        copy_to_parquet(self._connection, query or self._by_columns(), path, metadata)

    def _by_columns(self) -> str:
        """Returns the query of the sorted plays."""
        count = f", n AS {COUNT}" if self.has_counts else ""
        count += f", {SPLIT}" if self.has_splits else ""
        return f"""
            SELECT id AS {USER}, idx AS {TRACK}, played AS {TIMESTAMP}{count}
            FROM raw JOIN users USING (user_code) JOIN tracks USING (track_code)
            ORDER BY rank, played, idx{", n" if self.has_counts else ""}
            """

    def _packed(self, users: int, last_track: int) -> str | None:
        """Returns a query like that of `_by_columns` which sorts one number per play, packed from user, time and track.

        This takes a third of the time that sorting the columns does. None if the number would exceed 63 bits.
        """
        query = "SELECT min(epoch_us(played)), max(epoch_us(played)), bool_or(epoch_us(played) % 1000000 <> 0) FROM raw"
        [(first, last, fractions)] = self._connection.execute(query).fetchall()
        unit = 1 if fractions else 1_000_000
        track_bits, time_bits = last_track.bit_length(), ((last - first) // unit).bit_length()
        if users.bit_length() + time_bits + track_bits > 63:
            return None
        time = f"((epoch_us(played) - {first}) // {unit})"
        return f"""
            SELECT id AS {USER}, key & {(1 << track_bits) - 1} AS {TRACK},
                   make_timestamp({first} + {unit} * ((key >> {track_bits}) & {(1 << time_bits) - 1})) AS {TIMESTAMP}
            FROM (
                SELECT (rank::BIGINT << {time_bits + track_bits}) | ({time} << {track_bits}) | idx AS key, id
                FROM raw JOIN users USING (user_code) JOIN tracks USING (track_code)
                ORDER BY key
            )
            """


def typed_ids(ids: Sequence[str]) -> np.ndarray:
    """Returns user ids as int64 if each is an integer in canonical form, otherwise as object.

    >>> typed_ids(["7", "-1"])
    array([ 7, -1])
    >>> typed_ids(["7", "07"])
    array(['7', '07'], dtype=object)
    """
    if all(_CANONICAL_INTEGER.fullmatch(user) for user in ids):
        numbers = [int(user) for user in ids]
        limits = np.iinfo(np.int64)
        if not numbers or (min(numbers) >= limits.min and max(numbers) <= limits.max):
            return np.array(numbers, np.int64)
    return np.array(ids, object)
