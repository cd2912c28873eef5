"""What is computed with a trained recommender: predictions and model embeddings."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd

from musicrec.columns import ITEM, RANK, SCORE, SPLIT, USER
from musicrec.data.interactions import COLD, Interactions, Pool, SplitData
from musicrec.files import atomic_path, csv_text, write_text
from musicrec.recommenders.base import Recommender, VectorRecommender
from musicrec.recommenders.retrieval.top_k import TopK
from musicrec.workspace import Workspace

log = logging.getLogger(__name__)


def predictions(model: Recommender, data: SplitData, k: int) -> pd.DataFrame:
    """Returns user_id, item_id, rank, score for every user with a held-out pair, best first.

    If splits differ in what is known of a user (leave_one_out) or in which tracks a list may hold (hot_cold), each has
    its own lists, named in a column `split`. A recommender that cannot recommend cold tracks has none for cold_test.

    Args:
        model: the trained recommender.
        data: the split that it was trained on.
        k: length of the lists.
    """
    pools: dict[str, Pool] = {name: data.pool(name) for name in data.truth}
    if len(data.cold) and (obstacle := model.cold_obstacle):
        log.warning("%s cannot recommend cold tracks (%s): there are no lists for %s", model.title, obstacle, COLD)
        pools = {name: "warm" for name in pools if name != COLD}
    if not data.sequential and set(pools) == set(data.truth) and len(set(pools.values())) == 1:
        users = pd.concat([truth[USER] for truth in data.truth.values()])
        return _lists(model, data.train, users, k, model.retriever(pool=next(iter(pools.values()))))
    lists = []
    retrievers: dict[tuple[Pool, str], TopK[Any]] = {}
    for name, pool in pools.items():
        history, key = data.history(name), (pool, name if data.sequential else "")
        if key not in retrievers:
            retrievers[key] = model.retriever(history, pool)
        lists.append(_lists(model, history, data.truth[name][USER], k, retrievers[key]).assign(**{SPLIT: name}))
    return pd.concat(lists, ignore_index=True)


def _lists(model: Recommender, history: Interactions, users: pd.Series, k: int, retriever: TopK[Any]) -> pd.DataFrame:
    """Returns the lists of these users, whose history is given."""
    user_ids = history.user_ids
    positions = np.flatnonzero(pd.Index(user_ids).isin(users))
    ids, scores = model.recommend(positions, k, history, retriever)
    rows, columns = np.nonzero(ids >= 0)
    return pd.DataFrame(
        {USER: user_ids[positions[rows]], ITEM: ids[rows, columns], RANK: columns + 1, SCORE: scores[rows, columns]}
    )


def write_model_embeddings(workspace: Workspace, name: str, model: Recommender, data: SplitData) -> None:
    """Writes the vectors whose dot product is the score, if there are such, and the user ids of the user rows."""
    if not isinstance(model, VectorRecommender):
        return
    for side, vectors in (("users", model.user_vectors()), ("items", model.item_vectors())):
        with atomic_path(workspace.model_embeddings(name, side)) as temporary:
            np.save(temporary, np.asarray(vectors, dtype=np.float32))
    rows = [(USER,), *((user,) for user in data.train.user_ids)]
    write_text(workspace.model_embeddings(name, "users", "csv"), csv_text(rows))
