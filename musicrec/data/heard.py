"""Held-out pairs that a user already played in train."""

from __future__ import annotations

import pandas as pd

from musicrec.columns import TRACK, USER


def without_heard(truth: pd.DataFrame, train: pd.DataFrame) -> pd.DataFrame:
    """Returns the held-out pairs that are not in train.

    Args:
        truth: user_id, track_id and further columns.
        train: user_id, track_id.

    >>> train = pd.DataFrame({"user_id": ["a"], "track_id": [1]})
    >>> without_heard(pd.DataFrame({"user_id": ["a", "b"], "track_id": [1, 1]}), train).to_dict("records")
    [{'user_id': 'b', 'track_id': 1}]
    """
    known = train[train[USER].isin(truth[USER].unique())]
    heard = pd.MultiIndex.from_frame(truth[[USER, TRACK]]).isin(pd.MultiIndex.from_frame(known[[USER, TRACK]]))
    return truth[~heard].reset_index(drop=True)
