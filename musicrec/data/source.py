"""DataSource: audio folder, listening log and split settings. Each option of the `data` group is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musicrec.data.filters import Filters
from musicrec.data.log.conditions import Condition
from musicrec.data.log.formats import LogSettings
from musicrec.data.splits.settings import SplitSettings
from musicrec.errors import MusicrecError
from musicrec.values import FileName, Memory
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


@dataclass(frozen=True)
class SideFiles:
    """Files beside audio and log.

    Attributes:
        artists: file of track ids and their artists, see `musicrec.data.artists`; None: not known.
        users: file of user ids and any columns, by which evaluate.py groups users; no other stage reads it.
    """

    artists: str | Path | None = None
    users: str | Path | None = None


class DataSource:
    """A folder of audio, a listening log, and the settings that split the log into train, val and test.

    Their values are the keys of the group `data`: those of LogSettings, SplitSettings and Filters stand beside the
    constructor's own (`musicrec.options`).

    The constructor reads no files and requires none. Each step asks for what it reads, so evaluate.py runs where
    neither audio nor log exist.
    """

    def __init__(
        self,
        name: FileName,
        audio_dir: str | Path | None = None,
        plays: str | Path | Sequence[str | Path] | None = None,
        *,
        log: LogSettings = LogSettings(),
        splits: SplitSettings = SplitSettings(),
        filters: Filters = Filters(),
        side_files: SideFiles = SideFiles(),
        make_missing: bool = False,
        memory_limit: Memory = "4GB",
    ):
        """Stores the settings.

        Args:
            name: names the workspace.
            audio_dir: folder of audio files; a track id is the path below it without extension. None: no audio.
            plays: the listening log: .tsv, .csv, .json (plain, .gz, .bz2, .zst), .parquet, an export's .zip, a folder
                of these, a pattern such as endsong_*.json, or several in a list. None: not known yet.
            log: how the log is read.
            splits: how it is split into train, val and test.
            filters: which plays are split.
            side_files: what else is known of tracks and users.
            make_missing: whether train.py may run the earlier stages itself.
            memory_limit: memory of prepare.py; data beyond it is spilled to disk.
        """
        self.name = name
        self.audio_dir = _path(audio_dir)
        self.plays = None if plays is None else as_paths(plays)
        self.log = log
        self.splits = splits
        self.filters = filters
        self.artists = _path(side_files.artists)
        self.users = _path(side_files.users)
        self.make_missing = make_missing
        self.memory_limit = str(memory_limit)

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
        if self.splits.split == "files":
            raise MusicrecError(
                "data.split=files needs a file of each split: data=split_files data.train=FILE data.test=FILE"
            )
        return [LogPart(self.plays_paths(workspace))]

    def conditions(self) -> tuple[Condition, ...]:
        """Returns which rows of the log count, for Parquet files with further columns; by default all do."""
        return ()

    def log_settings(self) -> dict[str, Any]:
        """Returns the settings that decide how the log is read, which the files made from it record."""
        splits = self.splits
        column = {"split_column": splits.split_column, "split_values": splits.split_values}
        return {**(column if splits.split == "column" else {}), **self.log.recorded()}


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value).expanduser()


def as_paths(value: str | Path | Sequence[str | Path]) -> list[Path]:
    """Returns the paths of an option that takes one or several."""
    return [Path(one).expanduser() for one in ([value] if isinstance(value, (str, Path)) else value)]
