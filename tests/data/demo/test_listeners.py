"""The listeners of the demo world: taste, scenes and order are in the log, and nothing of it is an accident."""

import numpy as np
import pandas as pd
import pytest

from musicrec.data.demo.listeners import END, START, TEST, Catalogue, _session_times, listen, make_catalogue


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    rng = np.random.default_rng(0)
    return make_catalogue(np.repeat(np.arange(16), 54), rng.random(864), rng)


@pytest.fixture(scope="module")
def first_plays(catalogue: Catalogue) -> pd.DataFrame:
    """Returns the first play of each (user, track), in order."""
    log = listen(catalogue, 300, np.random.default_rng(1))
    return log.drop_duplicates(["user_id", "track_id"]).reset_index(drop=True)


@pytest.fixture(scope="module")
def log(catalogue: Catalogue) -> pd.DataFrame:
    return listen(catalogue, 300, np.random.default_rng(1))


def test_scenes_are_independent_of_styles(catalogue: Catalogue) -> None:
    table = pd.crosstab(catalogue.styles, catalogue.scenes)
    assert table.shape == (16, 18)
    assert (table.to_numpy() == 3).all()


def test_well_produced_tracks_are_played_more() -> None:
    rng = np.random.default_rng(0)
    production = rng.random(864)
    appeal = make_catalogue(np.repeat(np.arange(16), 54), production, rng).appeal
    assert 0.7 < np.corrcoef(production, appeal)[0, 1] < 0.95


def test_same_seed_same_log(catalogue: Catalogue, log: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(listen(catalogue, 300, np.random.default_rng(1)), log)
    assert not listen(catalogue, 300, np.random.default_rng(2)).equals(log)


def test_the_log_spans_the_year_and_the_month(log: pd.DataFrame) -> None:
    stamps = log["timestamp"]
    assert stamps.min() >= pd.Timestamp(START)
    assert stamps.max() < pd.Timestamp(END)
    assert stamps.min() < pd.Timestamp("2019-03-01")
    assert stamps.max() > pd.Timestamp("2020-03-15")
    assert stamps.dt.to_period("M").nunique() == 14


def test_everybody_has_a_year_of_history_and_new_tracks_in_the_month(first_plays: pd.DataFrame) -> None:
    new = first_plays["timestamp"] >= pd.Timestamp(TEST)
    counts = first_plays.assign(new=new).groupby("user_id")["new"].agg(["size", "sum"])
    assert len(counts) == 300
    assert (counts["size"] - counts["sum"]).between(30, 45).all()
    assert counts["sum"].between(10, 20).all()


def test_tracks_are_repeated_also_in_the_month(log: pd.DataFrame) -> None:
    counts = log.groupby(["user_id", "track_id"]).size()
    assert 1.4 < counts.mean() < 2.5
    assert (counts == 1).mean() > 0.3
    assert counts.max() >= 5
    month = log["timestamp"] >= pd.Timestamp(TEST)
    old = log[~month].set_index(["user_id", "track_id"]).index
    assert log[month].set_index(["user_id", "track_id"]).index.isin(old).sum() > 300


def test_popularity_is_skewed(first_plays: pd.DataFrame) -> None:
    counts = np.sort(np.bincount(first_plays["track_id"], minlength=864))[::-1]
    assert counts[:86].sum() > 0.2 * counts.sum()
    assert counts[-432:].sum() < 0.3 * counts.sum()
    assert (counts > 0).mean() > 0.98


def test_taste_over_styles_lasts_from_the_year_into_the_month(catalogue: Catalogue, first_plays: pd.DataFrame) -> None:
    styles = catalogue.styles[first_plays["track_id"]]
    new = (first_plays["timestamp"] >= pd.Timestamp(TEST)).to_numpy()
    liked = pd.crosstab(first_plays["user_id"][~new], styles[~new])
    favourite = liked.to_numpy().argmax(axis=1)
    hits = styles[new] == favourite[first_plays["user_id"][new] - 1]
    assert hits.mean() > 3 / 16


def test_listeners_wander_through_the_scenes_in_one_direction(catalogue: Catalogue, first_plays: pd.DataFrame) -> None:
    scenes = catalogue.scenes[first_plays["track_id"]]
    same_user = first_plays["user_id"].to_numpy()[1:] == first_plays["user_id"].to_numpy()[:-1]
    steps = ((scenes[1:] - scenes[:-1]) % 18)[same_user]
    share = np.bincount(steps, minlength=18) / len(steps)
    assert share[0] > 0.2
    assert share[1] > 1.5 * share[17]


def test_the_month_goes_on_where_the_year_ended(catalogue: Catalogue, first_plays: pd.DataFrame) -> None:
    """The scene of the last plays before the boundary tells more about the month than that of the first plays."""
    now, before = [], []
    for _, plays in first_plays.groupby("user_id"):
        scenes = catalogue.scenes[plays["track_id"]]
        new = (plays["timestamp"] >= pd.Timestamp(TEST)).to_numpy()
        current = np.bincount(scenes[~new][-6:], minlength=18).argmax()
        early = np.bincount(scenes[~new][:6], minlength=18).argmax()
        now.append(np.isin(scenes[new], [current, (current + 1) % 18]).mean())
        before.append(np.isin(scenes[new], [early, (early + 1) % 18]).mean())
    assert np.mean(now) > 1.8 * np.mean(before)


def test_sessions_keep_their_order_and_their_period() -> None:
    times = _session_times(20, 1000, 1000 + 29 * 86400, np.random.default_rng(0))
    assert len(times) == 20
    assert (np.diff(times) > 0).all()
    assert times[0] >= 1000
    assert times[-1] < 1000 + 29 * 86400
    assert (np.diff(times) > 3600).sum() == 2


def test_a_small_catalogue_is_never_exhausted() -> None:
    catalogue = Catalogue(np.arange(16), np.arange(16) % 3, np.zeros(16))
    log = listen(catalogue, 5, np.random.default_rng(0))
    assert log.groupby("user_id")["track_id"].nunique().max() <= 8
    assert (log.groupby("user_id")["timestamp"].max() >= pd.Timestamp(TEST)).any()
