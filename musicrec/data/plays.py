"""Making plays.pqt from a listening log: each play of a known track as (user, track idx, time), sorted."""

from __future__ import annotations

import csv
import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from musicrec.data.content_hash import hashes_path, log_hashes
from musicrec.data.database import database
from musicrec.data.log.formats import AUTO, LogColumns
from musicrec.data.log.read import open_log
from musicrec.data.log.values import NOT_UTF8, BadRow, LogBatch
from musicrec.data.play_table import PlayTable
from musicrec.data.source import DataSource
from musicrec.data.track_matching import match_tracks
from musicrec.errors import MusicrecError
from musicrec.files import atomic_path, parquet_metadata
from musicrec.system import usable_cpus
from musicrec.workspace import TrackIndex, Workspace

if TYPE_CHECKING:
    pass

log = logging.getLogger(__name__)

# Raise it when the same log must give another plays.pqt, so that older files are made again.
VERSION = 3

# Reading stops after this many bad rows if there was no good one.
HOPELESS_ROWS = 100_000
PROGRESS_ROWS = 10_000_000

# A log with a larger share of rows that are not UTF-8, one in a thousand, has another encoding.
_BROKEN_SHARE = 1_000

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
    paths = source.plays_paths(workspace)
    path = shown_paths(paths)
    if tracks is not None and (fitting := present_plays(source, workspace, tracks)):
        _warn(fitting, workspace)
        return fitting, tracks, False
    present = Plays.of(workspace.plays)
    # An index made from a log grows with the log. One made from audio or given by the user decides what is known.
    from_log = tracks is None or (present is not None and present.index_from_log and not source.has_audio(workspace))
    threads = usable_cpus()
    with database(workspace.root, source.memory_limit, threads) as connection:
        raw = PlayTable(connection)
        bad_rows, by_name = _load(source, paths, raw, rejected_path(workspace), threads)
        track_ids = raw.tracks.ids()
        if from_log:
            tracks = (tracks or TrackIndex([])).extended(track_ids)
            _warn_of_case(path, tracks)
        assert tracks is not None
        matches = match_tracks(track_ids, tracks, by_name)
        rows = matches.rows
        unknown = raw.plays_of([code for code, row in enumerate(rows) if row is None])
        if len(unknown) == len(rows):
            raise MusicrecError(_nothing_known(path, track_ids, tracks, raw.users.ids()))
        reasons = {track_ids[code]: reason for code, reason in matches.ambiguous.items()}
        _write_unknown(unknown_path(workspace), {track_ids[code]: plays for code, plays in unknown.items()}, reasons)
        plays = Plays(
            made_from=_identity(source, paths, tracks, hashes_path(workspace)),
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
        # Only now: an index without plays.pqt would be taken for one that the user has given.
        tracks.save(workspace.track_index)
    hint = f"; {len(reasons):,} of them could be several tracks, which the list names" if reasons else ""
    _warn(plays, workspace, hint + _near_misses(unknown, track_ids, tracks))
    return plays, tracks, True


def present_plays(source: DataSource, workspace: Workspace, tracks: TrackIndex) -> Plays | None:
    """Returns the facts of plays.pqt if it was made from this log with these settings and index, otherwise None."""
    present = Plays.of(workspace.plays)
    if present and present.made_from == _identity(
        source, source.plays_paths(workspace), tracks, hashes_path(workspace)
    ):
        return present
    return None


def _identity(source: DataSource, paths: Sequence[Path], tracks: TrackIndex, hashes: Path) -> dict[str, Any]:
    """Returns what decides the content of plays.pqt; the log's files are identified by content, wherever they lie."""
    found = log_hashes(paths, hashes)
    if not found:
        return {}  # reading it reports what is wrong
    return {
        "version": VERSION,
        "log": found,
        **source.log_settings(),
        **tracks.stamp(),
    }


def shown_paths(paths: Sequence[Path]) -> str:
    """Returns the paths of a log for messages."""
    return str(paths[0]) + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")


def _load(source: DataSource, paths: Sequence[Path], raw: PlayTable, rejected: Path, threads: int) -> tuple[int, bool]:
    """Reads the log into `raw` and its bad rows into the file `rejected`.

    Returns:
        The number of bad rows, and whether track ids are composed of artist and title.
    """
    path = shown_paths(paths)
    columns = LogColumns(
        source.user_column,
        source.track_column,
        source.timestamp_column,
        source.count_column,
        source.format,
        source.columns,
        source.encoding,
        source.min_played_seconds,
    )
    bad_rows = 0
    first_reason = ""
    formats: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    not_utf8: list[BadRow] = []
    header = ["line", "reason", "text"]
    with (
        open_log(paths, columns, threads) as listening_log,
        atomic_path(rejected) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*header, "file"] if listening_log.several else header)
        for batch in listening_log.batches:
            for row in batch.bad:
                if source.on_bad_row == "error":
                    raise MusicrecError(
                        f"{row.file or path}, line {row.line}: {row.reason}; fix it, or skip such rows with "
                        "data.on_bad_row=skip"
                    )
                first_reason = first_reason or f"line {row.line}: {row.reason}"
                writer.writerow([row.line, row.reason, row.text, *([row.file] if row.file else [])])
            bad_rows += len(batch.bad)
            not_utf8 += [replace(row, text="") for row in batch.bad if NOT_UTF8 in row.reason]
            formats += batch.formats
            left_out += batch.left_out
            before = raw.rows
            if len(batch):
                if not raw.rows:
                    _refuse_times_as_ids(path, batch)
                if raw.rows and (batch.counts is not None) != raw.has_counts:
                    raise MusicrecError(f"some files of {path} have a column of counts and some have none")
                raw.append(batch)
            if raw.rows // PROGRESS_ROWS > before // PROGRESS_ROWS:
                log.info("%s: %s rows read", path, f"{raw.rows:,}")
            if not raw.rows and bad_rows >= HOPELESS_ROWS:
                break
        if source.encoding == AUTO and len(not_utf8) * _BROKEN_SHARE > raw.rows:
            where = f"{not_utf8[0].file or path}, line {not_utf8[0].line}"
            raise MusicrecError(
                f"{where}: not UTF-8, as {len(not_utf8):,} rows in all; set "
                "data.encoding=latin-1 (or cp1252, …) to read them, or data.encoding=utf-8 to skip them"
            )
        if not raw.rows:
            raise MusicrecError(
                f"the listening log {path} has no plays: {_why_empty(bad_rows, first_reason, left_out)}"
            )
    if not bad_rows:
        rejected.unlink()
    for what, count in sorted(left_out.items()):
        log.info("%s: %s entries left out: %s", path, f"{count:,}", what)
    if len(formats) > 1:
        mixture = ", ".join(f"{count:,} {name}" for name, count in sorted(formats.items()))
        log.warning("%s mixes timestamp formats (%s); each was read in its own format", path, mixture)
    return bad_rows, listening_log.by_name


def _why_empty(bad_rows: int, first_reason: str, left_out: Counter[str]) -> str:
    if left_out and not bad_rows:
        return "only " + " and ".join(sorted(left_out))
    if not bad_rows:
        return "there is only a header"
    return (
        f"all rows are bad, first {first_reason}; are data.user_column, data.track_column and "
        "data.timestamp_column right?"
    )


def _refuse_times_as_ids(path: str, batch: LogBatch) -> None:
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


def _warn_of_case(path: str, tracks: TrackIndex) -> None:
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


def _write_unknown(path: Path, plays: dict[str, int], reasons: dict[str, str]) -> None:
    """Writes the tracks outside the index, most played first; deletes the file if there are none.

    Args:
        path: the file.
        plays: number of plays by track.
        reasons: why a track that could be several of the index was not matched; a column of its own if there are any.
    """
    if not plays:
        path.unlink(missing_ok=True)
        return
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["trackid", "plays", "reason"] if reasons else ["trackid", "plays"])
        for track in sorted(plays, key=lambda name: (-plays[name], name)):
            row = [track, plays[track]]
            writer.writerow([*row, reasons.get(track, "")] if reasons else row)


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


def _nothing_known(path: str, track_ids: Sequence[str], tracks: TrackIndex, users: Sequence[str]) -> str:
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
