"""as_prepared: the settings that the splits of a workspace were made with, compared with those of a command."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

import pyarrow as pa

from musicrec.data.log.content_hash import hashes_path, log_hashes
from musicrec.data.source import DataSource
from musicrec.errors import MusicrecError
from musicrec.files import parquet_metadata
from musicrec.options import changed
from musicrec.workspace import Workspace


def as_prepared(source: DataSource, workspace: Workspace, stated: Collection[str]) -> tuple[DataSource, dict[str, Any]]:
    """Returns the source with the settings of the splits that are there, and which of them are not those of the source.

    Args:
        source: as a command describes it.
        workspace: has the splits. Without any, or with files made by another program, nothing is compared.
        stated: the keys of the group `data` that the command means; the others follow the splits.

    Raises:
        MusicrecError: if a stated setting, or the listening log, is another; names both values.
    """
    recorded = _recorded(workspace)
    wanted = {
        **vars(source.splits),
        **vars(source.filters),
        **source.log_settings(),
    }
    different = {key: recorded[key] for key in wanted if key in recorded and recorded[key] != wanted[key]}
    refused = [f"data.{key}={value} (now {wanted[key]})" for key, value in different.items() if key in stated]
    if _other_log(source, workspace, recorded, stated):
        logs = ",".join(str(path) for path in source.plays or ())
        refused.append(f"a listening log of other content than data.plays={logs} has now")
    if refused:
        raise MusicrecError(
            f"{workspace.data_dir} was prepared with {', '.join(refused)}: train with the settings of the splits, or "
            f"prepare them again: python prepare.py data={source.name} with the same data.* settings; for other data "
            "choose another data.name"
        )
    followed = copy.copy(source)
    for name, value in changed(source, different).items():
        setattr(followed, name, value)
    return followed, different


def _recorded(workspace: Workspace) -> dict[str, Any]:
    """Returns the settings in train.pqt by key of the group `data`, and the log's hash as `log`; {} if not known."""
    try:
        settings = parquet_metadata(workspace.split("train")).get("settings")
    except (OSError, pa.ArrowException, ValueError):  # missing or damaged: whoever reads it says so
        return {}
    if not isinstance(settings, dict) or not isinstance(settings.get("plays", {}), dict):
        return {}
    return {**settings.get("plays", {}), **{key: value for key, value in settings.items() if key != "plays"}}


def _other_log(source: DataSource, workspace: Workspace, recorded: dict[str, Any], stated: Collection[str]) -> bool:
    """Returns whether a log that the command names is another one than the splits were made from."""
    if "plays" not in stated or source.plays is None or "bytes" in recorded or "log" not in recorded:
        return False  # not named; or recorded by its path, by an earlier version
    found = log_hashes(source.plays, hashes_path(workspace))
    return bool(found) and found != recorded["log"]
