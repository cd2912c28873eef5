"""Hybrid and Bimodal in planted worlds: with audio that tells the style they find new tracks, shuffled they guess."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from musicrec.data.interactions import Interactions, SplitData
from musicrec.embeddings.tables.transforms import prepared
from musicrec.embeddings.tables.vector_options import VectorOptions
from musicrec.recommenders.base import Recommender
from musicrec.recommenders.bimodal import Bimodal
from musicrec.recommenders.hybrid import Hybrid
from tests.recommenders.conftest import made, rows

STYLES, WARM, COLD, USERS = 4, 60, 40, 60


@pytest.fixture(scope="module")
def world() -> SplitData:
    """Returns users who each played 9 of 15 warm tracks of one style (track modulo 4), and 40 cold tracks."""
    rng = np.random.default_rng(4)
    train, val = [], []
    for user in range(USERS):
        tracks = user % STYLES + STYLES * rng.permutation(WARM // STYLES)
        train += [(user, int(track), day, 1) for day, track in enumerate(tracks[:9])]
        val += [(user, int(track), 400, 1) for track in tracks[9:]]
    new = rows(*((user, WARM + user % STYLES, 500, 1) for user in range(USERS)))
    truth = {"val": rows(*val), "hot_test": rows(*val), "cold_test": new}
    cold = np.arange(WARM, WARM + COLD)
    return SplitData(Interactions.from_frame(rows(*train), WARM + COLD), truth, "hot_cold", cold)


def own_style(model: Recommender, pool: Any, k: int) -> float:
    """Returns the share of the first k tracks of all users that are of their style; chance is a quarter."""
    users = np.arange(USERS)
    lists = model.recommend(users, k, retriever=model.retriever(pool=pool))[0]
    return float((lists % STYLES == users[:, None] % STYLES).mean())


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Hybrid, {"hidden_dim": 16, "batch_size": 20}),
        (Bimodal, {"hidden_dim": 16, "batch_size": 20, "elsa": {"factors": 16, "batch_size": 20}}),
    ],
)
def test_audio_matters_for_new_tracks_where_it_tells_the_style(
    world: SplitData, fit: Callable[..., Any], kind: Any, options: dict[str, Any]
) -> None:
    rng = np.random.default_rng(9)
    style = np.eye(STYLES)[np.arange(WARM + COLD) % STYLES] + 0.2 * rng.normal(size=(WARM + COLD, STYLES))
    noise = rng.normal(size=(WARM + COLD, STYLES))
    found = {}
    for name, table in (("style", style), ("noise", noise)):
        for shuffle in (False, True):
            own = VectorOptions(shuffle=shuffle)
            vectors = prepared(table.astype(np.float32), world.train.items, world.cold, own, 1, name)
            model = made(kind, world, vectors, lr=0.01, **options)
            fit(model, 12, folder=f"{name}-{shuffle}")
            found[name, shuffle] = own_style(model, "cold", 10)
            if name == "style" and not shuffle:
                assert own_style(model, "warm", 6) > 0.95
    assert found["style", False] > 0.9
    for control in (("style", True), ("noise", False), ("noise", True)):
        assert found[control] < 0.4, found
