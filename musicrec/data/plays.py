"""Making plays.pqt from a listening log: each play of a known track as (user, track idx, time), sorted."""

from __future__ import annotations

import csv
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from musicrec.data.database import database
from musicrec.data.given_splits import split_names
from musicrec.data.log.formats import LogColumns
from musicrec.data.log.read import open_log
from musicrec.data.log.values import BadRow, LogBatch
from musicrec.data.play_table import PlayTable
from musicrec.data.source import DataSource, LogFile
from musicrec.data.track_matching import match_tracks
from musicrec.errors import MusicrecError
from musicrec.files import atomic_path, parquet_metadata
from musicrec.system import usable_cpus
from musicrec.workspace import TrackIndex, Workspace

if TYPE_CHECKING:
    pass

log = logging.getLogger(__name__)

# Raise it when the same log must give another plays.pqt, so that older files are made again.
VERSION = 2

# Reading stops after this many bad rows if there was no good one.
HOPELESS_ROWS = 100_000
PROGRESS_ROWS = 10_000_000

_TIME_OF_DAY = re.compile(r"\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}")


@dataclass(frozen=True)
class Plays:
    """Facts about a plays.pqt, stored in it.

    Attributes:
        made_from: the log, how it was read, and the stamp of the track index.
        index_from_log: whether the track index was made from a log, so that another log may append tracks to it.
        rows: number of good rows in the log.
        bad_rows: number of rejected rows, listed in data/rejected_rows.csv.
        unknown_tracks: number of tracks outside the index, listed in data/unknown_tracks.csv.
        unknown_plays: number of their plays.
        has_counts: whether there is a column `count`; without it each row is one play.
        has_splits: whether there is a column `split`, for splits made elsewhere.
    """

    made_from: dict[str, Any]
    index_from_log: bool
    rows: int
    bad_rows: int
    unknown_tracks: int
    unknown_plays: int
    has_counts: bool
    has_splits: bool = False

    @classmethod
    def of(cls, path: Path) -> Plays | None:
        """Returns the facts stored in a plays.pqt; None if the file is missing, damaged or of another version."""
        try:
            stored = parquet_metadata(path).get("plays")
        except (OSError, pa.ArrowException):
            return None
        return cls(**stored) if stored and stored["made_from"].get("version") == VERSION else None


def rejected_path(workspace: Workspace) -> Path:
    """Returns the path of the list of rejected rows: line, reason, text."""
    return workspace.data_dir / "rejected_rows.csv"


def unknown_path(workspace: Workspace) -> Path:
    """Returns the path of the list of tracks outside the index: trackid, plays."""
    return workspace.data_dir / "unknown_tracks.csv"


def make_plays(source: DataSource, workspace: Workspace, tracks: TrackIndex | None) -> tuple[Plays, TrackIndex, bool]:
    """Makes plays.pqt unless the present file was made from the same log, settings and index.

    Args:
        source: names the log and its columns.
        workspace: where plays.pqt is written, and trackid_sorted.csv if it is made from the log or extended by it.
        tracks: the track index; None = make it from the log.

    Returns:
        The facts of plays.pqt, the track index, and whether the file was made.

    Raises:
        MusicrecError: if the log cannot be read or has no good row or no known track.
    """
    logs = source.logs(workspace)
    path = logs[0].path
    if tracks is not None and (fitting := present_plays(source, workspace, tracks)):
        _warn(fitting, workspace)
        return fitting, tracks, False
    present = Plays.of(workspace.plays)
    # An index made from a log grows with the log. One made from audio or given by the user decides what is known.
    from_log = tracks is None or (present is not None and present.index_from_log and not source.has_audio(workspace))
    threads = usable_cpus()
    with database(workspace.root, source.memory_limit, threads) as connection:
        raw = PlayTable(connection)
        bad_rows, by_name = _load(source, logs, raw, rejected_path(workspace), threads)
        track_ids = raw.tracks.ids()
        if from_log:
            tracks = (tracks or TrackIndex([])).extended(track_ids)
            _warn_of_case(path, tracks)
        assert tracks is not None
        rows = match_tracks(track_ids, tracks, by_name)
        unknown = raw.plays_of([code for code, row in enumerate(rows) if row is None])
        if len(unknown) == len(rows):
            raise MusicrecError(_nothing_known(path, track_ids, tracks, raw.users.ids()))
        _write_unknown(unknown_path(workspace), {track_ids[code]: plays for code, plays in unknown.items()})
        plays = Plays(
            made_from=_identity(source, logs, tracks),
            index_from_log=from_log,
            rows=raw.rows,
            bad_rows=bad_rows,
            unknown_tracks=len(unknown),
            unknown_plays=sum(unknown.values()),
            has_counts=raw.has_counts,
            has_splits=raw.has_splits,
        )
        with atomic_path(workspace.plays) as temporary:
            raw.write(rows, temporary, {**tracks.stamp(), "plays": vars(plays)})
    if from_log:
        # Only now: an index without plays.pqt would be taken for one that the user has given.
        tracks.save(workspace.track_index)
    _warn(plays, workspace, _near_misses(unknown, track_ids, tracks))
    return plays, tracks, True


def present_plays(source: DataSource, workspace: Workspace, tracks: TrackIndex) -> Plays | None:
    """Returns the facts of plays.pqt if it was made from this log with these settings and index, otherwise None."""
    present = Plays.of(workspace.plays)
    if present and present.made_from == _identity(source, source.logs(workspace), tracks):
        return present
    return None


def _identity(source: DataSource, logs: Sequence[LogFile], tracks: TrackIndex) -> dict[str, Any]:
    """Returns what decides the content of plays.pqt; a log is identified by path, size and modification time."""
    if not all(log_file.path.is_file() for log_file in logs):
        return {}  # reading it reports what is wrong
    first, *others = [_file_identity(log_file) for log_file in logs]
    return {
        "version": VERSION,
        **first,
        **({"more": others} if others else {}),
        **source.log_settings(),
        **tracks.stamp(),
    }


def _file_identity(log_file: LogFile) -> dict[str, Any]:
    found = log_file.path.stat()
    identity = {"log": str(log_file.path.resolve()), "bytes": found.st_size, "modified": found.st_mtime_ns}
    return identity if log_file.split is None else {**identity, "split": log_file.split}


def _load(
    source: DataSource, logs: Sequence[LogFile], raw: PlayTable, rejected: Path, threads: int
) -> tuple[int, bool]:
    """Reads the log into `raw` and its bad rows into the file `rejected`.

    Returns:
        The number of bad rows, and whether track ids are composed of artist and title.
    """
    bad_rows, by_name = 0, False
    with atomic_path(rejected) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        several = ["file"] if len(logs) > 1 else []
        writer.writerow([*several, "line", "reason", "text"])
        for log_file in logs:
            named = [log_file.path.name] if several else []
            reader = _Reader(source, log_file, raw)
            for row in reader.read(threads):
                writer.writerow([*named, row.line, row.reason, row.text])
            bad_rows += reader.bad_rows
            by_name = by_name or reader.by_name
    if not bad_rows:
        rejected.unlink()
    return bad_rows, by_name


class _Reader:
    """Reads one file of a log into a play table.

    Attributes:
        bad_rows: number of rejected rows so far.
        by_name: whether track ids are composed of artist and title; known after the first row.
    """

    def __init__(self, source: DataSource, log_file: LogFile, raw: PlayTable):
        by_column = source.split == "column"
        self.source, self.log_file, self.raw = source, log_file, raw
        self.columns = LogColumns(
            source.user_column,
            source.track_column,
            source.timestamp_column,
            source.count_column,
            source.format,
            source.split_column if by_column else None,
        )
        self.splits = split_names(source.split_column, source.split_values) if by_column else {}
        self.bad_rows = 0
        self.by_name = False

    def read(self, threads: int) -> Iterator[BadRow]:
        """Appends the good rows to the table and yields the bad ones.

        Raises:
            MusicrecError: if there is no good row, or a bad one and `data.on_bad_row=error`.
        """
        path, raw = self.log_file.path, self.raw
        start, first_reason = raw.rows, ""
        formats: Counter[str] = Counter()
        with open_log(path, self.columns, threads) as listening_log:
            self.by_name = listening_log.by_name
            for batch in listening_log.batches:
                for row in batch.bad:
                    if self.source.on_bad_row == "error":
                        raise MusicrecError(
                            f"{path}, line {row.line}: {row.reason}; fix it, or skip such rows with "
                            "data.on_bad_row=skip"
                        )
                    first_reason = first_reason or f"line {row.line}: {row.reason}"
                    yield row
                self.bad_rows += len(batch.bad)
                formats += batch.formats
                before = raw.rows
                if len(batch):
                    if raw.rows == start:
                        _refuse_times_as_ids(path, batch)
                    raw.append(self._placed(batch, listening_log.timed))
                if raw.rows // PROGRESS_ROWS > before // PROGRESS_ROWS:
                    log.info("%s: %s rows read", path.name, f"{raw.rows:,}")
                if raw.rows == start and self.bad_rows >= HOPELESS_ROWS:
                    break
        if raw.rows == start:
            raise MusicrecError(f"the listening log {path} has no plays: {_why_empty(self.bad_rows, first_reason)}")
        if len(formats) > 1:
            mixture = ", ".join(f"{count:,} {name}" for name, count in sorted(formats.items()))
            log.warning("%s mixes timestamp formats (%s); each was read in its own format", path, mixture)

    def _placed(self, batch: LogBatch, timed: bool) -> LogBatch:
        """Returns a batch with the names of the splits, and with times that keep the order if it has none.

        Raises:
            MusicrecError: if a row belongs to no split.
        """
        if not timed:
            batch.timestamps = np.arange(self.raw.rows, self.raw.rows + len(batch)).astype("datetime64[s]")
            batch.timestamps = batch.timestamps.astype("datetime64[us]")
        if self.log_file.split is not None:
            zeros = pa.array(np.zeros(len(batch), np.int32))
            batch.labels = pa.DictionaryArray.from_arrays(zeros, [self.log_file.split])
        elif self.splits and batch.labels is not None:
            values = batch.labels.dictionary.to_pylist()
            if unknown := [value for value in values if value not in self.splits]:
                rows = int(np.isin(batch.labels.indices.to_numpy(), [values.index(value) for value in unknown]).sum())
                raise MusicrecError(
                    f"the column {self.source.split_column!r} of {self.log_file.path} has the value {unknown[0]!r} "
                    f"({rows} rows at least have an unknown one); data.split_values names {', '.join(self.splits)}"
                )
            names = [self.splits[value] for value in values]
            batch.labels = pa.DictionaryArray.from_arrays(batch.labels.indices, pa.array(names, pa.string()))
        return batch


def _why_empty(bad_rows: int, first_reason: str) -> str:
    if not bad_rows:
        return "there is only a header"
    return (
        f"all rows are bad, first {first_reason}; are data.user_column, data.track_column and "
        "data.timestamp_column right?"
    )


def _refuse_times_as_ids(path: Path, batch: LogBatch) -> None:
    """Refuses a log whose ids look like times, because its columns are probably swapped."""
    for key, ids in (("user_column", batch.users), ("track_column", batch.tracks)):
        if isinstance(ids, np.ndarray):
            continue
        first = ids.dictionary[:100].to_pylist()
        if all(_TIME_OF_DAY.match(value) for value in first):
            raise MusicrecError(
                f"the {key.split('_')[0]} ids of {path}, such as {first[0]!r}, look like timestamps; are columns "
                f"swapped? Set data.{key}=NAME and data.timestamp_column=NAME"
            )


def _warn_of_case(path: Path, tracks: TrackIndex) -> None:
    lower: dict[str, str] = {}
    pairs = [(lower[low], track) for track in tracks.ids if lower.setdefault(low := track.lower(), track) != track]
    if pairs:
        first, second = pairs[0]
        log.warning(
            "%s: %s track ids differ from another one only in letter case (%r and %r); they count as different tracks",
            path,
            f"{len(pairs):,}",
            first,
            second,
        )


def _write_unknown(path: Path, plays: dict[str, int]) -> None:
    """Writes the tracks outside the index, most played first; deletes the file if there are none."""
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
        log.warning("%s bad rows of the log were skipped; see %s", f"{plays.bad_rows:,}", rejected_path(workspace))
    if plays.unknown_tracks:
        log.warning(
            "%s plays of %s tracks that are not in %s were dropped; see %s%s",
            f"{plays.unknown_plays:,}",
            f"{plays.unknown_tracks:,}",
            workspace.track_index.name,
            unknown_path(workspace),
            hint,
        )


def _near_misses(unknown: Iterable[int], track_ids: Sequence[str], tracks: TrackIndex) -> str:
    """Returns a hint if unknown tracks are known in another letter case or without a file extension."""
    lower = {track.lower() for track in tracks.ids}
    hints = []
    names = [track_ids[code] for code in unknown]
    if other_case := [name for name in names if name.lower() in lower]:
        hints.append(f"{len(other_case)} of them differ from known ones only in letter case ({other_case[0]})")
    if extension := [name for name in names if name.rpartition(".")[0] in tracks]:
        hints.append(f"{len(extension)} of them are known without their extension ({extension[0]})")
    return "; " + "; ".join(hints) if hints else ""


def _nothing_known(path: Path, track_ids: Sequence[str], tracks: TrackIndex, users: Sequence[str]) -> str:
    example = f", such as {tracks.ids[0]!r}" if len(tracks) else ""
    hint = "is data.track_column right?"
    if swapped := next((user for user in users if user in tracks), None):
        hint = f"the user {swapped!r} is one; are data.user_column and data.track_column swapped?"
    elif other := _near_misses(range(len(track_ids)), track_ids, tracks):
        hint = other.removeprefix("; ")
    return (
        f"none of the {len(track_ids):,} tracks of {path}, such as {track_ids[0]!r}, is among the {len(tracks):,} of "
        f"trackid_sorted.csv{example}; a track id is the path below data.audio_dir without its extension; {hint}"
    )
