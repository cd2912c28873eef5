"""The frame of results, one row per run and test split, and the choice of the rows that tables show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from musicrec.evaluation.confidence import summary
from musicrec.evaluation.cutoffs import Cutoffs
from musicrec.evaluation.metrics import metric_columns
from musicrec.evaluation.runs import Run
from musicrec.evaluation.truth import VAL

# Split name (val included) to per-user metrics.
Scores = Mapping[str, pd.DataFrame]


def result_row(run: Run, split: str, scores: Scores, k: int | Cutoffs, bootstrap: int = 0) -> dict[str, object]:
    """Returns the row of a run and test split, without the metrics beyond accuracy.

    Args:
        run: the run.
        split: a test split.
        scores: of the run.
        k: cutoff of the metrics, or one per split.
        bootstrap: number of resamples of the intervals, which then also have their ends in columns `{metric} low` and
            `{metric} high`; 0 = Student's t.
    """
    numbers, cutoffs = summary(scores[split], bootstrap=bootstrap), Cutoffs.of(k)
    metrics, ndcg = metric_columns(cutoffs.at(split)), cutoffs.ndcg(VAL)
    return {
        "run": run.name,
        "table": run.info.table,
        "recommender": run.info.recommender,
        "embedding": run.info.vectors,
        "seed": run.info.seed,
        "split": split,
        **numbers.loc["mean"],
        **{f"{metric} {end}": numbers.loc[end, metric] for end in numbers.index[1:] for metric in metrics},
        f"{VAL} {ndcg}": scores[VAL][ndcg].mean() if VAL in scores else float("nan"),
        "Size": run.info.size,
        "users": len(scores[split]),
    }


def results_frame(rows: Iterable[Mapping[str, object]], splits: Sequence[str], k: int | Cutoffs) -> pd.DataFrame:
    """Returns the rows sorted by split, table and NDCG, with a column `shown`: whether a table shows the run.

    Of several runs of one table and embedding the best on val is shown. The tables are sorted as `table_order` says;
    runs of no table come last.
    """
    cutoffs = Cutoffs.of(k)
    frame = pd.DataFrame(list(rows)).astype({"Size": "Int64", "seed": "Int64", "table": object})
    # Runs without a val score come last and never win on their test score; the name decides what is left.
    best = frame.sort_values([f"{VAL} {cutoffs.ndcg(VAL)}", "run"], ascending=[False, True])
    best = best.assign(row=_row_names(best)).drop_duplicates(["split", "table", "row"])
    frame["shown"] = frame.index.isin(best.index) & frame["table"].notna()
    frame["ndcg"] = deciding_scores(frame, cutoffs)
    order = {table: index for index, table in enumerate(table_order(frame, splits, "ndcg"))}
    frame["order"] = frame["table"].map(lambda table: order.get(table, len(order)))
    frame["split"] = pd.Categorical(frame["split"], pd.Index(splits))
    frame = frame.sort_values(["split", "order", "ndcg", "run"], ascending=[True, True, False, True])
    return frame.drop(columns=["order", "ndcg"]).astype({"split": object}).reset_index(drop=True)


def tried_settings(results: pd.DataFrame, settings: Mapping[str, str]) -> pd.Series:
    """Returns, for each row of results, how many settings of its table and row name were tried; seeds do not count.

    Args:
        results: columns run, split, table and those that name a row.
        settings: run to what it shares with runs that differ in their seed alone (`seed_means.setting`).
    """
    keys = results.assign(row=_row_names(results), setting=results["run"].map(settings))
    groups = keys.groupby(["split", keys["table"].fillna(""), "row"], sort=False)["setting"]
    return groups.transform("nunique").astype("Int64")


def deciding_scores(results: pd.DataFrame, cutoffs: Cutoffs) -> np.ndarray:
    """Returns (rows,) the NDCG of each row at the cutoff of its split."""
    rows = results.to_dict("records")
    return np.array([row[cutoffs.ndcg(row["split"])] for row in rows], dtype=np.float64)


def table_order(results: pd.DataFrame, splits: Sequence[str], metric: str) -> list[str]:
    """Returns the tables, that with the best mean first.

    Args:
        results: columns table, split, shown and the metric.
        splits: the test splits; what counts is the best run of the first split in which a table has one.
        metric: the column to compare.
    """
    shown = results[results["shown"]]
    best = shown.groupby(["table", "split"])[metric].max().unstack().reindex(columns=list(splits))
    first = best.bfill(axis=1).iloc[:, 0]
    return sorted(map(str, first.index), key=lambda table: (-first[table], table))


def shown_rows(results: pd.DataFrame, table: str | None, split: str) -> pd.DataFrame:
    """Returns the rows that a table shows, the best first, with their names in a column `row`.

    Args:
        results: what `results_frame` returned.
        table: name of the table; None: the runs of no table.
        split: the test split.
    """
    rows = results[results["split"] == split]
    rows = rows[rows["table"].isna() if table is None else (rows["table"] == table) & rows["shown"]]
    return rows.assign(row=_row_names(rows))


def user_scores(rows: pd.DataFrame, scores: Mapping[str, Scores], split: str, metric: str) -> dict[str, np.ndarray]:
    """Returns row name to (users,) scores, the same users in the same order.

    Args:
        rows: what `shown_rows` returned.
        scores: by run name.
        split: the test split.
        metric: column name.
    """
    return {row: scores[run][split][metric].to_numpy() for row, run in zip(rows["row"], rows["run"], strict=True)}


def _row_names(rows: pd.DataFrame) -> pd.Series:
    """Returns what a row is called: its embedding; its recommender if that reads none; its run if it has no table."""
    names = rows["embedding"].where(rows["embedding"] != "", rows["recommender"])
    return names.where(rows["table"].notna(), rows["run"])
