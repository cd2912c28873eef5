"""Splits made elsewhere: `data.split=column` (a column says where a row belongs) and `files` (a file per split)."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from musicrec.columns import COUNT, SPLIT, TIMESTAMP, TRACK, USER
from musicrec.data.log.values import LogBatch
from musicrec.data.splits.dates import Dates, Period
from musicrec.errors import MusicrecError, demand
from musicrec.files import atomic_path
from musicrec.workspace import TrackIndex

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger(__name__)

GIVEN = ("train", "val", "test")


def split_names(column: str | None, values: Mapping[str, object] | None) -> dict[str, str]:
    """Returns value of the column to name of the split, from `data.split_column` and `data.split_values`.

    Raises:
        MusicrecError: if train or test has no value, a value has two splits, or no column is named.

    >>> split_names("x_label", {"train": 0, "val": 1, "test": 2})
    {'0': 'train', '1': 'val', '2': 'test'}
    """
    demand("data.split_column", column, bool(column), "the column that says to which split a row belongs")
    given = dict(values or {name: name for name in GIVEN})
    allowed = "{train:VALUE,val:VALUE,test:VALUE} with different values (val may be left out)"
    valid = {"train", "test"} <= given.keys() <= set(GIVEN) and len({str(v) for v in given.values()}) == len(given)
    demand("data.split_values", dict(given), valid, allowed)
    return {str(value): name for name, value in given.items()}


def placed(batch: LogBatch, split: str | None, column: str | None, names: Mapping[str, str], path: str) -> LogBatch:
    """Returns a batch whose labels are names of splits.

    Args:
        batch: rows of a log.
        split: the split that all of them belong to; None: the label of each row says it, if there are `names`.
        column: the column of the labels, for messages.
        names: value of the column to name of the split; empty: the log is not divided yet.
        path: the log, for messages.

    Raises:
        MusicrecError: if the log has no such column, or a row belongs to no split.
    """
    if split is not None:
        zeros = pa.array(np.zeros(len(batch), np.int32))
        return replace(batch, labels=pa.DictionaryArray.from_arrays(zeros, [split]))
    if not names:
        return batch
    if batch.labels is None:
        raise MusicrecError(
            f"{path} has no column {column!r}, or its format has no such columns (data.format=table has); "
            "set data.split_column=NAME"
        )
    values = batch.labels.dictionary.to_pylist()
    if unknown := [value for value in values if value not in names]:
        rows = int(np.isin(batch.labels.indices.to_numpy(), [values.index(value) for value in unknown]).sum())
        raise MusicrecError(
            f"the column {column!r} of {path} has the value {unknown[0]!r} ({rows} rows at least have an unknown "
            f"one); data.split_values names {', '.join(names)}"
        )
    named = pa.array([names[value] for value in values], pa.string())
    return replace(batch, labels=pa.DictionaryArray.from_arrays(batch.labels.indices, named))


def no_dates(connection: duckdb.DuckDBPyConnection, dates: Dates) -> Period:
    """Returns the period of a given split: all plays."""
    return Period(None, None, None)


def given(connection: duckdb.DuckDBPyConnection, period: Period) -> dict[str, str]:
    """Returns the queries of train, val and test as the column `split` of the table `plays` says.

    Nothing is dropped: pairs, users and tracks are those that were given (`report_odd_pairs` says what is unusual).

    Raises:
        MusicrecError: if train or test has no row.
    """
    counts = dict(connection.execute(f"SELECT {SPLIT}, count(*) FROM plays GROUP BY ALL").fetchall())
    for name in ("train", "test"):
        if not counts.get(name):
            raise MusicrecError(
                f"the split is empty: no row of a known track belongs to {name}; rows by split: {counts or 'none'}"
            )
    query = (
        f"SELECT {USER}, {TRACK}, min({TIMESTAMP}) AS {TIMESTAMP}, total(n) AS {COUNT} FROM plays "
        f"WHERE {SPLIT} = '{{}}' GROUP BY {USER}, {TRACK} ORDER BY {USER}, {TRACK}"
    )
    return {name: query.format(name) for name in GIVEN}


def report_odd_pairs(
    connection: duckdb.DuckDBPyConnection, queries: Mapping[str, str], path: Path, tracks: TrackIndex
) -> None:
    """Warns of held-out pairs that are in train or val, too, and of users not in train; lists them in a file.

    Args:
        connection: where the queries run.
        queries: the query of each split.
        path: the list: user_id, trackid, split, reason; deleted if there is nothing to list.
        tracks: the track index.
    """
    pair = f"({USER}, {TRACK})"
    checks = [
        (
            name,
            "in train",
            f"{pair} IN (SELECT {USER}, {TRACK} FROM ({queries['train']}))",
            "pairs of %s are in train, too; what a user played is not recommended (without eval.repeat=true), so they "
            "cannot be hit",
        )
        for name in GIVEN[1:]
    ]
    checks += [
        (
            name,
            "user without train",
            f"{USER} NOT IN (SELECT {USER} FROM ({queries['train']}))",
            "users of %s are not in train; they get no lists and score 0 in every metric",
        )
        for name in GIVEN[1:]
    ]
    checks.append(
        (
            "test",
            "in val",
            f"{pair} IN (SELECT {USER}, {TRACK} FROM ({queries['val']}))",
            "pairs of %s are in val, too; what is chosen by val then looks better on them than it is",
        )
    )
    rows: list[tuple[object, str, str, str]] = []
    for name, reason, condition, message in checks:
        found = connection.execute(
            f"SELECT {USER}, {TRACK} FROM ({queries[name]}) WHERE {condition} ORDER BY ALL"
        ).fetchall()
        rows += [(user, tracks.ids[track], name, reason) for user, track in found]
        if found:
            count = len({user for user, _ in found}) if message.startswith("users") else len(found)
            log.warning(f"%s {message}; see %s", f"{count:,}", name, path)
    if not rows:
        path.unlink(missing_ok=True)
        return
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([USER, "trackid", SPLIT, "reason"])
        writer.writerows(rows)
