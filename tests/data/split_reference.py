"""The splits of docs/data.md implemented independently, in plain pandas, as a reference for the tests."""

from typing import Any

import pandas as pd
from sklearn.model_selection import train_test_split


def temporal_split(
    log: pd.DataFrame, track_ids: list[str], start: str, test: str, end: str | None = None
) -> list[pd.DataFrame]:
    """Returns train, val, test of a log.

    Args:
        log: user_id (int64 or str), track_id (str), timestamp, optionally count.
        track_ids: the track index.
        start: first instant of the training period.
        test: first instant of the held-out period.
        end: plays from this instant on are dropped.
    """
    log = log.copy()
    if "count" not in log:
        log["count"] = 1
    index = {track: row for row, track in enumerate(track_ids)}
    log = log[log.track_id.isin(index)]
    log["track_id"] = log.track_id.map(index).astype("int64")
    if end is not None:
        log = log[log.timestamp < pd.Timestamp(end)]
    log = log[log.timestamp >= pd.Timestamp(start)]
    held_out_from = pd.Timestamp(test)

    pairs = _compress(log)
    train = _compress(log[log.timestamp < held_out_from])
    held_out = pairs[pairs.timestamp >= held_out_from]
    held_out = held_out[held_out.user_id.isin(set(train.user_id)) & held_out.track_id.isin(set(train.track_id))]
    users = sorted(set(held_out.user_id))  # Python: numbers by value, strings by code point
    val_users, test_users = train_test_split(users, test_size=0.5, random_state=42)
    parts = train, held_out[held_out.user_id.isin(val_users)], held_out[held_out.user_id.isin(test_users)]
    return [_sorted(part) for part in parts]


def _compress(plays: pd.DataFrame) -> pd.DataFrame:
    groups = plays.groupby(["user_id", "track_id"], as_index=False)
    return groups.agg(timestamp=("timestamp", "min"), count=("count", "sum"))


def _sorted(frame: pd.DataFrame) -> pd.DataFrame:
    rows = sorted(frame.itertuples(index=False, name=None), key=lambda row: row[:2])
    return pd.DataFrame(rows, columns=list(frame.columns)).astype(frame.dtypes)


def hot_cold_split(log: pd.DataFrame, track_ids: list[str], test_date: str) -> list[pd.DataFrame]:
    """Returns train, val, hot_test and cold_test as the 2026 study splits."""
    log, test = _known(log, track_ids), pd.Timestamp(test_date)
    year = log[(log.timestamp >= test - pd.DateOffset(years=1)) & (log.timestamp < test + pd.DateOffset(months=1))]
    train = _compress(year[year.timestamp < test])
    held_out = _compress(year)
    held_out = held_out[(held_out.timestamp >= test) & held_out.user_id.isin(set(train.user_id))]
    is_hot = held_out.track_id.isin(set(train.track_id))
    hot, cold = held_out[is_hot], held_out[~is_hot]
    users = sorted(set(hot.user_id) - set(cold.user_id))
    val_users = train_test_split(users, test_size=0.7, random_state=42)[0]
    is_val = hot.user_id.isin(val_users)
    return [_sorted(part) for part in (train, hot[is_val], hot[~is_val], cold)]


def leave_one_out_split(log: pd.DataFrame, track_ids: list[str]) -> list[pd.DataFrame]:
    """Returns train, val, test: of each user with three tracks the last first play is test, the one before val."""
    rows: dict[str, list[tuple[Any, ...]]] = {"train": [], "val": [], "test": []}
    pairs = _compress(_known(log, track_ids))
    for _, own in pairs.groupby("user_id"):
        ordered = sorted(own.itertuples(index=False, name=None), key=lambda row: (row[2], row[1]))
        names = ["train"] * len(ordered)
        if len(ordered) >= 3:
            names[-2:] = ["val", "test"]
        for name, row in zip(names, ordered, strict=True):
            rows[name].append(row)
    frames = [pd.DataFrame(part, columns=list(pairs.columns)).astype(pairs.dtypes) for part in rows.values()]
    return [_sorted(frame) for frame in frames]


def core(log: pd.DataFrame, start: str, end: str, users: int, tracks: int) -> pd.DataFrame:
    """Returns the log without users and tracks that have too few plays from start to end, in turn until none has."""
    while True:
        inside = log[(log.timestamp >= start) & (log.timestamp < end)]
        few_users = inside.groupby("user_id")["count"].sum().loc[lambda plays: plays < users].index
        few_tracks = inside.groupby("track_id")["count"].sum().loc[lambda plays: plays < tracks].index
        kept = inside[~inside.user_id.isin(few_users) & ~inside.track_id.isin(few_tracks)]
        if len(kept) == len(inside):
            return log[log.user_id.isin(set(inside.user_id)) & log.track_id.isin(set(inside.track_id))]
        log = log[~log.user_id.isin(few_users) & ~log.track_id.isin(few_tracks)]


def _known(log: pd.DataFrame, track_ids: list[str]) -> pd.DataFrame:
    index = {track: row for row, track in enumerate(track_ids)}
    log = log[log.track_id.isin(index)].copy()
    log["track_id"] = log.track_id.map(index).astype("int64")
    if "count" not in log:
        log["count"] = 1
    return log


def global_temporal_split(
    log: pd.DataFrame, track_ids: list[str], start: str | None, test: pd.Timestamp, end: str | None, val: str, gap: str
) -> list[pd.DataFrame]:
    """Returns train, val and test of windows counted back from `test`; durations as pandas reads them, "0s" = none."""
    log = _known(log, track_ids)
    if start is not None:
        log = log[log.timestamp >= pd.Timestamp(start)]
    if end is not None:
        log = log[log.timestamp < pd.Timestamp(end)]
    between, window = pd.Timedelta(gap), pd.Timedelta(val)
    val_end = test - between
    val_start = val_end - window
    train_end = val_start - between if window else val_end
    train = log[log.timestamp < train_end]
    users = set(train.user_id)
    parts = train, log[(log.timestamp >= val_start) & (log.timestamp < val_end)], log[log.timestamp >= test]
    return [_sorted(_compress(part[part.user_id.isin(users)])) for part in parts]
