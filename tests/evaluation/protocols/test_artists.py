"""Known and new artists against a loop over the pairs."""

import numpy as np
import pandas as pd

from musicrec.data.artists import TrackArtists
from musicrec.evaluation.protocols.artists import artist_groups


def test_groups_equal_a_loop(generator: np.random.Generator) -> None:
    """Tracks have none to three artists; one of them that the user knows is enough."""
    by_track = [set(generator.choice(9, generator.integers(0, 4), replace=False).tolist()) for _ in range(40)]
    pairs = [(track, artist) for track, artists in enumerate(by_track) for artist in artists]
    tracks, artists = np.array(pairs).T
    train, truth = (
        pd.DataFrame({"user_id": generator.choice(list("abcdef"), rows), "track_id": generator.integers(0, 40, rows)})
        for rows in (25, 60)
    )
    truth = truth.drop_duplicates(ignore_index=True)
    groups = artist_groups(truth, train, TrackArtists(40, tracks, artists))
    expected: dict[str, list[tuple[str, int]]] = {"known": [], "new": []}
    for user, track in truth.itertuples(index=False, name=None):
        heard = set().union(*(by_track[other] for other in train[train.user_id == user].track_id))
        if by_track[track]:
            expected["known" if by_track[track] & heard else "new"].append((user, track))
    assert {name: list(rows.itertuples(index=False, name=None)) for name, rows in groups.items()} == expected
    assert min(map(len, expected.values())) > 5
