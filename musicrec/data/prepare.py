"""Stage prepare: from a listening log to plays.pqt, the split files data/*.pqt and their statistics."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from musicrec.audio.library import scan
from musicrec.columns import COUNT, SPLIT, TIMESTAMP, TRACK, USER
from musicrec.data.artists import write_artists
from musicrec.data.database import copy_to_parquet, database, literal
from musicrec.data.plays import Plays, make_plays, present_plays, rejected_path, unknown_path
from musicrec.data.source import DataSource
from musicrec.data.splits.given import report_odd_pairs
from musicrec.data.splits.registry import SPLITS
from musicrec.data.statistics import aligned, read_statistics, split_statistics
from musicrec.errors import MusicrecError
from musicrec.files import atomic_path, csv_text, parquet_damage, parquet_metadata
from musicrec.system import usable_cpus
from musicrec.workspace import TrackIndex, Workspace

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

# Raise it when the same plays must give other splits, so that older files are made again.
VERSION = 2


@dataclass(frozen=True)
class PrepareReport:
    """The result of prepare.py.

    Attributes:
        tracks: number of tracks in the index.
        plays: facts about plays.pqt: rows read, rejected rows, unknown tracks.
        period: the dates, as text.
        rows: header and one row per split, see `split_statistics`; also in data/stats.csv.
        rejected_rows: path of the list of rejected rows, None if there are none.
        unknown_tracks: path of the list of unknown tracks, None if there are none.
        made: the files that were made; empty if all were up to date.
    """

    tracks: int
    plays: Plays
    period: str
    rows: list[list[str]]
    rejected_rows: Path | None
    unknown_tracks: Path | None
    made: tuple[Path, ...]

    @property
    def table(self) -> str:
        """Returns the statistics as text."""
        return aligned(self.rows)

    @property
    def statistics(self) -> pd.DataFrame:
        """Returns the statistics as a table."""
        import pandas  # noqa: PLC0415 (prepare.py itself needs none of it, and it takes 0.2 s)

        return pandas.read_csv(io.StringIO(csv_text(self.rows)))


def stats_path(workspace: Workspace) -> Path:
    """Returns the path of the table of statistics."""
    return workspace.data_dir / "stats.csv"


def prepare(source: DataSource, workspace: Workspace) -> PrepareReport:
    """Makes trackid_sorted.csv, plays.pqt and the split files, skipping those that are up to date.

    Raises:
        MusicrecError: if an option is invalid, the log cannot be read, or a split is empty. Existing files then stay as
            they were, and files already finished (plays.pqt) are kept.
    """
    if source.artists is not None and source.log.artist_column is not None:
        raise MusicrecError("data.artists and data.artist_column both say who the artists are; set one to null")
    plays, tracks, new_plays = make_plays(source, workspace, track_index(source, workspace))
    settings = _settings(source, plays)
    period = None if new_plays else _present(workspace, settings)
    made: list[Path] = [workspace.plays] if new_plays else []
    if period is None:
        if not new_plays and (broken := parquet_damage(workspace.plays)):
            log.warning("%s is damaged (%s); reading the log again", workspace.plays, broken)
            workspace.plays.unlink()
            plays, tracks, new_plays = make_plays(source, workspace, tracks)
            made = [workspace.plays]
        period = _split(source, workspace, plays, tracks, settings)
        made += [*(workspace.split(name) for name in SPLITS[source.splits.split].files), stats_path(workspace)]
    else:
        log.info("%s is up to date", workspace.data_dir)
    if source.log.artist_column is None:  # otherwise they were read with the log
        write_artists(source.artists, workspace, tracks)
    rejected, unknown = rejected_path(workspace), unknown_path(workspace)

    return PrepareReport(
        tracks=len(tracks),
        plays=plays,
        period=period,
        rows=read_statistics(stats_path(workspace)),
        rejected_rows=rejected if plays.bad_rows else None,
        unknown_tracks=unknown if plays.unknown_tracks else None,
        made=tuple(made),
    )


def is_prepared(source: DataSource, workspace: Workspace) -> bool:
    """Returns whether the split files exist and were made from this source with these settings."""
    if not workspace.track_index.is_file():
        return False
    plays = present_plays(source, workspace, TrackIndex.load(workspace.track_index))
    return plays is not None and _present(workspace, _settings(source, plays)) is not None


def track_index(source: DataSource, workspace: Workspace) -> TrackIndex | None:
    """Returns the workspace's track index, made from the audio folder if missing; None = make it from the log."""
    if workspace.track_index.exists():
        return TrackIndex.load(workspace.track_index)
    if not source.has_audio(workspace):
        return None

    tracks = TrackIndex(sorted(scan(source.audio_path(workspace))))
    tracks.save(workspace.track_index)
    return tracks


def _settings(source: DataSource, plays: Plays) -> dict[str, Any]:
    """Returns the settings that decide the content of the split files, which each of them records."""
    return {"version": VERSION, **source.splits.recorded(), **vars(source.filters), "plays": plays.made_from}


def _present(workspace: Workspace, settings: dict[str, Any]) -> str | None:
    """Returns the period of the split files if all exist and were made with these settings, otherwise None."""
    files = [workspace.split(name) for name in SPLITS[str(settings["split"])].files]
    if not all(path.is_file() for path in (*files, stats_path(workspace))):
        return None
    for path in files:
        if broken := parquet_damage(path):
            log.warning("%s is damaged (%s); splitting again", path, broken)
            return None
    stored = [parquet_metadata(path) for path in files]
    if any(found.get("settings") != settings or "period" not in found for found in stored):
        return None
    if not _fits(stats_path(workspace), files):
        log.warning("%s is damaged; splitting again", stats_path(workspace))
        return None
    return str(stored[0]["period"])


def _fits(statistics: Path, files: Sequence[Path]) -> bool:
    """Returns whether a table of statistics is whole and counts the rows that the split files have."""
    try:
        sizes = {row[0]: int(row[1]) for row in read_statistics(statistics)[1:]}
    except (OSError, ValueError):
        return False
    return sizes == {path.stem: pq.read_metadata(path).num_rows for path in files}


def _split(source: DataSource, workspace: Workspace, plays: Plays, tracks: TrackIndex, settings: dict[str, Any]) -> str:
    """Writes all split files and their statistics, or none of them, and returns the period."""
    chosen, split = source.splits, SPLITS[source.splits.split]
    odd_pairs = workspace.data_dir / "odd_pairs.csv"
    given = f", {SPLIT}" if plays.has_splits else ""
    with database(workspace.root, source.memory_limit, usable_cpus()) as connection:
        connection.execute(
            f"""
            CREATE VIEW all_plays AS
            SELECT {USER}, {TRACK}, {TIMESTAMP}, {COUNT if plays.has_counts else 1} AS n{given}
            FROM read_parquet({literal(workspace.plays)})
            """
        )
        connection.execute("CREATE VIEW plays AS FROM all_plays")
        # Where each row is one play, rows are counted, which is faster than the sum of ones.
        connection.execute(f"CREATE MACRO total(n) AS {'sum(n)::BIGINT' if plays.has_counts else 'count(n)'}")
        period = split.period(connection, chosen.dates)
        log.info("%s split: %s", chosen.split, period)
        source.filters.apply(connection, period)
        queries = split.queries(connection, period)
        metadata = {**tracks.stamp(), "settings": settings, "period": str(period)}
        with ExitStack() as stack:
            written = {}
            for name, query in queries.items():
                path = stack.enter_context(atomic_path(workspace.split(name)))
                copy_to_parquet(connection, query, path, metadata)
                written[name] = f"SELECT * FROM read_parquet({literal(path)})"
            if plays.has_splits:
                report_odd_pairs(connection, written, odd_pairs, tracks)
            else:
                odd_pairs.unlink(missing_ok=True)
            table = csv_text(
                [["" if cell is None else cell for cell in row] for row in split_statistics(connection, written)]
            )
            stack.enter_context(atomic_path(stats_path(workspace))).write_text(table, encoding="utf-8")
            # Stale files of another split would be taken for this one's truth. If killed here, loading reports the
            # missing files.
            for name in {name for other in SPLITS.values() for name in other.files} - set(split.files):
                workspace.split(name).unlink(missing_ok=True)
    return str(period)
