"""Dataset: the splits of a workspace with users and items numbered from 0, and a vector per item."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd

from musicrec.columns import COUNT, TIMESTAMP, TRACK, USER
from musicrec.data.split_files import REMEDY, read_split
from musicrec.embeddings.base import Embedding
from musicrec.embeddings.tables.transforms import prepared
from musicrec.embeddings.tables.vector_options import VectorOptions
from musicrec.errors import MusicrecError
from musicrec.evaluation.truth import VAL, load_truth
from musicrec.workspace import TrackIndex, Workspace

log = logging.getLogger(__name__)

USER_NUMBER, ITEM_NUMBER = "user", "item"
# The splits that other frameworks know, by the names that they have here.
PHASES = ("train", "val", "test")
# The split of this project that stands for `test`, where there is none of that name.
_HOT = "hot_test"


@dataclass(frozen=True)
class Dataset:
    """What is exported. Users and items are numbered from 0 without gaps, as most frameworks demand.

    Attributes:
        name: of the data.
        phases: train, val, test: columns user, item (int64 numbers), count, timestamp (datetime64[us]).
        users: (users,) ids as in the log, int64 or object holding str; their index is their number.
        tracks: (items,) int64 track idx, increasing; their index is their number.
        track_ids: (items,) the ids of these tracks.
        vectors: (items, dim) float32 with NaN rows for tracks that have none; None = no vectors.
    """

    name: str
    phases: dict[str, pd.DataFrame]
    users: np.ndarray
    tracks: np.ndarray
    track_ids: list[str]
    vectors: np.ndarray | None

    @property
    def known(self) -> np.ndarray:
        """Returns (items,) bool: which items have a vector."""
        if self.vectors is None:
            return np.zeros(len(self.tracks), dtype=bool)
        known: np.ndarray = np.isfinite(self.vectors).all(axis=1)
        return known

    @property
    def filled(self) -> np.ndarray:
        """Returns (items, dim) float32 vectors, the mean of the others for items that have none.

        Raises:
            MusicrecError: no vectors are exported, or no item has one.
        """
        if self.vectors is None or not self.known.any():
            raise MusicrecError(f"no track of {self.name} has a vector")
        mean = self.vectors[self.known].mean(axis=0, dtype=np.float64)
        return np.where(self.known[:, None], self.vectors, mean).astype(np.float32)

    def mapping(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Returns users (user, user_id) and items (item, item_id = track idx, track_id), one row per number."""
        users = pd.DataFrame({USER_NUMBER: np.arange(len(self.users)), USER: self.users})
        items = {ITEM_NUMBER: np.arange(len(self.tracks)), "item_id": self.tracks, TRACK: self.track_ids}
        return users, pd.DataFrame(items)


def collect(
    workspace: Workspace, name: str, embedding: Embedding, options: VectorOptions, seed: int, repeat: bool = False
) -> Dataset:
    """Returns what is to be exported of a workspace.

    Args:
        workspace: has the splits, the track index and the embedding.
        name: of the data.
        embedding: whose vectors are exported; one without dimensions: none are.
        options: what is done to the vectors first; its statistics come from the tracks of train.
        seed: of a permutation.
        repeat: whether held-out tracks that the user played in train count (global_temporal).

    Raises:
        MusicrecError: splits or embedding are missing, or do not belong to the index.
    """
    if not workspace.track_index.is_file():
        raise MusicrecError(f"{workspace.track_index} is missing: make it with {REMEDY}")
    index = TrackIndex.load(workspace.track_index)
    phases = {"train": read_split(workspace.split("train"), index)}
    held_out = load_truth(workspace, repeat)
    test = "test" if "test" in held_out else _HOT
    for phase, split in ((VAL, VAL), ("test", test)):
        pairs = held_out.get(split)
        whole = read_split(workspace.split(split), index) if pairs is not None else phases["train"].iloc[:0]
        phases[phase] = whole if pairs is None else whole.loc[pairs.index] if len(pairs) != len(whole) else whole
    if left_out := sorted(held_out.keys() - {VAL, test}):
        log.warning("%s is left out: the frameworks know no tracks beyond those of train", ", ".join(left_out))
    users = np.unique(np.concatenate([frame[USER].to_numpy() for frame in phases.values()]))
    tracks = np.unique(np.concatenate([frame[TRACK].to_numpy(np.int64) for frame in phases.values()]))
    numbered = {phase: _numbered(frame, users, tracks) for phase, frame in phases.items()}
    vectors = embedding.table(workspace, index)
    train = np.unique(phases["train"][TRACK].to_numpy(np.int64))
    vectors = prepared(vectors, train, tracks, options, seed, embedding.name)[tracks]
    used = vectors if vectors.shape[1] else None
    dataset = Dataset(name, numbered, users, tracks, [index.ids[row] for row in tracks], used)
    if used is not None and not dataset.known.all():
        log.warning("%d of %d tracks have no vector", (~dataset.known).sum(), len(tracks))
    return dataset


def _numbered(frame: pd.DataFrame, users: np.ndarray, tracks: np.ndarray) -> pd.DataFrame:
    """Returns a split with numbers instead of ids, in order of user and time."""
    values = {
        USER_NUMBER: np.searchsorted(users, frame[USER].to_numpy()),
        ITEM_NUMBER: np.searchsorted(tracks, frame[TRACK].to_numpy(np.int64)),
        COUNT: frame[COUNT].to_numpy(np.int64),
        TIMESTAMP: frame[TIMESTAMP].to_numpy("datetime64[us]"),
    }
    order = [USER_NUMBER, TIMESTAMP, ITEM_NUMBER]
    return pd.DataFrame(values).sort_values(order, ignore_index=True, kind="stable")
