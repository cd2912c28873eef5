"""SplitFilesSource: train, val and test from files that were made elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from musicrec.data.source import DataSource, LogPart, as_paths
from musicrec.errors import MusicrecError
from musicrec.workspace import Workspace


class SplitFilesSource(DataSource):
    """A log per split in any format that prepare.py reads, or with `split=column` one log with a column of splits.

    Args:
        name: names the workspace.
        train: file of training rows, or several, a folder or an archive.
        val: the same of validation rows; None: there are none.
        test: the same of test rows.
        plays: one log for all splits, if `split` is `column`.
        split: `files` or `column`.
        split_column: the column that says where a row belongs.
        split_values: split name to its value in that column.
        **options: the other settings of DataSource.
    """

    def __init__(
        self,
        name: str,
        train: str | Path | Sequence[str | Path] | None = None,
        val: str | Path | Sequence[str | Path] | None = None,
        test: str | Path | Sequence[str | Path] | None = None,
        plays: str | Path | Sequence[str | Path] | None = None,
        split: str = "files",
        split_column: str | None = None,
        split_values: Mapping[str, Any] | None = None,
        **options: Any,
    ):
        super().__init__(
            name, plays=plays, split=split, split_column=split_column, split_values=split_values, **options
        )
        named = {"train": train, "val": val, "test": test}
        self.files = {key: as_paths(value) for key, value in named.items() if value is not None}

    def parts(self, workspace: Workspace) -> list[LogPart]:
        """Returns the logs of the splits, train first.

        Raises:
            MusicrecError: if train or test is missing.
        """
        if self.split != "files":
            return super().parts(workspace)
        for key in ("train", "test"):
            if key not in self.files:
                raise MusicrecError(
                    f"data={self.name} needs a file of each split: set data.train=FILE data.test=FILE (and data.val); "
                    "for one file with a column data.plays=FILE data.split=column data.split_column=NAME"
                )
        return [LogPart(paths, key) for key, paths in self.files.items()]
