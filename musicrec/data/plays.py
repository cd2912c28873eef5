"""Making plays.pqt from a listening log: each play of a known track as (user, track idx, time), sorted."""

from __future__ import annotations

import csv
import logging
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from musicrec.data.artists import artists_path, save_artists
from musicrec.data.load import load, shown_paths
from musicrec.data.log.content_hash import hashes_path, log_hashes
from musicrec.data.source import DataSource, LogPart
from musicrec.data.table.play_table import PlayTable, table_in
from musicrec.data.track_matching import match_tracks
from musicrec.errors import MusicrecError
from musicrec.files import atomic_path, parquet_metadata
from musicrec.system import usable_cpus
from musicrec.workspace import TrackIndex, Workspace

log = logging.getLogger(__name__)

# Raise it when the same log must give another plays.pqt, so that older files are made again.
VERSION = 3


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
    parts = source.parts(workspace)
    path = shown_paths([path for part in parts for path in part.paths])
    lacks_artists = source.log.artist_column is not None and not artists_path(workspace).is_file()
    if tracks is not None and not lacks_artists and (fitting := present_plays(source, workspace, tracks)):
        _warn(fitting, workspace)
        return fitting, tracks, False
    present = Plays.of(workspace.plays)
    # An index made from a log grows with the log. One made from audio or given by the user decides what is known.
    from_log = tracks is None or (present is not None and present.index_from_log and not source.has_audio(workspace))
    with table_in(workspace.root, source.memory_limit) as raw:
        bad_rows, by_name = load(source, parts, raw, rejected_path(workspace), usable_cpus())
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
        facts = Plays(
            made_from={},
            index_from_log=from_log,
            rows=raw.rows,
            bad_rows=bad_rows,
            unknown_tracks=len(unknown),
            unknown_plays=sum(unknown.values()),
            has_counts=raw.has_counts,
            has_splits=raw.has_splits,
        )
        if source.log.artist_column is not None:
            _save_artists(raw, rows, tracks, f"data.artist_column={source.log.artist_column}", workspace)
        with atomic_path(workspace.plays) as temporary, ThreadPoolExecutor(1, thread_name_prefix="hash") as pool:
            # Sorting and writing leave a core idle, so the log's hash costs no time.
            made_from = pool.submit(_identity, source, parts, tracks, hashes_path(workspace))
            stamp = tracks.stamp()
            raw.write(rows, temporary, lambda: {**stamp, "plays": {**vars(facts), "made_from": made_from.result()}})
            plays = replace(facts, made_from=made_from.result())
    if from_log:
        # Only now: an index without plays.pqt would be taken for one that the user has given.
        tracks.save(workspace.track_index)
    hint = f"; {len(reasons):,} of them could be several tracks, which the list names" if reasons else ""
    _warn(plays, workspace, hint + _near_misses(unknown, track_ids, tracks))
    return plays, tracks, True


def _save_artists(
    raw: PlayTable, rows: Sequence[int | None], tracks: TrackIndex, given: str, workspace: Workspace
) -> None:
    """Writes the artists that the log says of known tracks.

    Raises:
        MusicrecError: if it names none.
    """
    pairs = [(tracks.ids[row], artist) for code, artist in raw.artists if (row := rows[code]) is not None]
    if not pairs:
        raise MusicrecError(f"{given}: no row of a known track has an artist there")
    ids, artists = (pa.array(side, pa.string()) for side in zip(*pairs, strict=True))
    save_artists(ids, artists, given, workspace, tracks)


def present_plays(source: DataSource, workspace: Workspace, tracks: TrackIndex) -> Plays | None:
    """Returns the facts of plays.pqt if it was made from this log with these settings and index, otherwise None."""
    present = Plays.of(workspace.plays)
    if present and present.made_from == _identity(source, source.parts(workspace), tracks, hashes_path(workspace)):
        return present
    return None


def _identity(source: DataSource, parts: Sequence[LogPart], tracks: TrackIndex, hashes: Path) -> dict[str, Any]:
    """Returns what decides the content of plays.pqt; the log's files are identified by content, wherever they lie."""
    by_split = {part.split: log_hashes(part.paths, hashes) for part in parts}
    if not all(by_split.values()):
        return {}  # reading it reports what is wrong
    return {
        "version": VERSION,
        "log": by_split.get(None, by_split),
        **source.log_settings(),
        **tracks.stamp(),
    }


def _warn_of_case(path: str, tracks: TrackIndex) -> None:
    if len({track.lower() for track in tracks.ids}) == len(tracks):
        return
    lower: dict[str, str] = {}
    pairs = [(lower[low], track) for track in tracks.ids if lower.setdefault(low := track.lower(), track) != track]
    log.warning(
        "%s: %s track ids differ from another one only in letter case (%r and %r); they count as different tracks",
        path,
        f"{len(pairs):,}",
        *pairs[0],
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


def _near_misses(unknown: Collection[int], track_ids: Sequence[str], tracks: TrackIndex) -> str:
    """Returns a hint if unknown tracks are known in another letter case or without a file extension."""
    if not unknown:
        return ""
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
