"""Popularity bins of tracks: head, middle and tail by their share of the plays in train."""

from __future__ import annotations

import numpy as np
import pandas as pd

from musicrec.columns import TRACK

HEAD, MIDDLE, TAIL = "head", "middle", "tail"
BINS = (HEAD, MIDDLE, TAIL)

_SHARE = 0.2  # of the (user, track) pairs in train, for the head and for the tail


def popularity_bins(train: pd.DataFrame, num_tracks: int) -> np.ndarray:
    """Returns (num_tracks,) 0 for the head, 1 for the middle, 2 for the tail.

    The head are the most popular tracks that together have 20 % of the (user, track) pairs of train, the tail the least
    popular ones with 20 %, the middle the rest (Abdollahpouri et al. 2021, "User-centered evaluation of popularity bias
    in recommender systems", section 3). The track that crosses the 20 % still belongs to the bin, and so do all that
    are as popular. Tracks that nobody played are in the tail.

    Args:
        train: user_id, track_id; distinct pairs.
        num_tracks: number of tracks in the index.

    >>> train = pd.DataFrame({"user_id": range(10), "track_id": [0, 0, 0, 1, 1, 2, 2, 2, 3, 4]})
    >>> popularity_bins(train, 6).tolist()
    [0, 1, 0, 2, 2, 2]
    """
    users = np.bincount(train[TRACK].to_numpy(np.int64), minlength=num_tracks)
    values, inverse, counts = np.unique(users, return_inverse=True, return_counts=True)
    pairs = values * counts
    less_popular = pairs.cumsum() - pairs
    more_popular = pairs.sum() - less_popular - pairs
    least = _SHARE * pairs.sum()
    of_value = np.where((values > 0) & (more_popular < least), 0, np.where(less_popular < least, 2, 1))
    of_value[values == 0] = 2
    return of_value[inverse]


def bin_pairs(truth: pd.DataFrame, bins: np.ndarray) -> dict[str, pd.DataFrame]:
    """Returns bin to the held-out pairs of its tracks, without bins that have none.

    Args:
        truth: user_id, track_id.
        bins: what `popularity_bins` returned.
    """
    of_pair = bins[truth[TRACK].to_numpy(np.int64)]
    found = {name: truth[of_pair == number] for number, name in enumerate(BINS)}
    return {name: pairs for name, pairs in found.items() if len(pairs)}
