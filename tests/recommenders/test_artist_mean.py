"""ArtistMean against NumPy: the space, cold tracks by artist, by audio, and those of which nothing is known."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from musicrec.data.artists import TrackArtists
from musicrec.data.interactions import SplitData
from musicrec.recommenders.artist_mean import ArtistMean
from musicrec.recommenders.base import Inputs
from tests.recommenders.conftest import made
from tests.recommenders.contract import assert_recommender_contract, cold_world


def test_contract(tmp_path: Path) -> None:
    assert_recommender_contract(partial(ArtistMean, factors=6), tmp_path)


def test_the_space_is_the_truncated_svd(many: SplitData) -> None:
    model = made(ArtistMean, many, factors=5)
    played = np.zeros((many.train.num_users, 30))
    played[many.train.users, many.train.items] = 1
    right = np.linalg.svd(played)[2][:5]
    np.testing.assert_allclose(model.items.numpy() @ model.items.numpy().T, right.T @ right, atol=1e-5)
    scores = model.recommend(np.array([3]), 30)
    user = (model.items.numpy()[played[3] == 1]).mean(axis=0)
    np.testing.assert_allclose(scores[1][0][0], (model.items.numpy() @ user)[scores[0][0][0]], rtol=1e-5)


@pytest.mark.parametrize("audio", [True, False])
def test_cold_tracks(audio: bool) -> None:
    """Cold track 32 is by the artist of tracks 0 and 1, 33 by an artist nobody played, 34 to 36 by nobody known."""
    data, table = cold_world()
    artists = np.full(37, -1)
    artists[[0, 1, 32]], artists[33], artists[2:6] = 7, 8, 9
    model = ArtistMean(Inputs(replace(data, artists=TrackArtists.single(artists)), table if audio else None), factors=4)
    cold, items = model.encode_cold().numpy(), model.items.numpy()
    np.testing.assert_allclose(cold[0], items[:2].mean(axis=0), rtol=1e-5)
    lists = model.recommend(np.arange(40), 6, retriever=model.retriever(pool="cold"))[0]
    if audio:
        # 33 sounds as track 8: its nearest neighbours are the eight tracks of that crowd and two others.
        assert (lists[1::4, 0] == 33).all() and set(lists[0].tolist()) == {32, 33, 34, 35, 36, -1}
    else:
        assert np.isnan(cold[1:]).all() and set(lists[0].tolist()) == {32, -1}


def test_a_track_of_several_artists_is_the_mean_of_all_their_tracks() -> None:
    """Track 32 is by 7 and 8; tracks 0 and 1 by 7, 1 and 5 by 8: 1 counts once."""
    data, _ = cold_world()
    pairs = np.array([(0, 7), (1, 7), (1, 8), (5, 8), (32, 7), (32, 8)])
    artists = TrackArtists(37, pairs[:, 0], pairs[:, 1])
    model = ArtistMean(Inputs(replace(data, artists=artists), None), factors=4)
    expected = model.items.numpy()[[0, 1, 5]].mean(axis=0)
    np.testing.assert_allclose(model.encode_cold().numpy()[0], expected, rtol=1e-5)


def test_without_artists_there_are_no_cold_lists() -> None:
    data, table = cold_world()
    model = ArtistMean(Inputs(data, table))
    assert model.cold_obstacle == "it needs artists; run prepare.py with data.artists=FILE"
