"""Bars: the recommenders without audio beside the embeddings of every table, and tests against the best of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from musicrec.evaluation.cutoffs import Cutoffs
from musicrec.evaluation.metrics import metric_columns
from musicrec.evaluation.results import Scores, shown_rows, user_scores
from musicrec.evaluation.statistics.equivalence import MARGIN
from musicrec.evaluation.statistics.significance import ALPHA, P_VALUES, PAIRED, holm, paired_tests
from musicrec.evaluation.truth import VAL

COLUMNS = ("table", "split", "metric", "embedding", "bar", "gain", *PAIRED)


def bar_rows(results: pd.DataFrame, table: str | None, split: str) -> pd.DataFrame:
    """Returns the rows of runs that read no embedding, the best on val first, with their names in a column `row`.

    Of several runs of one recommender the best on val is taken, as everywhere. The first row is the bar of the table;
    without a val score the name decides.

    Args:
        results: what `results_frame` returned.
        table: a table; its own runs are left out, as it shows them already. None: all.
        split: the test split.
    """
    tables = [name for name in results["table"].dropna().unique() if name != table]
    frames = [shown_rows(results, name, split) for name in tables]
    rows = pd.concat([frame[frame["embedding"] == ""] for frame in frames] or [results.assign(row="")[:0]])
    val = next(str(column) for column in results if str(column).startswith(f"{VAL} "))
    return rows.sort_values([val, "run"], ascending=[False, True])


def against_bar(
    results: pd.DataFrame,
    tables: Sequence[str],
    scores: Mapping[str, Scores],
    splits: Sequence[str],
    cutoffs: Cutoffs,
    margin: float = MARGIN,
) -> pd.DataFrame:
    """Returns the paired tests of every embedding that a table shows against the table's bar.

    The p values are Holm-corrected within each table, split and metric; `gain` is the difference in shares of the bar's
    mean.

    Args:
        results: what `results_frame` returned.
        tables: names of tables.
        scores: run name to per-user metrics.
        splits: the test splits.
        cutoffs: of the metrics.
        margin: see `paired_tests`.
    """
    frames = [pd.DataFrame(columns=[*COLUMNS])]
    for split in splits:
        for table in tables:
            rows, bars = shown_rows(results, table, split), bar_rows(results, table, split)
            if not len(rows) or not len(bars):
                continue
            for metric in metric_columns(cutoffs.at(split)):
                bar = scores[bars.iloc[0]["run"]][split][metric].to_numpy()
                own = np.stack(list(user_scores(rows, scores, split, metric).values()), axis=1)
                tests = paired_tests(own, np.repeat(bar[:, None], own.shape[1], axis=1), margin)
                tests |= {name: holm(tests[name]) for name in P_VALUES}
                mean = bar.mean()
                gain = tests["difference"] / mean if mean else np.full(own.shape[1], np.nan)
                frame = pd.DataFrame({"embedding": rows["row"].to_numpy(), "gain": gain, **tests})
                frames.append(frame.assign(table=table, split=split, metric=metric, bar=bars.iloc[0]["run"]))
    frame = pd.concat([each for each in frames if len(each)] or frames, ignore_index=True)
    return frame[[*COLUMNS]]


def sentence(title: str, gain: float, p: float) -> str:
    """Returns how an embedding compares with the bar.

    >>> sentence("EASE", -0.118, 0.0001)
    '12 % below EASE, p < 0.001'
    >>> sentence("EASE", 0.003, 0.4)
    'not significantly different from EASE (0.3 % above, p = 0.400)'
    """
    share = abs(gain) * 100
    by = f"{share:.0f} %" if share >= 1 else f"{share:.1f} %"
    chance = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    side = "above" if gain > 0 else "below"
    if p < ALPHA:
        return f"{by} {side} {title}, {chance}"
    return f"not significantly different from {title} ({by} {side}, {chance})"
