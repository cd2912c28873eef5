"""Per-user ranking metrics, equal to the PyPI package rs-metrics 0.6.0, as pure functions on ranked ids.

Only ids and their order count; scores are never read, so negative ones do no harm. Everything is computed from a hit
matrix, (users, positions) bool: is the item there in the user's truth?
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from musicrec.columns import ITEM, RANK, TRACK, USER
from musicrec.errors import MusicrecError

METRICS = ("HitRate", "MRR", "Precision", "Recall", "NDCG")


def metric_columns(k: int) -> list[str]:
    """Returns the five column names at cutoff k.

    >>> metric_columns(50)
    ['HitRate@50', 'MRR@50', 'Precision@50', 'Recall@50', 'NDCG@50']
    """
    return [f"{metric}@{k}" for metric in METRICS]


def hit_rate(hits: np.ndarray) -> np.ndarray:
    """Returns 1.0 for a user with any hit, else 0.0; `hits` is (users, positions) bool.

    >>> hit_rate(np.array([[False, True], [False, False]]))
    array([1., 0.])
    """
    return np.where(hits.any(axis=1), 1.0, 0.0)


def reciprocal_rank(hits: np.ndarray) -> np.ndarray:
    """Returns 1 / position of the first hit, positions from 1; 0.0 without a hit.

    >>> reciprocal_rank(np.array([[False, True, True], [False, False, False]]))
    array([0.5, 0. ])
    """
    if hits.shape[1] == 0:
        return np.zeros(len(hits))
    return np.where(hits.any(axis=1), 1 / (hits.argmax(axis=1) + 1), 0.0)


def precision(hits: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Returns hits / length of the list (at most k), as rs-metrics defines it; 0.0 for an empty list.

    >>> precision(np.array([[True, False, False], [False, False, False]]), lengths=np.array([2, 0]))
    array([0.5, 0. ])
    """
    return hits.sum(axis=1) / np.maximum(lengths, 1)


def recall(hits: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Returns hits / size of the user's truth.

    >>> recall(np.array([[True, False, True]]), relevant=np.array([8]))
    array([0.25])
    """
    return hits.sum(axis=1) / np.maximum(relevant, 1)


def ndcg(hits: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """Returns the discounted gain, 1 / log2(1 + position) per hit, over that of min(relevant, k) hits in front.

    >>> ndcg(np.array([[True, False], [False, True]]), relevant=np.array([1, 1]), k=2).round(4)
    array([1.    , 0.6309])
    """
    ideal_hits = np.minimum(relevant, k)
    discounts = 1 / np.log2(np.arange(max(hits.shape[1], ideal_hits.max(initial=0))) + 2)
    ideal = np.concatenate([[1.0], discounts.cumsum()])[ideal_hits]  # [1.0]: no division by 0 for an empty truth
    return hits @ discounts[: hits.shape[1]] / ideal


def all_metrics(hits: np.ndarray, lengths: np.ndarray, relevant: np.ndarray, k: int) -> dict[str, np.ndarray]:
    """Returns the five metrics by column name, each (users,) float64.

    Args:
        hits: (users, positions ≤ k) bool.
        lengths: (users,) length of each user's list, at most k.
        relevant: (users,) size of each user's truth.
        k: the cutoff.
    """
    values = (
        hit_rate(hits),
        reciprocal_rank(hits),
        precision(hits, lengths),
        recall(hits, relevant),
        ndcg(hits, relevant, k),
    )
    return dict(zip(metric_columns(k), values, strict=True))


@dataclass(frozen=True)
class RankedLists:
    """The first k recommendations of every truth user and which of them are hits.

    Attributes:
        users: (users,) the truth's user ids, sorted.
        items: (users, width ≤ k) int64 item ids in order of rank, -1 after the end of a list.
        hits: (users, width) bool.
        relevant: (users,) size of each user's truth.
    """

    users: np.ndarray
    items: np.ndarray
    hits: np.ndarray
    relevant: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Returns (users,) the length of each list."""
        return (self.items >= 0).sum(axis=1)


def ranked_lists(truth: pd.DataFrame, predictions: pd.DataFrame, k: int) -> RankedLists:
    """Returns the lists and hits of the truth's users; users without held-out tracks are left out.

    Args:
        truth: user_id, track_id; distinct pairs.
        predictions: user_id, item_id (track idx ≥ 0), rank; rows in any order: a list is ordered by rank. Gaps in the
            ranks and a first rank other than 1 change nothing.
        k: length to which lists are cut.

    Raises:
        MusicrecError: a missing column, an id or rank that is missing or not a number, a repeated item or rank in a
            user's list, user ids of another type than the truth's.
    """
    if k < 1:
        raise MusicrecError(f"eval.k must be at least 1, not {k}")
    missing = [column for column in (USER, ITEM, RANK) if column not in predictions]
    if missing:
        raise MusicrecError(f"missing column {', '.join(missing)}; predictions have the columns user_id, item_id, rank")
    codes, users = pd.factorize(truth[USER], sort=True)
    rows = _positions(pd.Index(users), _like(users, predictions[USER]))
    known = rows >= 0
    rows, items, ranks = rows[known], _integers(predictions[ITEM])[known], _finite(predictions[RANK])[known]

    # Our own files are in order already; the sort is for others.
    same_user = rows[1:] == rows[:-1]
    if (rows[1:] < rows[:-1]).any() or (same_user & (ranks[1:] < ranks[:-1])).any():
        order = np.lexsort((ranks, rows))
        rows, items, ranks = rows[order], items[order], ranks[order]
        same_user = rows[1:] == rows[:-1]
    tied = np.flatnonzero(same_user & (ranks[1:] == ranks[:-1]))
    if len(tied):
        user, rank = users[rows[tied[0]]], ranks[tied[0]]
        raise MusicrecError(f"user {user} has rank {rank:g} twice; ranks must be unique per user")

    tracks = _integers(truth[TRACK])
    base = int(max(items.max(initial=0), tracks.max(initial=0))) + 1
    keys = pd.Series(rows * base + items)
    repeated = np.flatnonzero(keys.duplicated())
    if len(repeated):
        user, item = users[rows[repeated[0]]], items[repeated[0]]
        raise MusicrecError(f"user {user} has item {item} twice; items must be unique per user")
    is_hit = keys.isin(codes * base + tracks).to_numpy()

    counts = np.bincount(rows, minlength=len(users))
    positions = np.arange(len(rows)) - np.repeat(counts.cumsum() - counts, counts)
    width = min(k, int(counts.max(initial=0)))
    kept = positions < width
    lists = np.full((len(users), width), -1, dtype=np.int64)
    lists[rows[kept], positions[kept]] = items[kept]
    hits = np.zeros((len(users), width), dtype=bool)
    hits[rows[kept], positions[kept]] = is_hit[kept]
    return RankedLists(np.asarray(users), lists, hits, np.bincount(codes, minlength=len(users)))


def per_user(truth: pd.DataFrame, predictions: pd.DataFrame, k: int) -> pd.DataFrame:
    """Returns user_id and the five metrics at k, one row per truth user, sorted by user_id.

    A user without predictions scores 0 in everything. See `ranked_lists` for the arguments and errors.

    >>> truth = pd.DataFrame({"user_id": ["a", "a", "b"], "track_id": [1, 2, 3]})
    >>> predictions = pd.DataFrame({"user_id": ["a", "a"], "item_id": [7, 2], "rank": [1, 2]})
    >>> per_user(truth, predictions, k=2).round(3)
      user_id  HitRate@2  MRR@2  Precision@2  Recall@2  NDCG@2
    0       a        1.0    0.5          0.5       0.5   0.387
    1       b        0.0    0.0          0.0       0.0   0.000
    """
    lists = ranked_lists(truth, predictions, k)
    return pd.DataFrame({USER: lists.users, **all_metrics(lists.hits, lists.lengths, lists.relevant, k)})


def _like(users: np.ndarray | pd.Index, others: pd.Series) -> pd.Series:
    """Returns `others` in the type of `users`, so that ids compare equal whichever program wrote the file."""
    kind = pd.api.types.infer_dtype(users, skipna=False)
    others_kind = pd.api.types.infer_dtype(others, skipna=False)
    if isinstance(others.dtype, pd.CategoricalDtype):
        others = others.astype(others.cat.categories.dtype)
        others_kind = pd.api.types.infer_dtype(others, skipna=False)
    if others.isna().any():
        raise MusicrecError("user_id has missing values")
    if kind == others_kind or not len(others) or not len(users):
        return others
    if kind == "integer":
        try:
            converted = pd.to_numeric(others)
            if (converted == converted.astype(np.int64)).all():
                return converted.astype(np.int64)
        except (ValueError, TypeError):
            pass  # not whole numbers: the error below says so
    if kind == "string" and others_kind == "integer":
        return others.astype(str)
    raise MusicrecError(f"user_id is of type {others_kind}, but the log's user ids are of type {kind}")


def _positions(users: pd.Index, column: pd.Series) -> np.ndarray:
    """Returns the index of each row's user in `users`, -1 if absent; consecutive rows of a user are one look-up."""
    if column.empty:
        return np.empty(0, dtype=np.int64)
    values = column.array
    starts = np.flatnonzero(np.concatenate([[True], np.asarray(values[1:] != values[:-1], dtype=bool)]))
    return np.repeat(users.get_indexer(pd.Index(values[starts])), np.diff(starts, append=len(column)))


def _integers(column: pd.Series) -> np.ndarray:
    """Returns a column of track idx as int64; MusicrecError if it is anything else."""
    values = _finite(column)
    if (values != np.floor(values)).any() or (values < 0).any():
        raise MusicrecError(f"{column.name} must be the track idx of trackid_sorted.csv: whole numbers from 0")
    return values.astype(np.int64)


def _finite(column: pd.Series) -> np.ndarray:
    """Returns a column of numbers; MusicrecError for missing values or anything but numbers."""
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        raise MusicrecError(f"{column.name} must be numbers, not {pd.api.types.infer_dtype(column, skipna=True)}")
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iu":
        return column.to_numpy()
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    if not np.isfinite(values).all():
        raise MusicrecError(f"{column.name} has missing or infinite values")
    return values
