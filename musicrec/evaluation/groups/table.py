"""Metrics of the compared runs in each group of users and each popularity bin, with paired tests inside the groups."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from musicrec.columns import TRACK, USER
from musicrec.errors import MusicrecError
from musicrec.evaluation.confidence import summary
from musicrec.evaluation.cutoffs import Cutoffs
from musicrec.evaluation.groups.users import POPULARITY, groupings, wanted_groups
from musicrec.evaluation.metrics import per_user
from musicrec.evaluation.popularity import bin_pairs, popularity_bins
from musicrec.evaluation.protocols.catalogue import Catalogue
from musicrec.evaluation.results import Scores, shown_rows
from musicrec.evaluation.runs import Run
from musicrec.evaluation.scoring import split_rows
from musicrec.evaluation.statistics.bars import bar_rows
from musicrec.evaluation.statistics.equivalence import MARGIN
from musicrec.evaluation.statistics.significance import P_VALUES, PAIRED, holm, pairwise

log = logging.getLogger(__name__)

FEWEST = 10  # users in a group that is tested

_KEYS = ["table", "split", "by", "group"]
_TESTS = (*_KEYS, "first", "second", "users", *PAIRED)


@dataclass(frozen=True)
class GroupTable:
    """For whom the compared runs work.

    Attributes:
        rows: one row per table, test split, grouping (`by`), group and run: row (its name in the table), users, values
            (the range of a third), the five metrics with their half-widths, and `chance`, the NDCG of random lists.
        tests: one row per pair of rows of a table and group, the bar included, on NDCG: the columns of `paired_tests`,
            p values Holm-corrected over all pairs and groups of a table, split and grouping.
    """

    rows: pd.DataFrame = field(default_factory=pd.DataFrame)
    tests: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=[*_TESTS]))


@dataclass(frozen=True)
class _Group:
    """The held-out pairs of one group."""

    by: str
    name: str
    pairs: pd.DataFrame
    values: str = ""


def group_table(
    value: object,
    attributes: pd.DataFrame | None,
    results: pd.DataFrame,
    tables: Sequence[str],
    runs: Mapping[str, Run],
    scores: Mapping[str, Scores],
    truth: Mapping[str, pd.DataFrame],
    splits: Sequence[str],
    catalogue: Catalogue | None,
    cutoffs: Cutoffs,
    margin: float = MARGIN,
) -> GroupTable:
    """Returns the metrics and tests of every run that a table shows, and of the table's bar, in every group.

    In a popularity bin only the truth is restricted, to the tracks of the bin: Recall is the share of these found, and
    users without such a track do not count. The lists are the whole lists of the run.

    Args:
        value: `eval.groups`: auto, names, or None.
        attributes: what `read_users` returned.
        results: what `results_frame` returned.
        tables: names of tables.
        runs: by name.
        scores: run name to per-user metrics.
        truth: the held-out splits.
        splits: the test splits.
        catalogue: has train; None: only columns of `attributes` can be used, and none are.
        cutoffs: k of each split.
        margin: see `paired_tests`.

    Raises:
        MusicrecError: an unknown grouping; a file of users that lists none of the test users.
    """
    wanted = wanted_groups(value, attributes)
    if catalogue is None or not wanted:
        return GroupTable()
    if attributes is not None:
        _check_users(attributes, {user for split in splits for user in truth[split][USER].unique()})
    rows: list[pd.DataFrame] = []
    tests = [GroupTable().tests]
    for split in splits:
        groups = list(_groups(truth[split], catalogue, attributes, wanted))
        measured: dict[str, list[pd.DataFrame]] = {}
        chance = [catalogue.chance(split, group.pairs, cutoffs.at(split))[cutoffs.ndcg(split)] for group in groups]
        for table in tables:
            shown = shown_rows(results, table, split)
            bar = bar_rows(results, table, split)[:1] if len(shown) else shown
            systems = pd.concat([shown, bar]) if len(bar) else shown
            for run in systems["run"]:
                if run not in measured:
                    measured[run] = _measure(runs[run], scores[run][split], groups, split, cutoffs.at(split))
            names = dict(zip(systems["row"], systems["run"], strict=True))
            for number, group in enumerate(groups):
                frames = {row: measured[run][number] for row, run in names.items()}
                keys = {"table": table, "split": split, "by": group.by, "group": group.name}
                rows += [_row(frame, keys, row, names[row], group, chance[number]) for row, frame in frames.items()]
            tests.append(_tests(table, split, groups, names, measured, cutoffs.ndcg(split), margin))
    frame = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()
    return GroupTable(frame, pd.concat([each for each in tests if len(each)] or tests, ignore_index=True))


def _check_users(attributes: pd.DataFrame, users: Collection[object]) -> None:
    """Warns of test users that the file of users does not list; refuses a file that lists none."""
    missing = [user for user in users if str(user) not in attributes.index]
    if len(missing) == len(users):
        examples = f"{next(iter(attributes.index), '')!r} in the file, {str(missing[0])!r} in the log"
        raise MusicrecError(f"data.users lists none of the {len(users):,} test users (e.g. {examples})")
    if missing:
        log.warning("data.users does not list %s of the %s test users", f"{len(missing):,}", f"{len(users):,}")


def _groups(
    truth: pd.DataFrame, catalogue: Catalogue, attributes: pd.DataFrame | None, wanted: Sequence[str]
) -> Iterator[_Group]:
    """Yields the groups of a split in the order in which they were asked for."""
    users = np.unique(truth[USER].to_numpy())
    for name in wanted:
        if name == POPULARITY:
            num_tracks = 1 + int(max(frame[TRACK].max() for frame in (catalogue.train, truth) if len(frame)))
            pairs = bin_pairs(truth, popularity_bins(catalogue.train, num_tracks))
            yield from (_Group(name, each, rows) for each, rows in pairs.items() if len(pairs) > 1)
        else:
            for grouping in groupings(users, catalogue.train, attributes, [name]):
                for each, members in grouping.groups.items():
                    rows = truth[truth[USER].isin(members)]
                    yield _Group(name, each, rows, grouping.ranges.get(each, ""))


def _measure(run: Run, scores: pd.DataFrame, groups: Sequence[_Group], split: str, k: int) -> list[pd.DataFrame]:
    """Returns the per-user metrics of a run in each group."""
    lists = split_rows(run.predictions(), split) if any(group.by == POPULARITY for group in groups) else None
    found = []
    for group in groups:
        if group.by != POPULARITY:
            found.append(scores[scores[USER].isin(group.pairs[USER].unique())])
        elif lists is None:
            raise MusicrecError(f"{run.path.name} has no lists for {split}")
        else:
            found.append(per_user(group.pairs, lists, k))
    return found


def _row(
    frame: pd.DataFrame, keys: Mapping[str, str], row: str, run: str, group: _Group, chance: float
) -> pd.DataFrame:
    """Returns the row of a run and group."""
    numbers = summary(frame)
    content = {**keys, "row": row, "run": run, "users": len(frame), "values": group.values, **numbers.loc["mean"]}
    content |= {f"{metric} conf": width for metric, width in numbers.loc["conf"].items()}
    return pd.DataFrame([{**content, "chance": chance}])


def _tests(
    table: str,
    split: str,
    groups: Sequence[_Group],
    names: Mapping[str, str],
    measured: Mapping[str, Sequence[pd.DataFrame]],
    ndcg: str,
    margin: float,
) -> pd.DataFrame:
    """Returns the tests of all pairs in every group of a table and split; groups of fewer than ten users have none."""
    frames = []
    for number, group in enumerate(groups):
        values = {row: measured[run][number][ndcg].to_numpy() for row, run in names.items()}
        users = len(next(iter(values.values()), ()))
        if users >= FEWEST and len(values) > 1:
            tests = pairwise(values, corrected=False, margin=margin)
            frames.append(tests.assign(table=table, split=split, by=group.by, group=group.name, users=users))
    if not frames:
        return GroupTable().tests
    found = pd.concat(frames, ignore_index=True)
    for _, tests in found.groupby("by", sort=False):
        for column in P_VALUES:
            found.loc[tests.index, column] = holm(tests[column].to_numpy(np.float64))
    return found[[*_TESTS]]
