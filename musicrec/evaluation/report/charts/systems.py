"""Systems: the embeddings of a table and, last, the best recommender without audio, with the tests of all pairs."""

from __future__ import annotations

import numpy as np
import pandas as pd

from musicrec.evaluation.comparison import Comparison
from musicrec.evaluation.statistics.significance import PAIRED


def without_audio(comparison: Comparison, table: str, split: str) -> pd.DataFrame:
    """Returns the recommenders without audio that stand beside the embeddings of a table, the bar first."""
    rows = comparison.bar_rows(table, split)
    return rows.assign(row=[f"{comparison.title(run)} (no audio)" for run in rows["run"]])


def systems(comparison: Comparison, table: str, split: str) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """Returns name to NDCG per user of a table's embeddings and, last, the bar; and the tests of all pairs."""
    scores, pairs = comparison.per_user(table, split), comparison.pairs(table, split)
    bar, columns = without_audio(comparison, table, split)[:1], ["first", "second", *PAIRED]
    for run, name in zip(bar["run"], bar["row"], strict=True):
        scores[name] = comparison.scores[run][split][comparison.ndcg(split)].to_numpy()
        tests = comparison.bars
        own = (tests["table"] == table) & (tests["split"] == split) & (tests["metric"] == comparison.ndcg(split))
        against = tests[own].rename(columns={"embedding": "first"}).assign(second=name)[columns]
        pairs = pd.concat([pairs[columns], against]) if len(pairs) else against
    return scores, pairs
