"""DataSource: audio folder, listening log and split settings. Each option of the `data` group is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musicrec.data.filters import Filters
from musicrec.errors import MusicrecError
from musicrec.workspace import Workspace


@dataclass(frozen=True)
class LogPart:
    """A part of a listening log.

    Attributes:
        paths: files, folders, archives or patterns.
        split: the split that all its rows belong to; None: its rows are to be split.
    """

    paths: Sequence[Path]
    split: str | None = None


class DataSource:
    """A folder of audio, a listening log, and the settings that split the log into train, val and test.

    The constructor reads no files and requires none. Each step asks for what it reads, so evaluate.py runs where
    neither audio nor log exist.
    """

    def __init__(
        self,
        name: str,
        audio_dir: str | Path | None = None,
        plays: str | Path | Sequence[str | Path] | None = None,
        split: str = "temporal",
        split_column: str | None = None,
        split_values: Mapping[str, Any] | None = None,
        candidates: str = "separate",
        start: str = "auto",
        test: str = "auto",
        end: str | None = None,
        make_missing: bool = False,
        format: str = "auto",
        user_column: str = "user_id",
        track_column: str = "track_id",
        timestamp_column: str | None = "timestamp",
        count_column: str | None = "auto",
        columns: Sequence[str] | None = None,
        encoding: str = "auto",
        min_played_seconds: float = 0,
        on_bad_row: str = "skip",
        memory_limit: str = "4GB",
        min_user_plays: int = 0,
        min_track_plays: int = 0,
        item_sample: float | None = None,
        artists: str | Path | None = None,
        users: str | Path | None = None,
    ):
        """Stores the settings.

        Args:
            name: names the workspace.
            audio_dir: folder of audio files; a track id is the path below it without extension. None: no audio.
            plays: the listening log: .tsv, .csv, .json (plain, .gz, .bz2, .zst), .parquet, an export's .zip, a folder
                of these, a pattern such as endsong_*.json, or several in a list. None: not known yet.
            split: how to split: `temporal`, `hot_cold`, `leave_one_out` (musicrec/data/splits/), or `column`: as a
                column of the log says.
            split_column: name of that column.
            split_values: split name to its value in that column; None = the names themselves.
            candidates: which tracks lists are drawn from if the split has cold tracks: `separate` lists of warm and of
                cold tracks, or `mixed` lists of both (musicrec/data/interactions.py).
            start: first instant of the training period, ISO, UTC; `auto` = one year before `test` (leave_one_out: the
                first play). hot_cold always trains on the year before `test`.
            test: first instant of the held-out period; `auto` = the last month of the log.
                leave_one_out has no such period.
            end: plays from this instant on are dropped; None = none are.
            make_missing: whether train.py may run the earlier stages itself.
            format: format of the log: `table` (named columns), `lastfm_1k`, `listenbrainz` (JSON), `lastfm` (CSV
                export of one's own scrobbles), `spotify` (its streaming history), `ratings` (user, item, rating and
                time without a header), `sequences` (lines of user item item …, without times), or `auto` = detected
                from the first lines (never `sequences`).
            user_column: name of the column of user ids; `auto` = the default or a usual other name, also for the
                next two.
            track_column: name of the column of track ids; names in braces compose the id of several columns:
                "{artist} - {title}".
            timestamp_column: name of the column of times; None = rows are in order of time.
            count_column: name of the column of plays per row. `auto` = the column `count` if there is one, otherwise
                each row is one play; None = each row is one play.
            columns: names of all columns of a log without a header, in order; None = the first line has them.
            encoding: of a text log; `auto` = UTF-8, or what its byte order mark says.
            min_played_seconds: shorter plays are left out, where the log says how long they were (Spotify).
            on_bad_row: `skip` (count and list bad rows) or `error` (stop at the first).
            memory_limit: memory of prepare.py; data beyond it is spilled to disk.
            min_user_plays: users with fewer plays in the period are removed; 0 = none are.
            min_track_plays: the same for tracks; with both, removal alternates until both hold (k-core).
            item_sample: number (or, below 1, fraction) of tracks to keep, drawn at random. None: all.
            artists: file of track ids and their artists, see `musicrec.data.artists`; None: not known.
            users: file of user ids and any columns, by which evaluate.py groups users; no other stage reads it.
        """
        self.name = name
        self.audio_dir = _path(audio_dir)
        self.plays = None if plays is None else as_paths(plays)
        self.split = split
        self.split_column = split_column
        self.split_values = dict(split_values) if split_values else None
        self.candidates = candidates
        self.start = str(start)
        self.test = str(test)
        self.end = None if end is None else str(end)
        self.make_missing = make_missing
        self.format = format
        self.user_column = user_column
        self.track_column = track_column
        self.timestamp_column = timestamp_column
        self.count_column = count_column
        self.columns = None if columns is None else tuple(str(name) for name in columns)
        self.encoding = encoding
        self.min_played_seconds = min_played_seconds
        self.on_bad_row = on_bad_row
        self.memory_limit = str(memory_limit)
        self.artists = _path(artists)
        self.users = _path(users)
        self.filters = Filters(min_user_plays, min_track_plays, item_sample)

    def materialise(self, workspace: Workspace, seed: int) -> None:
        """Makes audio and log where they do not exist yet. Sources of real data have nothing to make."""

    def audio_path(self, workspace: Workspace) -> Path:
        """Returns the folder of audio files.

        Raises:
            MusicrecError: if none was given.
        """
        if self.audio_dir is None:
            raise MusicrecError(f"data={self.name} needs a folder of audio; set data.audio_dir=FOLDER")
        return self.audio_dir

    def has_audio(self, workspace: Workspace) -> bool:
        """Returns whether a folder of audio files was given (it may still be missing)."""
        return self.audio_dir is not None

    def plays_paths(self, workspace: Workspace) -> list[Path]:
        """Returns the paths given for the listening log: files, folders, archives or patterns.

        Raises:
            MusicrecError: if none was given.
        """
        if not self.plays:
            raise MusicrecError(f"data={self.name} needs a listening log; set data.plays=FILE")
        return self.plays

    def parts(self, workspace: Workspace) -> list[LogPart]:
        """Returns the parts of the log: one, or one per split if the splits were made elsewhere.

        Raises:
            MusicrecError: if none was given.
        """
        if self.split == "files":
            raise MusicrecError(
                "data.split=files needs a file of each split: data=split_files data.train=FILE data.test=FILE"
            )
        return [LogPart(self.plays_paths(workspace))]

    def log_settings(self) -> dict[str, Any]:
        """Returns the settings that decide how the log is read, which the files made from it record."""
        column = {"split_column": self.split_column, "split_values": self.split_values}
        return {
            **(column if self.split == "column" else {}),
            "format": self.format,
            "user_column": self.user_column,
            "track_column": self.track_column,
            "timestamp_column": self.timestamp_column,
            "count_column": self.count_column,
            "columns": None if self.columns is None else list(self.columns),
            "encoding": self.encoding,
            "min_played_seconds": self.min_played_seconds,
            "on_bad_row": self.on_bad_row,
        }


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value).expanduser()


def as_paths(value: str | Path | Sequence[str | Path]) -> list[Path]:
    """Returns the paths of an option that takes one or several."""
    return [Path(one).expanduser() for one in ([value] if isinstance(value, (str, Path)) else value)]
