"""Arrays from listening histories: rows of some users, means of their items, usable held-out rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from musicrec.columns import TRACK, USER
from musicrec.data.batches.sequences import Sequences
from musicrec.data.interactions import Interactions


def history_rows(history: Interactions, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns offsets (users + 1,) and rows: rows[offsets[i]:offsets[i + 1]] of `history` belong to users[i]."""
    all_offsets = history.offsets
    starts = all_offsets[users]
    lengths = all_offsets[users + 1] - starts
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return offsets, np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)


def mean_of_items(vectors: np.ndarray, item_index: np.ndarray, history: Interactions, users: np.ndarray) -> np.ndarray:
    """Returns (users, dim) float32 means of the vectors of each user's tracks, each track once; zero without tracks.

    Args:
        vectors: (candidates, dim).
        item_index: (tracks,) row of each track in `vectors`, -1 for none.
        history: who played what.
        users: (users,) indices in user_ids.
    """
    offsets, rows = history_rows(history, users)
    owners = np.repeat(np.arange(len(users)), np.diff(offsets))
    items = item_index[history.items[rows]]
    ones = np.ones(int((items >= 0).sum()))
    played = csr_matrix((ones, (owners[items >= 0], items[items >= 0])), shape=(len(users), len(vectors)))
    played.data[:] = 1  # a pair that occurs twice was summed
    sums = np.asarray(played @ vectors.astype(np.float64))
    return (sums / np.maximum(np.diff(played.indptr), 1)[:, None]).astype(np.float32)


def item_sequences(history: Interactions, users: np.ndarray, item_index: np.ndarray) -> Sequences:
    """Returns the items of these users in order of (timestamp, track), without tracks whose index is -1.

    Args:
        history: who played what.
        users: (users,) indices in user_ids.
        item_index: (tracks,) the item that each track is.
    """
    offsets, rows = history_rows(history, users)
    items = item_index[history.items[rows]]
    kept = np.concatenate([[0], np.cumsum(items >= 0)])
    return Sequences(items[items >= 0], kept[offsets])


def held_out(frame: pd.DataFrame, history: Interactions, item_index: np.ndarray) -> tuple[np.ndarray, pd.DataFrame]:
    """Returns the user index of each usable row of a truth frame, and these rows.

    A row is usable if its user is known and its track is a candidate.
    """
    users = pd.Index(history.user_ids).get_indexer(pd.Index(frame[USER].to_numpy()))
    usable = (users >= 0) & (item_index[frame[TRACK].to_numpy(np.int64)] >= 0)
    return users[usable].astype(np.int64), frame[usable]


def normalised(vectors: np.ndarray) -> np.ndarray:
    """Returns the vectors with length 1; zero vectors stay zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
