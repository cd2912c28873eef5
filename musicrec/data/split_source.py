"""SplitFilesSource: train, val and test from files that were made elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from musicrec.data.filters import Filters
from musicrec.data.log.formats import LogSettings
from musicrec.data.source import DataSource, LogPart, SideFiles, as_paths
from musicrec.data.splits.settings import SplitSettings
from musicrec.errors import MusicrecError
from musicrec.values import FileName, Memory
from musicrec.workspace import Workspace


class SplitFilesSource(DataSource):
    """A log per split in any format that prepare.py reads, or with `split=column` one log with a column of splits.

    Args:
        name: names the workspace.
        train: file of training rows, or several, a folder or an archive.
        val: the same of validation rows; None: there are none.
        test: the same of test rows.
        plays: one log for all splits, if `split` is `column`.
        log: how the logs are read.
        splits: `files` or `column`, with the column that says where a row belongs.
        filters: which rows are taken.
        audio_dir: folder of audio files.
        side_files: what else is known of tracks and users.
        make_missing: whether train.py may run the earlier stages itself.
        memory_limit: memory of prepare.py.
    """

    def __init__(
        self,
        name: FileName,
        train: str | Path | Sequence[str | Path] | None = None,
        val: str | Path | Sequence[str | Path] | None = None,
        test: str | Path | Sequence[str | Path] | None = None,
        plays: str | Path | Sequence[str | Path] | None = None,
        *,
        log: LogSettings = LogSettings(),
        splits: SplitSettings = SplitSettings("files"),
        filters: Filters = Filters(),
        audio_dir: str | Path | None = None,
        side_files: SideFiles = SideFiles(),
        make_missing: bool = False,
        memory_limit: Memory = "4GB",
    ):
        super().__init__(
            name,
            audio_dir,
            plays,
            log=log,
            splits=splits,
            filters=filters,
            side_files=side_files,
            make_missing=make_missing,
            memory_limit=memory_limit,
        )
        named = {"train": train, "val": val, "test": test}
        self.files = {key: as_paths(value) for key, value in named.items() if value is not None}

    def parts(self, workspace: Workspace) -> list[LogPart]:
        """Returns the logs of the splits, train first.

        Raises:
            MusicrecError: if train or test is missing.
        """
        if self.splits.split != "files":
            return super().parts(workspace)
        for key in ("train", "test"):
            if key not in self.files:
                raise MusicrecError(
                    f"data={self.name} needs a file of each split: set data.train=FILE data.test=FILE (and data.val); "
                    "for one file with a column data.plays=FILE data.split=column data.split_column=NAME"
                )
        return [LogPart(paths, key) for key, paths in self.files.items()]
