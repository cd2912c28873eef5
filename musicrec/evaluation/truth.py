"""The truth: which tracks each user played in the held-out splits of a workspace."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa

from musicrec.columns import COUNT
from musicrec.data.heard import without_heard
from musicrec.data.split_files import PAIR, REMEDY, read_split
from musicrec.data.splits.registry import SPLITS
from musicrec.errors import MusicrecError
from musicrec.files import parquet_metadata
from musicrec.workspace import TrackIndex, Workspace

VAL = "val"


def load_truth(workspace: Workspace, repeat: bool = False) -> dict[str, pd.DataFrame]:
    """Returns user_id, track_id (and count, if known) of every held-out split: all data/*.pqt but train, val first.

    The track index is checked if it exists; only data/ is needed.

    Args:
        workspace: has the splits.
        repeat: whether tracks that the user played in train count where a split holds them out again (global_temporal).

    Raises:
        MusicrecError: no split but val, an unreadable file, a missing column, another track index, no row in any test
            split.
    """
    paths = {path.stem: path for path in sorted(workspace.data_dir.glob("[!.]*.pqt")) if path.stem != "train"}
    if not paths.keys() - {VAL}:
        raise MusicrecError(f"{workspace.split('test')} is missing: make it with {REMEDY}")
    index = workspace.track_index
    tracks = TrackIndex.load_optional(index)
    truth = {name: read_split(paths[name], tracks, PAIR, (COUNT,)) for name in sorted(paths, key=split_order)}
    if not repeat and _repeats(workspace):
        train = read_split(workspace.split("train"), tracks, PAIR)
        truth = {name: without_heard(frame, train) for name, frame in truth.items()}
    if all(frame.empty for name, frame in truth.items() if name != VAL):
        raise MusicrecError(f"no test user in {workspace.data_dir}: choose another data.test date and run {REMEDY}")
    return truth


def _repeats(workspace: Workspace) -> bool:
    """Returns whether held-out splits hold tracks that the user played in train, as their `data.split` says."""
    try:
        settings = parquet_metadata(workspace.split("train")).get("settings")
    except (OSError, pa.ArrowException, ValueError):  # missing or damaged: whoever needs its rows says so
        return False
    split = SPLITS.get(str(settings.get("split"))) if isinstance(settings, dict) else None
    return split is not None and split.repeats


def split_order(split: str) -> tuple[bool | str, ...]:
    """Returns a sorting key: train, val, test, hot_test, then the others by name.

    >>> sorted(["cold_test", "val", "hot_test", "train"], key=split_order)
    ['train', 'val', 'hot_test', 'cold_test']
    """
    return (*(split != first for first in ("train", VAL, "test", "hot_test")), split)
