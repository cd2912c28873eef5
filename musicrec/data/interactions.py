"""Interactions: training pairs as arrays. SplitData: the split files of a workspace, loaded together."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from musicrec.columns import COUNT, TIMESTAMP, TRACK, USER
from musicrec.data.artists import TrackArtists, load_artists
from musicrec.data.heard import without_heard
from musicrec.data.split_files import REMEDY, read_split
from musicrec.data.splits.registry import SPLITS
from musicrec.data.splits.settings import CANDIDATES
from musicrec.errors import MusicrecError, demand
from musicrec.files import parquet_metadata
from musicrec.workspace import TrackIndex, Workspace

COLD = "cold_test"

# Which tracks a list is drawn from: those of train, those that nobody played in train, or both.
Pool = Literal["warm", "cold", "all"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Interactions:
    """The (user, track) pairs of a training period, sorted by (user, timestamp, track).

    Attributes:
        user_ids: (users,) sorted distinct ids as in the log: int64, or object holding str.
        users: (rows,) int64 index in `user_ids`, non-decreasing.
        items: (rows,) int64 track idx.
        counts: (rows,) int64 number of plays of the pair.
        timestamps: (rows,) datetime64[us] first play of the pair.
        num_tracks: number of tracks in the index, i.e. of rows in an embedding.
        candidates: (candidates,) int64 sorted distinct track idx that may be recommended.
    """

    user_ids: np.ndarray
    users: np.ndarray
    items: np.ndarray
    counts: np.ndarray
    timestamps: np.ndarray
    num_tracks: int
    candidates: np.ndarray

    def __len__(self) -> int:
        return len(self.users)

    @property
    def num_users(self) -> int:
        """Returns the number of users, including those whose history became empty."""
        return len(self.user_ids)

    @property
    def offsets(self) -> np.ndarray:
        """Returns (users + 1,) int64: user u owns rows offsets[u]:offsets[u + 1]."""
        return np.searchsorted(self.users, np.arange(self.num_users + 1))

    def user_index(self, users: np.ndarray) -> np.ndarray:
        """Returns (n,) the index in `user_ids` of each of n user ids, -1 for unknown users."""
        return pd.Index(self.user_ids).get_indexer(pd.Index(users))

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, num_tracks: int) -> Interactions:
        """Returns the rows of a split file as arrays.

        Args:
            frame: columns user_id, track_id (idx), timestamp, count; rows in any order.
            num_tracks: number of tracks in the index.

        Raises:
            MusicrecError: if a track idx is outside 0..num_tracks - 1.
        """
        items = frame[TRACK].to_numpy(np.int64)
        if len(items) and (items.min() < 0 or items.max() >= num_tracks):
            raise MusicrecError(
                f"the split holds track idx {items.min()} to {items.max()}, but the index has {num_tracks} tracks; "
                f"make it again: {REMEDY}"
            )
        ids = frame[USER]
        values = ids.to_numpy(np.int64) if pd.api.types.is_integer_dtype(ids.dtype) else ids.to_numpy(object)
        # Sorts as the split does: str by code point, int64 by value.
        users, user_ids = pd.factorize(values, sort=True)
        timestamps = frame[TIMESTAMP].to_numpy("datetime64[us]")
        order = np.lexsort((items, timestamps, users))
        return cls(
            user_ids=np.asarray(user_ids),
            users=users[order].astype(np.int64),
            items=items[order],
            counts=frame[COUNT].to_numpy(np.int64)[order],
            timestamps=timestamps[order],
            num_tracks=num_tracks,
            candidates=np.flatnonzero(np.bincount(items)),
        )

    def without_items(self, missing: np.ndarray) -> Interactions:
        """Returns the interactions without the tracks that have no embedding.

        The tracks are removed from the histories and the candidates. Users stay, even with an empty history, so that
        an index in `user_ids` means the same user for every embedding (docs/design.md, Missing audio).

        Args:
            missing: (num_tracks,) bool, True for tracks without an embedding.
        """
        if missing.shape != (self.num_tracks,):
            raise ValueError(f"missing must have shape ({self.num_tracks},), not {missing.shape}")
        kept = ~missing[self.items]
        return replace(
            self,
            users=self.users[kept],
            items=self.items[kept],
            counts=self.counts[kept],
            timestamps=self.timestamps[kept],
            candidates=self.candidates[~missing[self.candidates]],
        )


@dataclass(frozen=True)
class SplitData:
    """The split files that train.py and evaluate.py read.

    Attributes:
        train: the training interactions.
        truth: held-out pairs by split name ("val", "test"; hot_cold: "val", "hot_test", "cold_test"), as frames with
            the columns user_id, track_id (idx), timestamp, count.
        split: the value of `data.split` with which the files were made.
        cold: (cold,) int64 sorted track idx of cold_test, none of which is in train; they may be recommended, too.
        candidates: `separate`: cold_test has lists of cold tracks alone and the other splits lists without any;
            `mixed`: one list of all tracks.
        repeat: whether tracks that a user has played may be recommended again, and count in the truth.
        artists: of each track; None if nobody said them.
    """

    train: Interactions
    truth: dict[str, pd.DataFrame]
    split: str = "temporal"
    cold: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    candidates: str = "separate"
    repeat: bool = False
    artists: TrackArtists | None = None

    @classmethod
    def load(
        cls, workspace: Workspace, tracks: TrackIndex, candidates: str = "separate", repeat: bool = False
    ) -> SplitData:
        """Loads data/{train,val,test}.pqt, or data/{train,val,hot_test,cold_test}.pqt.

        Args:
            workspace: has the files.
            tracks: the track index.
            candidates: what lists are drawn from where there are cold tracks, see the attribute.
            repeat: see the attribute.

        Raises:
            MusicrecError: if a file is missing or unreadable, lacks a column, was made with another track index,
                or if the files do not belong together.
        """
        demand("data.candidates", candidates, candidates in CANDIDATES, " or ".join(CANDIDATES))
        train = read_split(workspace.split("train"), tracks)
        settings = parquet_metadata(workspace.split("train")).get("settings")
        split = _split_of(settings, workspace)
        truth = {name: read_split(workspace.split(name), tracks) for name in SPLITS[split].files[1:]}
        if any(parquet_metadata(workspace.split(name)).get("settings") != settings for name in truth):
            raise MusicrecError(
                f"the files in {workspace.data_dir} were made with different settings (was prepare.py killed?); "
                f"make them again: {REMEDY}"
            )
        if repeat and not SPLITS[split].repeats and SPLITS[split].dates:
            log.warning("eval.repeat=true keeps heard tracks in the lists, but data.split=%s holds out new ones", split)
        elif SPLITS[split].repeats and not repeat:
            truth = {name: without_heard(frame, train) for name, frame in truth.items()}
        interactions = Interactions.from_frame(train, len(tracks))
        cold = np.unique(truth[COLD][TRACK].to_numpy(np.int64)) if COLD in truth else np.empty(0, dtype=np.int64)
        played = np.isin(cold, interactions.candidates)
        if played.any():
            log.warning(
                "%d of the %d tracks of %s are in train, so they are not cold: cold_test lists leave them out",
                played.sum(),
                len(cold),
                workspace.split(COLD),
            )
        artists = load_artists(workspace, len(tracks))
        return cls(interactions, truth, split, cold[~played], candidates, repeat, artists)

    def without_items(self, missing: np.ndarray) -> SplitData:
        """Returns the data whose training part and cold tracks lack those without an embedding; the truth stays.

        See `Interactions.without_items`.
        """
        return replace(self, train=self.train.without_items(missing), cold=self.cold[~missing[self.cold]])

    def pool(self, name: str) -> Pool:
        """Returns which tracks the lists for a held-out split are drawn from."""
        if self.candidates == "mixed" and COLD in self.truth:
            return "all"
        return "cold" if name == COLD else "warm"

    @property
    def sequential(self) -> bool:
        """Returns whether a user's history differs by split, so that each split needs its own lists."""
        return self.split == "leave_one_out"

    def history(self, name: str) -> Interactions:
        """Returns the interactions that are known when the lists for a held-out split are made.

        These are train and, for the test split of leave_one_out, also val. Tracks that are not candidates are left out.
        """
        if not self.sequential or name != "test":
            return self.train
        train, val = self.train, self.truth["val"]
        items = val[TRACK].to_numpy(np.int64)
        val = val[np.isin(items, train.candidates)]

        users = np.concatenate([train.users, train.user_index(val[USER].to_numpy())])
        items = np.concatenate([train.items, val[TRACK].to_numpy(np.int64)])
        counts = np.concatenate([train.counts, val[COUNT].to_numpy(np.int64)])
        timestamps = np.concatenate([train.timestamps, val[TIMESTAMP].to_numpy("datetime64[us]")])
        order = np.lexsort((items, timestamps, users))
        return replace(
            train, users=users[order], items=items[order], counts=counts[order], timestamps=timestamps[order]
        )


def _split_of(settings: dict[str, Any] | None, workspace: Workspace) -> str:
    """Returns the `data.split` of train.pqt; for files made elsewhere it follows from which files exist."""
    split = (settings or {}).get("split", "hot_cold" if workspace.split(COLD).is_file() else "temporal")
    if split not in SPLITS:
        raise MusicrecError(f"{workspace.split('train')} has the unknown split {split!r}; make it again: {REMEDY}")
    return str(split)
