"""Metrics apart for held-out tracks whose artist the user knows and for those of new artists."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from musicrec.columns import SPLIT, TRACK, USER
from musicrec.data.artists import TrackArtists
from musicrec.evaluation.cutoffs import Cutoffs
from musicrec.evaluation.metrics import per_user
from musicrec.evaluation.runs import Run
from musicrec.evaluation.scoring import split_rows

KNOWN, NEW = "known", "new"


def artist_groups(truth: pd.DataFrame, train: pd.DataFrame, artists: TrackArtists) -> dict[str, pd.DataFrame]:
    """Returns the held-out pairs by whether the user played one of the track's artists in train: `known` or `new`.

    Pairs whose track has no artist are in neither.

    Args:
        truth: user_id, track_id of a held-out split.
        train: user_id, track_id.
        artists: of each track.

    >>> train = pd.DataFrame({"user_id": [1], "track_id": [0]})
    >>> truth = pd.DataFrame({"user_id": [1, 1, 1], "track_id": [1, 2, 3]})
    >>> groups = artist_groups(truth, train, TrackArtists.single([5, 5, 6, -1]))
    >>> {name: rows["track_id"].tolist() for name, rows in groups.items()}
    {'known': [1], 'new': [2]}
    """
    users = pd.Index(truth[USER].unique())
    mine = train[train[USER].isin(users)]
    shape = (len(users), artists.num_tracks)
    by_artist = artists.matrix
    history = csr_matrix((np.ones(len(mine), np.float32), (users.get_indexer(mine[USER]), mine[TRACK])), shape)
    played = history @ by_artist  # (users, artists): how many tracks of the artist the user played
    shared = by_artist[truth[TRACK]].multiply(played[users.get_indexer(truth[USER])])
    has_artist, known = artists.known[truth[TRACK]], np.asarray(shared.sum(axis=1)).ravel() > 0
    return {KNOWN: truth[has_artist & known], NEW: truth[has_artist & ~known]}


def artist_table(
    runs: Sequence[Run],
    truth: Mapping[str, pd.DataFrame],
    splits: Sequence[str],
    train: pd.DataFrame,
    artists: TrackArtists,
    cutoffs: Cutoffs,
    chance: Callable[[str, pd.DataFrame], float] | None = None,
) -> pd.DataFrame:
    """Returns one row per run, test split and group of artists: number of users and mean metrics.

    The lists are those of the run; only the truth is restricted, so Recall is the share of that group's tracks found.

    Args:
        runs: the runs to measure.
        truth: the held-out splits.
        splits: the test splits.
        train: user_id, track_id.
        artists: what `load_artists` returned.
        cutoffs: k of each split.
        chance: gives the NDCG that random lists reach for the pairs of a split, the column `chance`.
    """
    rows: list[dict[str, object]] = []
    for split in splits:
        groups = artist_groups(truth[split], train, artists)
        for run in runs:
            lists = split_rows(run.predictions(), split)
            for group, pairs in groups.items() if lists is not None else ():
                if lists is not None and len(pairs):
                    scores = per_user(pairs, lists, cutoffs.at(split)).drop(columns=USER)
                    named = {"run": run.name, SPLIT: split, "artist": group, "users": len(scores)}
                    means = {str(name): float(mean) for name, mean in scores.mean().items()}
                    rows.append({**named, **means, **({"chance": chance(split, pairs)} if chance else {})})
    return pd.DataFrame(rows)
