"""Where music and plays come from: one `data` group option is one DataSource."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from musicrec.data.filters import Filters
from musicrec.errors import MusicrecError
from musicrec.workspace import Workspace


class DataSource:
    """A folder of audio and a listening log, and how the log is cut into train, val and test.

    The constructor reads nothing and demands nothing: each step asks for what it reads, so evaluate.py runs where
    neither audio nor log exists.
    """

    def __init__(
        self,
        name: str,
        audio_dir: str | Path | None = None,
        plays: str | Path | None = None,
        split: str = "temporal",
        start: str = "auto",
        test: str = "auto",
        end: str | None = None,
        make_missing: bool = False,
        format: str = "auto",
        user_column: str = "user_id",
        track_column: str = "track_id",
        timestamp_column: str = "timestamp",
        count_column: str | None = "auto",
        on_bad_row: str = "skip",
        memory_limit: str = "4GB",
        min_user_plays: int = 0,
        min_track_plays: int = 0,
        item_sample: float | None = None,
    ):
        """Args:
        name: names the workspace.
        audio_dir: folder of audio files; a track id is the path below it without its ending. None: no audio.
        plays: the listening log: .tsv, .csv, plain or .gz, .bz2, .zst, or .parquet. None: not known yet.
        split: how to split: `temporal`, `hot_cold` or `leave_one_out` (musicrec/data/splits.py).
        start: first instant of the training period, ISO, UTC; `auto` = one year before `test`, for leave_one_out
            the first play. hot_cold always trains on the year before `test`.
        test: first instant of the held-out period; `auto` = the month that ends with the log's last play.
            leave_one_out has no such period.
        end: plays on or after it are dropped; None = none are.
        make_missing: whether train.py may run the earlier stages by itself.
        format: of the log: `table` (named columns), `lastfm_1k`, `listenbrainz` (JSON lines), `lastfm` (CSV export
            of one's own scrobbles), `sequences` (user item item … a line, without times), or `auto` = the first
            line tells (never `sequences`).
        user_column: name in the log of the user id.
        track_column: name in the log of the track id; several names in braces make it of several columns:
            "{artist} - {title}".
        timestamp_column: name in the log of the time of the play.
        count_column: name in the log of the number of plays that a row stands for. `auto` = the column called
            count if there is one, else every row is one play; None = every row is one play.
        on_bad_row: `skip` (count and list bad rows) or `error` (stop at them).
        memory_limit: of prepare.py; what does not fit is spilled to disk.
        min_user_plays: users with fewer plays within the period are left out; 0 = none are.
        min_track_plays: the same for tracks; with both, in turn until both hold (k-core).
        item_sample: so many tracks, drawn at random, are kept; below 1 a fraction. None: all.
        """
        self.name = name
        self.audio_dir = _path(audio_dir)
        self.plays = _path(plays)
        self.split = split
        self.start = str(start)
        self.test = str(test)
        self.end = None if end is None else str(end)
        self.make_missing = make_missing
        self.format = format
        self.user_column = user_column
        self.track_column = track_column
        self.timestamp_column = timestamp_column
        self.count_column = count_column
        self.on_bad_row = on_bad_row
        self.memory_limit = str(memory_limit)
        self.filters = Filters(min_user_plays, min_track_plays, item_sample)

    def materialise(self, workspace: Workspace, seed: int) -> None:
        """Makes audio and log where they do not exist yet; a source of real data has nothing to make."""

    def audio_path(self, workspace: Workspace) -> Path:
        """Returns the folder of audio files; MusicrecError if none was given."""
        if self.audio_dir is None:
            raise MusicrecError(f"data={self.name} does not say where the audio is: add data.audio_dir=FOLDER")
        return self.audio_dir

    def has_audio(self, workspace: Workspace) -> bool:
        """Returns whether a folder of audio files was given (it may still be missing)."""
        try:
            self.audio_path(workspace)
        except MusicrecError:
            return False
        return True

    def plays_path(self, workspace: Workspace) -> Path:
        """Returns the listening log; MusicrecError if none was given."""
        if self.plays is None:
            raise MusicrecError(f"data={self.name} does not say where the listening log is: add data.plays=FILE")
        return self.plays

    def log_settings(self) -> dict[str, Any]:
        """Returns what decides how a row of the log is read; recorded in the files made from it."""
        return {
            "format": self.format,
            "user_column": self.user_column,
            "track_column": self.track_column,
            "timestamp_column": self.timestamp_column,
            "count_column": self.count_column,
            "on_bad_row": self.on_bad_row,
        }


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value).expanduser()
