"""The truth: which tracks each user played in the held-out splits of a workspace."""

from __future__ import annotations

import pandas as pd

from musicrec.data.split_files import PAIR, REMEDY, read_split
from musicrec.errors import MusicrecError
from musicrec.workspace import TrackIndex, Workspace

VAL = "val"


def load_truth(workspace: Workspace) -> dict[str, pd.DataFrame]:
    """Returns user_id, track_id of every held-out split: all data/*.pqt but train, val first.

    The track index is checked if it exists; only data/ is needed.

    Raises:
        MusicrecError: no split but val, an unreadable file, a missing column, another track index, no row in any test
            split.
    """
    paths = {path.stem: path for path in sorted(workspace.data_dir.glob("[!.]*.pqt")) if path.stem != "train"}
    if not paths.keys() - {VAL}:
        raise MusicrecError(f"{workspace.split('test')} is missing: make it with {REMEDY}")
    index = workspace.track_index
    tracks = TrackIndex.load_optional(index)
    truth = {name: read_split(paths[name], tracks, PAIR) for name in sorted(paths, key=split_order)}
    if all(frame.empty for name, frame in truth.items() if name != VAL):
        raise MusicrecError(f"no test user in {workspace.data_dir}: choose another data.test date and run {REMEDY}")
    return truth


def split_order(split: str) -> tuple[bool | str, ...]:
    """Returns a sorting key: train, val, test, hot_test, then the others by name.

    >>> sorted(["cold_test", "val", "hot_test", "train"], key=split_order)
    ['train', 'val', 'hot_test', 'cold_test']
    """
    return (*(split != first for first in ("train", VAL, "test", "hot_test")), split)
