"""Budgets: whether the rows of a table had the same number of settings to choose from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from musicrec.evaluation.results import shown_rows
from musicrec.evaluation.statistics.bars import bar_rows


def unequal_budgets(results: pd.DataFrame, titles: Mapping[str, str], splits: Sequence[str]) -> Iterator[str]:
    """Yields a warning per table whose embeddings, or whose best recommender without audio, had unequal budgets.

    The best of many settings looks better than the best of few, also where nothing else differs. Shuffled controls do
    not count: they are compared with the run of the same settings.

    Args:
        results: what `results_frame` returned, with the column `tried`.
        titles: table to title.
        splits: the test splits; the first one counts.
    """
    for table, title in titles.items():
        rows = shown_rows(results, table, splits[0])
        rows = rows[(rows["embedding"] != "") & ~rows["embedding"].str.contains(r" shuffled\b", regex=True)]
        if rows.empty:
            continue
        tried = dict(zip(rows["row"], rows["tried"].astype(int), strict=True))
        most, least = max(tried, key=lambda row: tried[row]), min(tried, key=lambda row: tried[row])
        if tried[most] > tried[least]:
            yield (
                f"{title}: {most} is the best of {tried[most]} settings, {least} of {tried[least]}: "
                "embeddings with unequal tuning budgets do not compare; try the same settings for each"
            )
        bar = bar_rows(results, table, splits[0])[:1]
        for name, count in zip(bar["row"], bar["tried"].astype(int), strict=True):
            if count < tried[most]:
                yield (
                    f"{title}: {most} is the best of {tried[most]} settings, {name}, the best recommender without "
                    f"audio, of {count}: tune it as much before you say that audio beats it"
                )
