"""Metrics beyond accuracy: coverage, concentration, novelty, popularity and diversity of the lists.

All functions take the lists as `RankedLists.items`: (users, positions) track idx, -1 after the end of a list.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from musicrec.columns import TRACK, USER
from musicrec.data.split_files import PAIR, read_split
from musicrec.embeddings.tables.store import open_table
from musicrec.errors import MusicrecError
from musicrec.evaluation.metrics import RankedLists
from musicrec.evaluation.popularity import BINS, TAIL, popularity_bins
from musicrec.workspace import Workspace

log = logging.getLogger(__name__)

BEYOND = ("Coverage", "Gini", "Novelty", "PopularityLift", "APLT", "Diversity", "ArtistDiversity")

_BLOCK = 64 * 2**20  # bytes of embedding rows held at once


@dataclass(frozen=True)
class Listening:
    """Popularity of tracks and taste of users in the training data.

    Attributes:
        users: number of users.
        popularity: (tracks,) share of the users who played the track.
        profiles: user id to the mean popularity of the tracks the user played.
    """

    users: int
    popularity: np.ndarray
    profiles: pd.Series

    @classmethod
    def from_train(cls, train: pd.DataFrame) -> Listening:
        """Returns the facts of the train split: distinct (user_id, track_id) pairs.

        Args:
            train: columns user_id, track_id.
        """
        users = int(train[USER].nunique())
        popularity = np.bincount(train[TRACK]) / max(users, 1)
        profiles = pd.Series(popularity[train[TRACK]], index=train[USER]).groupby(level=0).mean()
        return cls(users, popularity, profiles)

    def shares(self, items: np.ndarray) -> np.ndarray:
        """Returns the popularity of each list entry: 0 for a track nobody played, NaN after the end of a list."""
        known = (items >= 0) & (items < len(self.popularity))
        shares = np.where(known, self.popularity[np.where(known, items, 0)], 0.0)
        return np.where(items >= 0, shares, np.nan)


class BeyondAccuracy:
    """Computes the metrics of a run's lists against the training data of a workspace.

    Diversity is measured in the space of one embedding for all runs, so that runs can be compared: the given one, or
    the smallest audio embedding in the workspace; NaN if there is none. Artist diversity is NaN without artists.

    Args:
        workspace: has train.
        space: name of the embedding.
        artists: (tracks,) number of the artist of each track, -1 for unknown; None: nobody said it.
    """

    def __init__(self, workspace: Workspace, space: str | None = None, artists: np.ndarray | None = None):
        train = read_split(workspace.split("train"), columns=PAIR)
        self.listening = Listening.from_train(train)
        self.artists = artists
        self._tail = popularity_bins(train, len(self.listening.popularity)) == BINS.index(TAIL)
        path = _space(workspace, space)
        self._vectors = None
        if path is not None:
            try:
                self._vectors = open_table(path)
            except MusicrecError as error:
                if space is not None:
                    raise
                log.warning("%s; diversity is left out", error)
        self.space = path.stem if path is not None and self._vectors is not None else None

    def measure(self, lists: RankedLists, k: int, candidates: np.ndarray) -> dict[str, float]:
        """Returns the metrics by column name, e.g. `Coverage@50`.

        Args:
            lists: those of a run.
            k: to which they are cut.
            candidates: track idx that they are drawn from.
        """
        items = lists.items
        values = (
            coverage(items, candidates),
            gini(items, candidates),
            _nanmean(novelty(items, self.listening)),
            popularity_lift(items, lists.users, self.listening),
            _nanmean(long_tail(items, self._tail)),
            _nanmean(diversity(items, self._vectors)) if self._vectors is not None else float("nan"),
            _nanmean(artist_diversity(items, self.artists)) if self.artists is not None else float("nan"),
        )
        return dict(zip(beyond_columns(k), values, strict=True))


def beyond_columns(k: int) -> list[str]:
    """Returns the column names at cutoff k."""
    return [f"{name}@{k}" for name in BEYOND]


def _space(workspace: Workspace, name: str | None) -> Path | None:
    """Returns the file of the embedding in whose space diversity is measured; None if there is none."""
    if name is not None:
        path = workspace.embedding(name)
        if not path.is_file():
            remedy = f"make it with python extract.py embedding={name}"
            raise MusicrecError(f"eval.diversity={name}: {path} is missing: {remedy}")
        return path
    folder = workspace.embedding("any").parent
    found = [path for path in folder.glob("[!.]*.npy") if not path.stem.startswith("random")]
    return min(found, key=lambda path: (path.stat().st_size, path.name), default=None)


def coverage(items: np.ndarray, candidates: np.ndarray) -> float:
    """Returns the share of the candidates that are in at least one list.

    >>> coverage(np.array([[3, 5], [3, -1]]), candidates=np.array([3, 4, 5, 6]))
    0.5
    """
    return float(np.isin(candidates, items).mean()) if len(candidates) else float("nan")


def gini(items: np.ndarray, candidates: np.ndarray) -> float:
    """Returns how unequally the candidates are recommended: 0 = all equally often, near 1 = a few fill all lists.

    The Gini coefficient of the number of lists that each candidate is in (Gini 1912; Gunawardana & Shani 2015, section
    8.3.3.2). Other tracks do not count; NaN if no candidate is recommended.

    >>> gini(np.array([[3, 4], [3, 5]]), candidates=np.array([3, 4, 5, 6]))
    0.375
    """
    candidates = np.unique(candidates)
    listed = items[np.isin(items, candidates)]
    if not len(listed):
        return float("nan")
    counts = np.sort(np.bincount(np.searchsorted(candidates, listed), minlength=len(candidates)))
    ranks = np.arange(1, len(counts) + 1)
    return float(((2 * ranks - len(counts) - 1) * counts).sum() / (len(counts) * counts.sum()))


def long_tail(items: np.ndarray, tail: np.ndarray) -> np.ndarray:
    """Returns the share of each user's list that is in the long tail; NaN without a list.

    Its mean is APLT, the average percentage of long-tail items (Abdollahpouri et al. 2019, "Managing popularity bias in
    recommender systems with personalized re-ranking", section 5.2), here as a share.

    Args:
        items: (users, positions).
        tail: (tracks,) bool; tracks beyond its end, which nobody played, are in the tail.

    >>> long_tail(np.array([[0, 1, 9, -1]]), tail=np.array([False, True])).round(3)
    array([0.667])
    """
    known = (items >= 0) & (items < len(tail))
    values = np.where(known, tail[np.where(known, items, 0)] if len(tail) else True, 1.0)
    return _mean_over_list(np.where(items >= 0, values, np.nan))


def artist_diversity(items: np.ndarray, artists: np.ndarray) -> np.ndarray:
    """Returns the number of different artists in each user's list per track; NaN without a track of a known artist.

    Tracks of unknown artists do not count. 1 = each track is by another artist.

    >>> artist_diversity(np.array([[0, 1, 2, -1]]), artists=np.array([7, 7, 8])).round(3)
    array([0.667])
    """
    inside = (items >= 0) & (items < len(artists))
    of_list = np.sort(np.where(inside, artists[np.where(inside, items, 0)] if len(artists) else -1, -1), axis=1)
    known = of_list >= 0
    first = known.copy()
    first[:, 1:] &= of_list[:, 1:] != of_list[:, :-1]
    count = known.sum(axis=1)
    return np.where(count > 0, first.sum(axis=1) / np.maximum(count, 1), np.nan)


def novelty(items: np.ndarray, listening: Listening) -> np.ndarray:
    """Returns each user's mean self-information in bits, -log2(share of users who played a track); NaN without a list.

    A track nobody played counts as played by one user (Vargas & Castells 2011, section 3; `surprisal` of rs-metrics).
    """
    shares = np.maximum(listening.shares(items), 1 / max(listening.users, 1))  # keeps NaN
    return _mean_over_list(-np.log2(shares))


def popularity_lift(items: np.ndarray, users: np.ndarray, listening: Listening) -> float:
    """Returns by how much the lists are more popular than what the same users play, e.g. 0.5 = by half.

    ΔGAP of Abdollahpouri et al. 2019, "The unfairness of popularity bias in recommendation", section 4.
    """
    lists = _mean_over_list(listening.shares(items))
    profiles = listening.profiles.reindex(users).to_numpy(dtype=np.float64)
    both = ~np.isnan(lists) & ~np.isnan(profiles)
    return float(lists[both].mean() / profiles[both].mean() - 1) if both.any() else float("nan")


def diversity(items: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Returns each user's mean pairwise cosine distance between the tracks of the list; NaN for fewer than 2.

    Args:
        items: (users, positions); tracks without a vector are ignored.
        vectors: (tracks, dim) an embedding, NaN rows for missing tracks; may be memory-mapped.
    """
    width, dim = items.shape[1], vectors.shape[1]
    result = np.full(len(items), np.nan)
    step = max(1, _BLOCK // max(1, 4 * width * dim))
    for start in range(0, len(items), step):
        block = items[start : start + step]
        known = (block >= 0) & (block < len(vectors))
        rows = np.asarray(vectors[np.where(known, block, 0)], dtype=np.float32)  # (users, positions, dim)
        norms = np.linalg.norm(rows, axis=2)
        known &= norms > 0  # False for NaN, too
        units = np.where(known[..., None], rows / np.where(known, norms, 1)[..., None], 0)
        # The sum over all pairs without forming them: |sum of unit vectors|^2 = n + 2 * sum of pairwise cosines.
        count = known.sum(axis=1)
        squared = np.square(units.sum(axis=1, dtype=np.float64)).sum(axis=1)
        similarity = (squared - count) / np.maximum(count * (count - 1), 1)
        result[start : start + step] = np.where(count > 1, 1 - similarity, np.nan)
    return result


def _mean_over_list(values: np.ndarray) -> np.ndarray:
    """Returns the mean of each row without its NaN; NaN for a row that holds nothing else."""
    given = ~np.isnan(values)
    count = given.sum(axis=1)
    return np.where(count > 0, np.where(given, values, 0).sum(axis=1) / np.maximum(count, 1), np.nan)


def _nanmean(values: np.ndarray) -> float:
    """Returns the mean without NaN; NaN of nothing."""
    given = values[~np.isnan(values)]
    return float(given.mean()) if len(given) else float("nan")
