"""Listening log -> plays.pqt: every play of a known track as (user, track idx, time), sorted."""

from __future__ import annotations

import csv
import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from musicrec.columns import COUNT, TIMESTAMP, TRACK, USER
from musicrec.data.database import copy_to_parquet, database
from musicrec.data.log.formats import LogColumns
from musicrec.data.log.read import open_log
from musicrec.data.log.values import LogBatch
from musicrec.data.source import DataSource
from musicrec.data.track_matching import rows_of
from musicrec.errors import MusicrecError
from musicrec.files import atomic_path, parquet_metadata
from musicrec.system import usable_cpus
from musicrec.workspace import TrackIndex, Workspace

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

logger = logging.getLogger(__name__)

# Raise it when the same log is to give another plays.pqt, so that old files are made anew.
VERSION = 2

# A log of which this many rows are bad and none is good is not read to its end.
HOPELESS_ROWS = 100_000
PROGRESS_ROWS = 10_000_000
# Known strings for each distinct one of a batch, up to which they are looked up in bulk.
_BULK_SHARE = 8

_TIME_OF_DAY = re.compile(r"\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}")
_CANONICAL_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}")


@dataclass(frozen=True)
class Plays:
    """What is known of a plays.pqt; stored in it.

    Attributes:
        made_from: the log, how it was read, and the stamp of the track index.
        index_from_log: whether the track index was made from logs, so that a new log may append tracks to it.
        rows: good rows of the log.
        bad_rows: rows left out, listed in data/rejected_rows.csv.
        unknown_tracks: tracks outside the index, listed in data/unknown_tracks.csv.
        unknown_plays: their plays.
        has_counts: whether there is a column count; without it every row is one play.
    """

    made_from: dict[str, Any]
    index_from_log: bool
    rows: int
    bad_rows: int
    unknown_tracks: int
    unknown_plays: int
    has_counts: bool

    @classmethod
    def of(cls, path: Path) -> Plays | None:
        """Returns what is stored in a plays.pqt; None if there is none, or not one of this version."""
        import pyarrow as pa

        try:
            stored = parquet_metadata(path).get("plays")
        except (OSError, pa.ArrowException):  # missing or damaged: made anew
            return None
        return cls(**stored) if stored and stored["made_from"].get("version") == VERSION else None


def rejected_path(workspace: Workspace) -> Path:
    """Returns the list of the log's bad rows: line, reason, text."""
    return workspace.data_dir / "rejected_rows.csv"


def unknown_path(workspace: Workspace) -> Path:
    """Returns the list of the log's tracks outside the index: trackid, plays."""
    return workspace.data_dir / "unknown_tracks.csv"


def make_plays(source: DataSource, workspace: Workspace, tracks: TrackIndex | None) -> tuple[Plays, TrackIndex, bool]:
    """Returns what plays.pqt holds, the track index and whether the file had to be made.

    It is made unless the present one was made from the same log, settings and index.

    Args:
        source: names the log and its columns.
        workspace: where plays.pqt is written, and trackid_sorted.csv if it is made from the log or extended by it.
        tracks: the track index; None = it is to be made from the log.

    Raises:
        MusicrecError: if the log cannot be read, holds no good row or no known track.
    """
    path = source.plays_path(workspace)
    if tracks is not None and (fitting := present_plays(source, workspace, tracks)):
        _warn(fitting, workspace)
        return fitting, tracks, False
    present = Plays.of(workspace.plays)
    # An index that came from a log grows with it; one that came from audio or from the user decides what is known.
    from_log = tracks is None or (present is not None and present.index_from_log and not source.has_audio(workspace))
    threads = usable_cpus()
    with database(workspace.root, source.memory_limit, threads) as connection:
        raw = _Raw(connection)
        bad_rows, by_name = _load(source, path, raw, rejected_path(workspace), threads)
        track_ids = raw.tracks.ids()
        if from_log:
            tracks = (tracks or TrackIndex([])).extended(track_ids)
            _warn_of_case(path, tracks)
        assert tracks is not None
        rows = rows_of(track_ids, tracks, by_name)
        unknown = raw.plays_of([code for code, row in enumerate(rows) if row is None])
        if len(unknown) == len(rows):
            raise MusicrecError(_nothing_known(path, track_ids, tracks, raw.users.ids()))
        _write_unknown(unknown_path(workspace), {track_ids[code]: plays for code, plays in unknown.items()})
        plays = Plays(
            made_from=_identity(source, path, tracks),
            index_from_log=from_log,
            rows=raw.rows,
            bad_rows=bad_rows,
            unknown_tracks=len(unknown),
            unknown_plays=sum(unknown.values()),
            has_counts=raw.has_counts,
        )
        with atomic_path(workspace.plays) as temporary:
            raw.write(rows, temporary, {**tracks.stamp(), "plays": vars(plays)})
    if from_log:
        # Only now: an index whose plays.pqt was never finished would pass for one that the user has given.
        tracks.save(workspace.track_index)
    _warn(plays, workspace, _near_misses(unknown, track_ids, tracks))
    return plays, tracks, True


def present_plays(source: DataSource, workspace: Workspace, tracks: TrackIndex) -> Plays | None:
    """Returns what plays.pqt holds if it was made from the source's log with its settings and this index, else None."""
    present = Plays.of(workspace.plays)
    if present and present.made_from == _identity(source, source.plays_path(workspace), tracks):
        return present
    return None


class _Codes:
    """Numbers strings in the order in which they are met."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        # The first of the strings, for look-ups in bulk; those met since it was made are missing.
        self._known: pa.StringArray | None = None
        # Code of an integer, by the integer; -1 = not met yet. Integers beyond take the way of strings.
        self._by_integer = np.empty(0, np.int32)

    def encode(self, values: pa.DictionaryArray | np.ndarray) -> np.ndarray:
        """Returns (rows,) int32, one number a value; integers (≥ 0) stand for their digits."""
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
        """Returns (values,) int32 of the distinct values of a batch; only those not known yet pass through Python."""
        import pyarrow as pa
        import pyarrow.compute as pc

        codes = self._codes
        numbers = np.full(len(values), -1, np.int32)
        # A look-up hashes all known strings first, so it pays while a batch has a good part of them.
        if self._known is not None and len(codes) <= _BULK_SHARE * len(values):
            found = pc.index_in(values, value_set=self._known)
            numbers = pc.fill_null(found, -1).to_numpy(zero_copy_only=False).copy()
        new = np.flatnonzero(numbers < 0)
        numbers[new] = [codes.setdefault(value, len(codes)) for value in values.take(pa.array(new)).to_pylist()]
        if len(codes) <= _BULK_SHARE * len(values) and len(new) > len(values) // 100:
            self._known = pa.array(list(codes), pa.string())
        return numbers

    def ids(self) -> list[str]:
        """Returns the strings; position = number."""
        return list(self._codes)


class _Raw:
    """The log's good rows in a DuckDB table, ids as numbers."""

    def __init__(self, connection: duckdb.DuckDBPyConnection):
        self._connection = connection
        self.users, self.tracks = _Codes(), _Codes()
        self.rows = 0
        self.has_counts = False

    def append(self, batch: LogBatch) -> None:
        import pyarrow as pa

        columns: dict[str, Any] = {
            "user_code": self.users.encode(batch.users),
            "track_code": self.tracks.encode(batch.tracks),
            "played": batch.timestamps,
        }
        if batch.counts is not None:
            columns["n"] = batch.counts
        self._connection.register("batch", pa.table(columns))
        if not self.rows:
            self.has_counts = batch.counts is not None
            self._connection.execute("CREATE TABLE raw AS FROM batch LIMIT 0")
        self._connection.execute("INSERT INTO raw FROM batch")
        self._connection.unregister("batch")
        self.rows += len(batch)

    def plays_of(self, track_codes: Sequence[int]) -> dict[int, int]:
        """Returns the plays of some tracks by their number."""
        import pyarrow as pa

        self._connection.register("wanted", pa.table({"track_code": pa.array(track_codes, pa.int32())}))
        plays = "sum(n)::BIGINT" if self.has_counts else "count(*)"
        query = f"SELECT track_code, {plays} FROM raw SEMI JOIN wanted USING (track_code) GROUP BY ALL ORDER BY ALL"
        return dict(self._connection.execute(query).fetchall())

    def write(self, rows: Sequence[int | None], path: Path, metadata: dict[str, Any]) -> None:
        """Writes the plays of known tracks as parquet, sorted by user, time, track.

        Args:
            rows: idx of every track by its number, None for unknown ones.
        """
        import pyarrow as pa

        ids = typed_ids(self.users.ids())
        order = np.argsort(ids, kind="stable")
        rank = np.empty(len(ids), np.int32)
        rank[order] = np.arange(len(ids), dtype=np.int32)
        codes = np.arange(len(ids), dtype=np.int32)
        self._connection.register("users", pa.table({"user_code": codes, "rank": rank, "id": pa.array(ids)}))
        known = [code for code, row in enumerate(rows) if row is not None]
        self._connection.register(
            "tracks",
            pa.table(
                {
                    "track_code": pa.array(known, pa.int32()),
                    "idx": pa.array([rows[code] for code in known], pa.int64()),
                }
            ),
        )
        packed = (
            None
            if self.has_counts
            else self._packed(len(ids), max((row for row in rows if row is not None), default=0))
        )
        if packed:
            copy_to_parquet(self._connection, packed, path, metadata)
            return
        count = f", n AS {COUNT}" if self.has_counts else ""
        copy_to_parquet(
            self._connection,
            f"""
            SELECT id AS {USER}, idx AS {TRACK}, played AS {TIMESTAMP}{count}
            FROM raw JOIN users USING (user_code) JOIN tracks USING (track_code)
            ORDER BY rank, played, idx{", n" if self.has_counts else ""}
            """,
            path,
            metadata,
        )

    def _packed(self, users: int, last_track: int) -> str | None:
        """Returns a query for what `write` writes that sorts one number a play, made of user, time and track.

        That takes a third of the time of sorting columns. None if the number would have more than 63 bits.
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
    """Returns user ids as int64 if each is an integer in canonical form (7, not 07 or +7), else as object."""
    if all(_CANONICAL_INTEGER.fullmatch(user) for user in ids):
        numbers = [int(user) for user in ids]
        limits = np.iinfo(np.int64)
        if not numbers or (min(numbers) >= limits.min and max(numbers) <= limits.max):
            return np.array(numbers, np.int64)
    return np.array(ids, object)


def _identity(source: DataSource, log: Path, tracks: TrackIndex) -> dict[str, Any]:
    """Returns what decides the contents of plays.pqt; a log counts as the same if path, size and date are."""
    if not log.is_file():
        return {}  # reading it will say what is wrong
    found = log.stat()
    return {
        "version": VERSION,
        "log": str(log.resolve()),
        "bytes": found.st_size,
        "modified": found.st_mtime_ns,
        **source.log_settings(),
        **tracks.stamp(),
    }


def _load(source: DataSource, path: Path, raw: _Raw, rejected: Path, threads: int) -> tuple[int, bool]:
    """Reads the log into `raw` and its bad rows into the file `rejected`.

    Returns:
        How many rows were bad, and whether track ids are put together from artist and title.
    """
    columns = LogColumns(
        source.user_column, source.track_column, source.timestamp_column, source.count_column, source.format
    )
    bad_rows = 0
    first_reason = ""
    formats: Counter[str] = Counter()
    with (
        open_log(path, columns, threads) as log,
        atomic_path(rejected) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["line", "reason", "text"])
        for batch in log.batches:
            for row in batch.bad:
                if source.on_bad_row == "error":
                    raise MusicrecError(
                        f"{path}, line {row.line}: {row.reason}; mend it, or leave such rows out with "
                        "data.on_bad_row=skip"
                    )
                first_reason = first_reason or f"line {row.line}: {row.reason}"
                writer.writerow([row.line, row.reason, row.text])
            bad_rows += len(batch.bad)
            formats += batch.formats
            before = raw.rows
            if len(batch):
                if not raw.rows:
                    _refuse_times_as_ids(path, batch)
                raw.append(batch)
            if raw.rows // PROGRESS_ROWS > before // PROGRESS_ROWS:
                logger.info("%s: %s rows read", path.name, f"{raw.rows:,}")
            if not raw.rows and bad_rows >= HOPELESS_ROWS:
                break
        if not raw.rows:
            why = "it has a header only"
            if bad_rows:
                why = f"all of its rows are bad, the first being {first_reason}; are data.user_column, "
                why += "data.track_column and data.timestamp_column right?"
            raise MusicrecError(f"the listening log {path} holds no plays: {why}")
    if not bad_rows:
        rejected.unlink()
    if len(formats) > 1:
        mixture = ", ".join(f"{count:,} {name}" for name, count in sorted(formats.items()))
        logger.warning("%s mixes formats of timestamps (%s); each was read as what it is", path, mixture)
    return bad_rows, log.by_name


def _refuse_times_as_ids(path: Path, batch: LogBatch) -> None:
    """Raises MusicrecError if ids are times of day, because columns are swapped."""
    for key, ids in (("user_column", batch.users), ("track_column", batch.tracks)):
        if isinstance(ids, np.ndarray):
            continue
        first = ids.dictionary[:100].to_pylist()
        if all(_TIME_OF_DAY.match(value) for value in first):
            raise MusicrecError(
                f"the {key.split('_')[0]} ids of {path}, such as {first[0]!r}, are timestamps: are columns swapped? "
                f"Say which is which with data.{key}=NAME and data.timestamp_column=NAME"
            )


def _warn_of_case(path: Path, tracks: TrackIndex) -> None:
    lower: dict[str, str] = {}
    pairs = [(lower[low], track) for track in tracks.ids if lower.setdefault(low := track.lower(), track) != track]
    if pairs:
        first, second = pairs[0]
        logger.warning(
            "%s: %s track ids differ from another only in letter case (%r and %r); they count as different tracks",
            path,
            f"{len(pairs):,}",
            first,
            second,
        )


def _write_unknown(path: Path, plays: dict[str, int]) -> None:
    """Writes the tracks outside the index, most played first; no file if there are none."""
    if not plays:
        path.unlink(missing_ok=True)
        return
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["trackid", "plays"])
        for track in sorted(plays, key=lambda name: (-plays[name], name)):
            writer.writerow([track, plays[track]])


def _warn(plays: Plays, workspace: Workspace, hint: str = "") -> None:
    if plays.bad_rows:
        logger.warning("%s bad rows of the log were skipped, see %s", f"{plays.bad_rows:,}", rejected_path(workspace))
    if plays.unknown_tracks:
        logger.warning(
            "%s plays of %s tracks that are not in %s were dropped, see %s%s",
            f"{plays.unknown_plays:,}",
            f"{plays.unknown_tracks:,}",
            workspace.track_index.name,
            unknown_path(workspace),
            hint,
        )


def _near_misses(unknown: Iterable[int], track_ids: Sequence[str], tracks: TrackIndex) -> str:
    """Returns a hint if unknown tracks are known ones in other letter case, or with a file ending."""
    lower = {track.lower() for track in tracks.ids}
    hints = []
    names = [track_ids[code] for code in unknown]
    if other_case := [name for name in names if name.lower() in lower]:
        hints.append(f"{len(other_case)} of them differ from known ones only in letter case ({other_case[0]})")
    if ending := [name for name in names if name.rpartition(".")[0] in tracks]:
        hints.append(f"{len(ending)} of them are known without their ending ({ending[0]})")
    return "; " + "; ".join(hints) if hints else ""


def _nothing_known(path: Path, track_ids: Sequence[str], tracks: TrackIndex, users: Sequence[str]) -> str:
    example = f", such as {tracks.ids[0]!r}" if len(tracks) else ""
    hint = "is data.track_column right?"
    if swapped := next((user for user in users if user in tracks), None):
        hint = f"the user {swapped!r} is one: are data.user_column and data.track_column swapped?"
    elif other := _near_misses(range(len(track_ids)), track_ids, tracks):
        hint = other.removeprefix("; ")
    return (
        f"none of the {len(track_ids):,} tracks of {path}, such as {track_ids[0]!r}, is among the {len(tracks):,} of "
        f"trackid_sorted.csv{example}; a track id is the path below data.audio_dir without its ending; {hint}"
    )
