"""The comparison: every run in the workspace scored, tested against the others and put into tables."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from musicrec.columns import TRACK, USER
from musicrec.errors import MusicrecError
from musicrec.evaluation.beyond_accuracy import BeyondAccuracy
from musicrec.evaluation.confidence import summary
from musicrec.evaluation.metrics import metric_columns, ranked_lists
from musicrec.evaluation.runs import TABLE_OF_PREFIX, Run, find_runs, load_truth
from musicrec.evaluation.scoring import of_split, score_run
from musicrec.evaluation.seeds import over_seeds
from musicrec.evaluation.significance import pairwise
from musicrec.files import atomic_path
from musicrec.workspace import Workspace

log = logging.getLogger(__name__)

VAL = "val"
TABLES = tuple(TABLE_OF_PREFIX.values())


@dataclass(frozen=True)
class Comparison:
    """All that evaluate.py found out.

    Attributes:
        k: the cutoff of the metrics.
        splits: the test splits, the main one first: ["test"], or ["hot_test", "cold_test"].
        runs: the scored runs by name.
        scores: run name to split (val included) to per-user metrics.
        comparison: one row a run and test split: names, metrics, their 95 % half-widths, metrics beyond accuracy, val
            NDCG, Size, and whether a table shows the run.
        tables: file stem (cosine, shallow, bert; with _{split} behind it for further test splits) to a frame with
            index embedding, the five metrics (test means) and Size, the best NDCG first.
        significance: one row a pair of embeddings shown in one table, for every split and metric
            (`significance.pairwise`, corrected within each).
        seeds: one row a setting and test split (`seeds.over_seeds`).
        diversity_space: the embedding in which diversity is measured, None if there is none.
        warnings: a line for each file that was skipped.
    """

    k: int
    splits: list[str]
    runs: dict[str, Run]
    scores: dict[str, dict[str, pd.DataFrame]]
    comparison: pd.DataFrame
    tables: dict[str, pd.DataFrame]
    significance: pd.DataFrame
    seeds: pd.DataFrame
    diversity_space: str | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def metrics(self) -> list[str]:
        """Returns the five column names, NDCG last."""
        return metric_columns(self.k)

    @property
    def ndcg(self) -> str:
        """Returns the column that decides what is better."""
        return f"NDCG@{self.k}"

    def shown(self, table: str | None, split: str | None = None) -> pd.DataFrame:
        """Returns the rows of `comparison` that a table shows, the best first; None: the runs of no table."""
        return _shown(self.comparison, table, split or self.splits[0])

    def per_user(self, table: str, split: str | None = None, metric: str | None = None) -> dict[str, np.ndarray]:
        """Returns embedding to (users,) scores of the runs that a table shows; the same users in the same order."""
        split = split or self.splits[0]
        rows = self.shown(table, split)
        return _per_user(rows, self.scores, split, metric or self.ndcg)

    def pairs(self, table: str, split: str | None = None, metric: str | None = None) -> pd.DataFrame:
        """Returns the rows of `significance` of a table, split (the main one) and metric (NDCG)."""
        chosen = {"table": table, "split": split or self.splits[0], "metric": metric or self.ndcg}
        rows = self.significance
        for column, value in chosen.items():
            rows = rows[rows[column] == value]
        return rows

    def names(self) -> Iterable[tuple[str, str, str]]:
        """Returns (file stem, table, split) of every table."""
        for split in self.splits:
            for table in TABLES:
                stem = table if split == self.splits[0] else f"{table}_{split}"
                if stem in self.tables:
                    yield stem, table, split


def compare(workspace: Workspace, k: int, *, bootstrap: int = 0, diversity: str | None = None) -> Comparison:
    """Returns the comparison of all runs in preds/; writes metrics/, the tables and three more .csv (`_write`).

    Of several runs with one recommender and embedding a table shows the best by NDCG on val (chosen on test, the best
    of many would flatter), comparison.csv all of them. Files that cannot be scored are logged and skipped.

    Args:
        workspace: needs data/ and preds/ only.
        k: cutoff of the metrics.
        bootstrap: number of resamples for the intervals; 0 = Student's t.
        diversity: the embedding in which diversity is measured; None: see `BeyondAccuracy`.

    Raises:
        MusicrecError: no test data, or nothing in preds/ that can be scored.
    """
    truth = load_truth(workspace)
    runs, warnings = find_runs(workspace)
    cold = truth["cold_test"][TRACK].to_numpy() if "cold_test" in truth else None
    beyond = BeyondAccuracy(workspace, diversity, cold) if workspace.split("train").is_file() else None
    scores: dict[str, dict[str, pd.DataFrame]] = {}
    rows = []
    for run in runs:
        try:
            predictions = run.predictions()
            of_run = score_run(workspace, run.name, truth, predictions, k, run.metadata)
            if not of_run.keys() - {VAL}:
                raise MusicrecError("its column split names no test split of data/*.pqt")
            for split in of_run.keys() - {VAL}:
                row = _row(run, split, of_run, k, bootstrap)
                lists = of_split(predictions, split)
                if beyond is not None and lists is not None:
                    row |= beyond.of(ranked_lists(truth[split], lists, k), k)
                if lists is not None and len(lists) and lists.groupby(USER).size().max() < k:
                    log.warning(
                        "eval.k=%d: no list of %s (%s) is that long; train with eval.top_k ≥ k", k, run.name, split
                    )
                rows.append(row)
            scores[run.name] = of_run
        except (MusicrecError, OSError, ValueError) as error:
            warnings.append(f"{run.path.name}: {error}")
    for warning in warnings:
        log.warning("skipped preds/%s", warning)
    if not scores:
        raise MusicrecError(
            f"no run to evaluate in {workspace.preds_dir} ({len(warnings)} skipped): "
            "make one with python train.py recommender=knn embedding=musicnn"
        )
    found = {run.name: run for run in runs if run.name in scores}
    splits = [split for split in truth if split != VAL and any(split in of_run for of_run in scores.values())]
    comparison = _ordered(pd.DataFrame(rows), splits, k)
    result = Comparison(
        k=k,
        splits=splits,
        runs=found,
        scores=scores,
        comparison=comparison,
        tables=_tables(comparison, splits, k),
        significance=_significance(comparison, scores, splits, k),
        seeds=over_seeds(comparison, found, metric_columns(k)),
        diversity_space=beyond.space if beyond else None,
        warnings=warnings,
    )
    _write(workspace, result)
    return result


def _row(run: Run, split: str, scores: dict[str, pd.DataFrame], k: int, bootstrap: int) -> dict[str, object]:
    """Returns a run's row of comparison.csv, without the metrics beyond accuracy."""
    numbers, ndcg = summary(scores[split], bootstrap=bootstrap), f"NDCG@{k}"
    return {
        "run": run.name,
        "table": run.table,
        "recommender": run.recommender,
        "embedding": run.embedding,
        "seed": run.seed,
        "split": split,
        **numbers.loc["mean"],
        **{f"{metric} conf": numbers.loc["conf", metric] for metric in metric_columns(k)},
        f"{VAL} {ndcg}": scores[VAL][ndcg].mean() if VAL in scores else float("nan"),
        "Size": run.size,
        "users": len(scores[split]),
    }


def _ordered(frame: pd.DataFrame, splits: list[str], k: int) -> pd.DataFrame:
    """Returns the rows sorted by split, table and NDCG, with a column `shown`."""
    ndcg = f"NDCG@{k}"
    frame = frame.astype({"Size": "Int64", "seed": "Int64", "table": object})
    # Runs without a val score come last and never win on their test score; the name decides what is left.
    best = frame.sort_values([f"{VAL} {ndcg}", "run"], ascending=[False, True])
    best = best.drop_duplicates(["split", "table", "embedding"])
    frame["shown"] = frame.index.isin(best.index) & frame["table"].notna()
    places = {table: place for place, table in enumerate(TABLES)}
    frame["place"] = frame["table"].map(lambda table: places.get(table, len(places)))
    frame["split"] = pd.Categorical(frame["split"], splits)
    frame = frame.sort_values(["split", "place", ndcg, "run"], ascending=[True, True, False, True])
    return frame.drop(columns="place").astype({"split": object}).reset_index(drop=True)


def _shown(comparison: pd.DataFrame, table: str | None, split: str) -> pd.DataFrame:
    rows = comparison[comparison["split"] == split]
    return rows[rows["table"].isna() if table is None else (rows["table"] == table) & rows["shown"]]


def _per_user(
    rows: pd.DataFrame, scores: dict[str, dict[str, pd.DataFrame]], split: str, metric: str
) -> dict[str, np.ndarray]:
    pairs = zip(rows["embedding"], rows["run"], strict=True)
    return {embedding: scores[run][split][metric].to_numpy() for embedding, run in pairs}


def _tables(comparison: pd.DataFrame, splits: list[str], k: int) -> dict[str, pd.DataFrame]:
    tables = {}
    for split in splits:
        for table in TABLES:
            rows = _shown(comparison, table, split)
            if len(rows):
                stem = table if split == splits[0] else f"{table}_{split}"
                tables[stem] = rows.set_index("embedding")[[*metric_columns(k), "Size"]]
    return tables


def _significance(
    comparison: pd.DataFrame, scores: dict[str, dict[str, pd.DataFrame]], splits: list[str], k: int
) -> pd.DataFrame:
    frames = []
    for split in splits:
        for table in TABLES:
            rows = _shown(comparison, table, split)
            for metric in metric_columns(k):
                pairs = pairwise(_per_user(rows, scores, split, metric))
                frames.append(pairs.assign(table=table, split=split, metric=metric))
    # Frames without a pair have no types to keep.
    frame = pd.concat([pairs for pairs in frames if len(pairs)] or frames, ignore_index=True)
    leading = ["table", "split", "metric"]
    return frame[[*leading, *frame.columns.drop(leading)]]


def _write(workspace: Workspace, result: Comparison) -> None:
    for name in ("comparison", "significance", "seeds"):
        with atomic_path(workspace.root / f"{name}.csv") as temporary:
            getattr(result, name).to_csv(temporary, index=False)
    for stem, frame in result.tables.items():
        with atomic_path(workspace.root / f"{stem}.csv") as temporary:
            frame.to_csv(temporary, index_label="embedding")
    for table in TABLES:
        path = workspace.root / f"{table}.csv"
        if table not in result.tables and path.exists():
            result.warnings.append(f"{path.name} is of an earlier evaluation: preds/ has no such run now")
            log.warning(result.warnings[-1])
