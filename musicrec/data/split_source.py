"""SplitFilesSource: train, val and test from files that were made elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from musicrec.data.source import DataSource, LogFile
from musicrec.errors import MusicrecError
from musicrec.workspace import Workspace


class SplitFilesSource(DataSource):
    """A file per split in any format that prepare.py reads, or with `split=column` one file with a column of splits.

    Args:
        name: names the workspace.
        train: file of training rows.
        val: file of validation rows; None: there are none.
        test: file of test rows.
        plays: one file for all splits, if `split` is `column`.
        split: `files` or `column`.
        split_column: the column that says where a row belongs.
        split_values: split name to its value in that column.
        **options: the other settings of DataSource.
    """

    def __init__(
        self,
        name: str,
        train: str | None = None,
        val: str | None = None,
        test: str | None = None,
        plays: str | None = None,
        split: str = "files",
        split_column: str | None = None,
        split_values: Mapping[str, Any] | None = None,
        **options: Any,
    ):
        super().__init__(
            name, plays=plays, split=split, split_column=split_column, split_values=split_values, **options
        )
        named = {"train": train, "val": val, "test": test}
        self.files = {key: Path(path).expanduser() for key, path in named.items() if path is not None}

    def logs(self, workspace: Workspace) -> list[LogFile]:
        """Returns the files, train first.

        Raises:
            MusicrecError: if train or test is missing.
        """
        if self.split != "files":
            return super().logs(workspace)
        for key in ("train", "test"):
            if key not in self.files:
                raise MusicrecError(
                    f"data={self.name} needs a file of each split: set data.train=FILE data.test=FILE (and data.val); "
                    "for one file with a column data.plays=FILE data.split=column data.split_column=NAME"
                )
        return [LogFile(path, key) for key, path in self.files.items()]
