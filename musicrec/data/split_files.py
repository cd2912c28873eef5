"""Reads the split files `data/{train,val,test,…}.pqt`, for training and for evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from musicrec.columns import COUNT, TIMESTAMP, TRACK, USER
from musicrec.errors import MusicrecError, first_line
from musicrec.files import parquet_metadata
from musicrec.workspace import TrackIndex

REMEDY = "python prepare.py (with the same data=… and paths.root=…)"
PAIR = (USER, TRACK)
INTERACTION = (USER, TRACK, TIMESTAMP, COUNT)


def read_split(
    path: Path,
    tracks: TrackIndex | None = None,
    columns: Sequence[str] = INTERACTION,
    optional: Sequence[str] = (),
) -> pd.DataFrame:
    """Returns the named columns of a split file, one row per (user, track) pair.

    Args:
        path: `data/{split}.pqt`, also one written by another program.
        tracks: the index that the file's track idx must mean; None: not checked.
        columns: the columns to read, by default all that training needs.
        optional: columns to read where the file has them.

    Raises:
        MusicrecError: if the file is missing, unreadable, lacks a column or was made with another track index.
    """
    if not path.exists():
        raise MusicrecError(f"{path} is missing: make it with {REMEDY}")
    try:
        present = pq.read_schema(path).names
        if absent := [column for column in columns if column not in present]:
            raise MusicrecError(f"{path} lacks the column {', '.join(absent)}; make it again: {REMEDY}")
        if tracks is not None:
            tracks.check(parquet_metadata(path), path, REMEDY)
        return pd.read_parquet(path, columns=[*columns, *(column for column in optional if column in present)])
    except (OSError, pa.ArrowException, ValueError) as error:
        reason = first_line(error).split(". ")[0].rstrip(".")
        raise MusicrecError(f"{path} cannot be read ({reason}); make it again: {REMEDY}") from error
