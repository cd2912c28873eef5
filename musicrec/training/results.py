"""What a trained recommender leaves: predictions, per-user metrics, model embeddings."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd

from musicrec.columns import ITEM, RANK, SCORE, SPLIT, USER
from musicrec.data.interactions import COLD, Interactions, Pool, SplitData
from musicrec.evaluation.confidence import half_width
from musicrec.evaluation.cutoffs import Cutoffs
from musicrec.evaluation.scoring import score_run, split_rows
from musicrec.files import atomic_path, csv_text, parquet_damage, parquet_metadata, write_text
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


def final_metrics(workspace: Workspace, name: str, data: SplitData) -> dict[str, float]:
    """Returns {"val/NDCG@50": mean over users, ...} from the per-user files; a split without users has none."""
    final = {}
    for split in data.truth:
        if workspace.metrics(name, split).is_file():
            means = pd.read_parquet(workspace.metrics(name, split)).drop(columns=USER).mean()
            final.update({f"{split}/{column}": float(value) for column, value in means.items()})
    return final


def intervals(workspace: Workspace, name: str, data: SplitData) -> dict[str, float]:
    """Returns {"val/NDCG@50 conf95": half-width of the 95 % interval of the mean over users, ...}."""
    widths = {}
    for split in data.truth:
        if workspace.metrics(name, split).is_file():
            scores = pd.read_parquet(workspace.metrics(name, split)).drop(columns=USER)
            found = zip(scores.columns, half_width(scores.to_numpy()), strict=True)
            widths.update({f"{split}/{column} conf95": float(width) for column, width in found if np.isfinite(width)})
    return widths


def complete_metrics(workspace: Workspace, name: str, data: SplitData, k: Cutoffs) -> None:
    """Scores a finished run again if a file of metrics is missing or damaged; its predictions must be readable."""
    paths = {split: workspace.metrics(name, split) for split, truth in data.truth.items() if len(truth)}
    broken = [split for split, path in paths.items() if not path.is_file() or parquet_damage(path)]
    if not broken:
        return
    path = workspace.predictions(name)
    lists = pd.read_parquet(path)
    broken = [split for split in broken if split_rows(lists, split) is not None]  # without lists there are no metrics
    if broken:
        log.warning("%s is missing or damaged; scoring the run again", paths[broken[0]])
        score_run(workspace, name, data.truth, lists, k, parquet_metadata(path))


def report(workspace: Workspace, name: str, data: SplitData, k: int) -> float | None:
    """Logs the final means in one line per split; returns the val NDCG@k, None without val users."""
    final = final_metrics(workspace, name, data)
    for split in data.truth:
        values = [f"{key.split('/')[1]} {value:.4f}" for key, value in final.items() if key.startswith(f"{split}/")]
        if values:
            log.info("%s  %-9s  %s", name, split, "  ".join(values))
    return final.get(f"val/NDCG@{k}")
