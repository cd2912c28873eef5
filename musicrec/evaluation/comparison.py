"""Comparison: every run of a workspace scored, tested against the others and put into tables."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from musicrec.columns import TRACK, USER
from musicrec.data.artists import TrackArtists, load_artists
from musicrec.errors import DiskError, MusicrecError, first_line
from musicrec.evaluation.beyond_accuracy import BeyondAccuracy
from musicrec.evaluation.cutoffs import Cutoffs
from musicrec.evaluation.groups.table import GroupTable, group_table
from musicrec.evaluation.groups.users import wanted_groups
from musicrec.evaluation.metrics import metric_columns, ranked_lists
from musicrec.evaluation.protocols.artists import artist_table
from musicrec.evaluation.protocols.catalogue import Catalogue
from musicrec.evaluation.protocols.pooled import pooled_column, pooled_ndcg
from musicrec.evaluation.protocols.repeats import with_one_protocol
from musicrec.evaluation.results import (
    Scores,
    deciding_scores,
    result_row,
    results_frame,
    shown_rows,
    table_order,
    tried_settings,
    user_scores,
)
from musicrec.evaluation.runs import FoundRuns, Run, find_runs
from musicrec.evaluation.scoring import score_run, split_rows
from musicrec.evaluation.statistics.bars import against_bar, bar_rows
from musicrec.evaluation.statistics.budgets import unequal_budgets
from musicrec.evaluation.statistics.controls import controls, no_better
from musicrec.evaluation.statistics.equivalence import MARGIN
from musicrec.evaluation.statistics.seed_means import seed_means, setting
from musicrec.evaluation.statistics.seed_pairs import seed_pairs
from musicrec.evaluation.statistics.significance import pairwise
from musicrec.evaluation.truth import VAL, load_truth
from musicrec.files import atomic_path
from musicrec.workspace import Workspace

log = logging.getLogger(__name__)

_LONGEST_HEADER = 1000  # characters of a .csv file that are read to tell a comparison table from other files


@dataclass(frozen=True)
class Comparison:
    """Everything that evaluate.py found.

    Attributes:
        k: the cutoffs of the metrics.
        splits: the test splits, the main one first: ["test"], or ["hot_test", "cold_test"].
        runs: the scored runs by name.
        scores: run name to split (val included) to per-user metrics.
        results: one row per run and test split: names, metrics, their 95 % half-widths, metrics beyond accuracy, val
            NDCG, Size, and whether a table shows the run.
        titles: table (cosine, shallow, …) to title, the table with the best NDCG first.
        tables: file stem (the table's name; with _{split} appended for further test splits) to a frame with index
            embedding, the five metrics (test means) and Size, the best NDCG first; recommenders without audio are rows
            of every table.
        significance: one row per pair of embeddings shown in one table, for every split and metric
            (`significance.pairwise`, corrected within each).
        bars: one row per embedding shown in a table, split and metric: its paired test against the table's bar, the
            best recommender without audio (`bars.against_bar`).
        seeds: one row per setting and test split (`seed_means`).
        chance: test split to the expected metrics of random lists (`chance_level`); empty without train.
        controls: one row per pair of a real and a shuffled run, test split and metric (`controls.controls`).
        artists: one row per run shown, test split and group of artists (`artist_table`); empty without artists.
        groups: metrics and tests in groups of users and popularity bins (`group_table`).
        seed_pairs: one row per pair of rows of a table of which one has several seeds, test split and metric
            (`seed_pairs.seed_pairs`).
        diversity_space: the embedding in which diversity is measured, None if there is none.
        margin: share of the better mean below which a difference does not matter.
        warnings: one line per file that was skipped, and per comparison that is not fair.
    """

    k: Cutoffs
    splits: list[str]
    runs: dict[str, Run]
    scores: dict[str, Scores]
    results: pd.DataFrame
    titles: dict[str, str]
    tables: dict[str, pd.DataFrame]
    significance: pd.DataFrame
    bars: pd.DataFrame
    seeds: pd.DataFrame
    chance: dict[str, dict[str, float]]
    controls: pd.DataFrame
    artists: pd.DataFrame
    groups: GroupTable
    seed_pairs: pd.DataFrame
    margin: float = MARGIN
    diversity_space: str | None = None
    warnings: list[str] = field(default_factory=list)
    # What tables and report ask for again and again.
    _shown: dict[tuple[str | None, str], pd.DataFrame] = field(default_factory=dict, init=False, repr=False)
    _bars: dict[tuple[str | None, str], pd.DataFrame] = field(default_factory=dict, init=False, repr=False)

    def metrics(self, split: str | None = None) -> list[str]:
        """Returns the five column names of a split (the main one), NDCG last."""
        return metric_columns(self.k.at(split or self.splits[0]))

    def columns(self, split: str | None = None) -> list[str]:
        """Returns the columns that a table of a split shows: its metrics and, if asked for, the pooled NDCG."""
        pooled = pooled_column(self.k.at(split or self.splits[0]))
        return [*self.metrics(split), *([pooled] if pooled in self.results else [])]

    def ndcg(self, split: str | None = None) -> str:
        """Returns the column that decides what is better on a split (the main one)."""
        return self.k.ndcg(split or self.splits[0])

    def shown(self, table: str | None, split: str | None = None) -> pd.DataFrame:
        """Returns the rows of `results` that a table shows (None: runs of no table), the best first.

        Their names (the embedding, or the recommender if it reads none) are in a column `row`.
        """
        split = split or self.splits[0]
        if (table, split) not in self._shown:
            self._shown[table, split] = shown_rows(self.results, table, split)
        return self._shown[table, split]

    def bar_rows(self, table: str | None = None, split: str | None = None) -> pd.DataFrame:
        """Returns the rows of `results` of recommenders without audio, those of `table` left out; the bar first."""
        split = split or self.splits[0]
        if (table, split) not in self._bars:
            self._bars[table, split] = bar_rows(self.results, table, split)
        return self._bars[table, split]

    def title(self, run: str) -> str:
        """Returns what the recommender of a run is called."""
        info = self.runs[run].info
        return info.title or info.recommender

    def per_user(self, table: str, split: str | None = None, metric: str | None = None) -> dict[str, np.ndarray]:
        """Returns row name to (users,) scores of the runs that a table shows; the same users in the same order."""
        split = split or self.splits[0]
        return user_scores(self.shown(table, split), self.scores, split, metric or self.ndcg(split))

    def pairs(self, table: str, split: str | None = None, metric: str | None = None) -> pd.DataFrame:
        """Returns the rows of `significance` of a table, split (the main one) and metric (NDCG)."""
        chosen = {"table": table, "split": split or self.splits[0], "metric": metric or self.ndcg(split)}
        rows = self.significance
        for column, value in chosen.items():
            rows = rows[rows[column] == value]
        return rows

    def in_groups(self, table: str, split: str | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Returns the rows and the tests of `groups` of a table and split (the main one)."""
        split = split or self.splits[0]
        rows, tests = self.groups.rows, self.groups.tests
        if rows.empty:
            return rows, tests
        own = (rows["table"] == table) & (rows["split"] == split)
        return rows[own], tests[(tests["table"] == table) & (tests["split"] == split)]

    def row_titles(self, table: str, split: str | None = None) -> dict[str, str]:
        """Returns row name to what is shown for it: followed by † if it is not better than its shuffled control."""
        split = split or self.splits[0]
        rows, doubtful = self.shown(table, split), no_better(self.controls, split, self.ndcg(split))
        marks = [" †" if run in doubtful else "" for run in rows["run"]]
        return {row: f"{row}{mark}" for row, mark in zip(rows["row"], marks, strict=True)}

    def stems(self) -> Iterator[tuple[str, str, str]]:
        """Yields (file stem, table, split) of every table."""
        for split in self.splits:
            for table in self.titles:
                stem = _stem(table, split, self.splits)
                if stem in self.tables:
                    yield stem, table, split


def compare(
    workspace: Workspace,
    k: int | Cutoffs,
    *,
    bootstrap: int = 0,
    diversity: str | None = None,
    margin: float = MARGIN,
    groups: object = "auto",
    users: pd.DataFrame | None = None,
    repeat: bool | None = None,
    pooled: bool = False,
) -> Comparison:
    """Returns the comparison of all runs in preds/; writes metrics/, the tables and further .csv files (`_write`).

    Of several runs with one recommender and embedding a table shows the best by NDCG on val (chosen on test, the best
    of many would flatter), comparison.csv all of them. Files that cannot be scored are logged and skipped.

    Args:
        workspace: needs data/ and preds/ only.
        k: cutoff of the metrics, or one per split.
        bootstrap: number of resamples for the intervals; 0 = Student's t.
        diversity: the embedding in which diversity is measured; None: see `BeyondAccuracy`.
        margin: share of the better mean below which a difference does not matter.
        groups: `eval.groups`: auto, names of groupings, or None (`wanted_groups`).
        users: what `read_users` returned.
        repeat: whether tracks that a user has played count as hits, see `with_one_protocol`.
        pooled: whether results and tables also have `pooled_ndcg`.

    Raises:
        MusicrecError: no test data, or nothing in preds/ that can be scored.
    """
    found, repeats = with_one_protocol(find_runs(workspace), repeat)
    truth, cutoffs = load_truth(workspace, repeats), Cutoffs.of(k)
    cutoffs.check(truth)
    wanted_groups(groups, users)
    catalogue = Catalogue.load(workspace, truth, found, repeats)
    artists = _artists(workspace, truth, catalogue)
    beyond = BeyondAccuracy(workspace, diversity, artists.first if artists else None) if catalogue else None
    scores, rows, warnings = _score_all(workspace, found, truth, catalogue, beyond, cutoffs, bootstrap, pooled)
    runs = {run.name: run for run in found if run.name in scores}
    splits = [split for split in truth if split != VAL and any(split in run_scores for run_scores in scores.values())]
    results = results_frame(rows, splits, cutoffs)
    results["tried"] = tried_settings(results, {name: setting(run) for name, run in runs.items()})
    order = table_order(results.assign(ndcg=deciding_scores(results, cutoffs)), splits, "ndcg")
    titles = {table: found.families.title(table, _recommenders(results, table)) for table in order}
    for warning in unequal_budgets(results, titles, splits):
        log.warning(warning)
        warnings.append(warning)
    comparison = Comparison(
        k=cutoffs,
        splits=splits,
        runs=runs,
        scores=scores,
        results=results,
        titles=titles,
        tables=_tables(results, order, splits, cutoffs),
        significance=_significance(results, order, scores, splits, cutoffs, margin),
        bars=against_bar(results, order, scores, splits, cutoffs, margin),
        seeds=seed_means(results, runs, cutoffs.columns(splits), scores),
        chance={split: catalogue.chance(split, truth[split], cutoffs.at(split)) for split in splits if catalogue},
        controls=controls(runs, scores, margin),
        artists=_artist_table(results, runs, truth, splits, catalogue, artists, cutoffs),
        groups=group_table(groups, users, results, order, runs, scores, truth, splits, catalogue, cutoffs, margin),
        seed_pairs=seed_pairs(results, runs, order, scores, splits, cutoffs, margin),
        margin=margin,
        diversity_space=beyond.space if beyond else None,
        warnings=warnings,
    )
    _write(workspace, comparison)
    return comparison


def _artists(
    workspace: Workspace, truth: Mapping[str, pd.DataFrame], catalogue: Catalogue | None
) -> TrackArtists | None:
    """Returns the artists of each track; None if they are not known."""
    if catalogue is None:
        return None
    tracks = [frame[TRACK].max() for frame in (catalogue.train, *truth.values()) if len(frame)]
    return load_artists(workspace, catalogue.num_tracks(workspace, int(max(tracks)) + 1))


def _artist_table(
    results: pd.DataFrame,
    runs: Mapping[str, Run],
    truth: Mapping[str, pd.DataFrame],
    splits: Sequence[str],
    catalogue: Catalogue | None,
    artists: TrackArtists | None,
    cutoffs: Cutoffs,
) -> pd.DataFrame:
    """Returns the metrics of the shown runs by whether the user knows the artist; empty if artists are not known."""
    if catalogue is None or artists is None:
        return pd.DataFrame()
    shown = [runs[name] for name in dict.fromkeys(results.loc[results["shown"], "run"])]

    def chance(split: str, pairs: pd.DataFrame) -> float:
        return catalogue.chance(split, pairs, cutoffs.at(split))[cutoffs.ndcg(split)]

    return artist_table(shown, truth, splits, catalogue.train, artists, cutoffs, chance)


def _recommenders(results: pd.DataFrame, table: str) -> list[str]:
    """Returns the recommenders whose runs belong to a table."""
    return results.loc[results["table"] == table, "recommender"].tolist()


def _score_all(
    workspace: Workspace,
    found: FoundRuns,
    truth: Mapping[str, pd.DataFrame],
    catalogue: Catalogue | None,
    beyond: BeyondAccuracy | None,
    cutoffs: Cutoffs,
    bootstrap: int,
    pooled: bool,
) -> tuple[dict[str, Scores], list[dict[str, object]], list[str]]:
    """Returns the scores of each run by name, the rows of results, and a line per file that was skipped.

    Raises:
        MusicrecError: if none can be scored.
    """
    scores: dict[str, Scores] = {}
    rows: list[dict[str, object]] = []
    warnings = list(found.skipped)
    for run in found:
        try:
            scores[run.name], run_rows = _score(workspace, run, truth, catalogue, beyond, cutoffs, bootstrap, pooled)
        except DiskError:
            raise
        except Exception as error:  # files of any program, which must not stop the evaluation of the others
            warnings.append(f"{run.path.name}: {first_line(error)}")
        else:
            rows += run_rows
    for warning in warnings:
        log.warning("skipped preds/%s", warning)
    if not scores:
        raise MusicrecError(
            f"no run to evaluate in {workspace.preds_dir} ({len(warnings)} skipped): "
            "make one with python train.py recommender=knn embedding=musicnn"
        )
    return scores, rows, warnings


def _score(
    workspace: Workspace,
    run: Run,
    truth: Mapping[str, pd.DataFrame],
    catalogue: Catalogue | None,
    beyond: BeyondAccuracy | None,
    cutoffs: Cutoffs,
    bootstrap: int,
    pooled: bool,
) -> tuple[Scores, list[dict[str, object]]]:
    """Returns a run's scores and its rows of results, one per test split; writes its metrics files."""
    predictions = run.predictions()
    scores = score_run(workspace, run.name, truth, predictions, cutoffs, {} if run.foreign else run.info.to_json())
    if not scores.keys() - {VAL}:
        raise MusicrecError("its column split names no test split of data/*.pqt")
    rows = []
    for split in (split for split in scores if split != VAL):
        row = result_row(run, split, scores, cutoffs, bootstrap)
        lists = split_rows(predictions, split)
        k = cutoffs.at(split)
        ranked = None if lists is None else ranked_lists(truth[split], lists, k)
        if pooled and ranked is not None:
            row[pooled_column(k)] = pooled_ndcg(truth[split], ranked, k)
        if beyond is not None and catalogue is not None and ranked is not None:
            row |= beyond.measure(ranked, k, catalogue.candidates(split))
        if lists is not None and len(lists):
            _warn_of_short_lists(run, split, lists, k, catalogue)
        rows.append(row)
    return scores, rows


def _warn_of_short_lists(run: Run, split: str, lists: pd.DataFrame, k: int, catalogue: Catalogue | None) -> None:
    """Warns if no list of a run is as long as k, and says whether longer ones are possible."""
    longest = int(lists.groupby(USER).size().max())
    if longest >= k:
        return
    tracks = len(catalogue.candidates(split)) if catalogue else k
    if tracks < k:
        remedy = f"only {tracks} tracks may be recommended there; choose eval.k={{{split}:{tracks}}} or less"
    else:
        remedy = "train with eval.top_k of at least k"
    log.warning("eval.k=%d: all lists of %s (%s) are shorter, at most %d; %s", k, run.name, split, longest, remedy)


def _stem(table: str, split: str, splits: Sequence[str]) -> str:
    """Returns the file stem of a table: its name, then the split unless that is the main one."""
    return table if split == splits[0] else f"{table}_{split.removesuffix('_test')}"


def _tables(
    results: pd.DataFrame, order: Sequence[str], splits: Sequence[str], cutoffs: Cutoffs
) -> dict[str, pd.DataFrame]:
    """Returns file stem to the frame of a comparison table, the recommenders without audio among its rows."""
    tables = {}
    for split in splits:
        for table in order:
            rows = shown_rows(results, table, split)
            if len(rows):
                rows = pd.concat([rows, bar_rows(results, table, split)]).sort_values(
                    cutoffs.ndcg(split), ascending=False, kind="stable"
                )
                k = cutoffs.at(split)
                extra = [column for column in (pooled_column(k),) if column in rows]
                columns = rows.set_index("row")[[*metric_columns(k), *extra, "Size"]]
                tables[_stem(table, split, splits)] = columns.rename_axis("embedding")
    return tables


def _significance(
    results: pd.DataFrame,
    order: Sequence[str],
    scores: Mapping[str, Scores],
    splits: Sequence[str],
    cutoffs: Cutoffs,
    margin: float,
) -> pd.DataFrame:
    """Returns the tests of all pairs within each table, split and metric."""
    frames = [pairwise({}).assign(table="", split="", metric="")]
    for split in splits:
        for table in order:
            rows = shown_rows(results, table, split)
            for metric in metric_columns(cutoffs.at(split)):
                pairs = pairwise(user_scores(rows, scores, split, metric), margin=margin)
                frames.append(pairs.assign(table=table, split=split, metric=metric))
    # Frames without a pair have no types to keep.
    frame = pd.concat([pairs for pairs in frames if len(pairs)] or frames, ignore_index=True)
    leading = ["table", "split", "metric"]
    return frame[[*leading, *frame.columns.drop(leading)]]


def _write(workspace: Workspace, comparison: Comparison) -> None:
    """Writes comparison.csv and its companions and the tables; warns of tables without a run."""
    whole = {
        "comparison": comparison.results,
        "significance": comparison.significance,
        "bars": comparison.bars,
        "seeds": comparison.seeds,
    }
    if comparison.chance:
        whole["chance"] = pd.DataFrame(comparison.chance).T.rename_axis("split").reset_index()
    optional = {
        "artists": comparison.artists,
        "controls": comparison.controls,
        "groups": comparison.groups.rows,
        "groups_significance": comparison.groups.tests,
        "seeds_significance": comparison.seed_pairs,
    }
    for stem, frame in optional.items():
        if len(frame):
            whole[stem] = frame
        else:
            (workspace.root / f"{stem}.csv").unlink(missing_ok=True)  # of an earlier evaluation
    for stem, frame in whole.items():
        with atomic_path(workspace.root / f"{stem}.csv") as temporary:
            frame.to_csv(temporary, index=False)
    for stem, frame in comparison.tables.items():
        with atomic_path(workspace.root / f"{stem}.csv") as temporary:
            frame.to_csv(temporary)
    for stem in _old_tables(workspace):
        if stem not in comparison.tables:
            comparison.warnings.append(f"{stem}.csv is from an earlier evaluation: preds/ has no such run now")
            log.warning(comparison.warnings[-1])


def _old_tables(workspace: Workspace) -> Iterator[str]:
    """Yields the file stems of the comparison tables in a workspace, those of earlier evaluations included."""
    for path in sorted(workspace.root.glob("[!.]*.csv")):
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            header = next(csv.reader([file.readline(_LONGEST_HEADER)]), [])
        if header[:1] == ["embedding"] and header[-1] == "Size":
            yield path.stem
