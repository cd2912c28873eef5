"""Groups of users: by activity, by mainstreaminess, by the columns of a file of users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from musicrec.columns import USER
from musicrec.errors import MusicrecError
from musicrec.evaluation.beyond_accuracy import Listening

ACTIVITY, MAINSTREAM, POPULARITY = "activity", "mainstream", "popularity"
THIRDS = ("low", "medium", "high")
OTHER = "other"

_MOST = 8  # groups of one column; the rest is `other`


@dataclass(frozen=True)
class Grouping:
    """Users in groups that do not overlap.

    Attributes:
        by: what they are grouped by.
        groups: group to its user ids, in an order that means something; no group is empty.
        ranges: group to the values that it holds, as text; groups of categories have none.
    """

    by: str
    groups: Mapping[str, np.ndarray]
    ranges: Mapping[str, str]


def groupings(
    users: np.ndarray, train: pd.DataFrame, attributes: pd.DataFrame | None, wanted: Sequence[str]
) -> list[Grouping]:
    """Returns the groupings of the users of a split, those that leave all in one group excepted.

    Args:
        users: (users,) distinct ids of a test split.
        train: user_id, track_id; distinct pairs.
        attributes: what `read_users` returned; None: no file was given.
        wanted: names of groupings: activity, mainstream or columns of `attributes`; others are left to the caller.
    """
    found = []
    for name in wanted:
        if name == ACTIVITY:
            found.append(thirds(name, users, train.groupby(USER).size()))
        elif name == MAINSTREAM:
            found.append(thirds(name, users, Listening.from_train(train).profiles))
        elif attributes is not None and name in attributes:
            column = attributes[name].set_axis(attributes.index)
            found.append(by_column(name, users, column))
    return [each for each in found if len(each.groups) > 1]


def thirds(by: str, users: np.ndarray, values: pd.Series) -> Grouping:
    """Returns the users in three groups of about the same size; equal values are in one group.

    Args:
        by: name of the grouping.
        users: (users,) ids.
        values: user id to a number; users without one are in no group.

    >>> thirds("activity", np.arange(6), pd.Series([1, 1, 2, 5, 9, 9])).groups["low"].tolist()
    [0, 1]
    """
    numbers = pd.to_numeric(values.reindex(users), errors="coerce").to_numpy(np.float64)
    known = np.isfinite(numbers)
    edges = np.quantile(numbers[known], [1 / 3, 2 / 3], method="lower") if known.any() else np.zeros(2)
    index = np.searchsorted(edges, numbers)
    groups, ranges = {}, {}
    for number, name in enumerate(THIRDS):
        members = known & (index == number)
        if members.any():
            groups[name] = users[members]
            ranges[name] = f"{_number(numbers[members].min())} to {_number(numbers[members].max())}"
    return Grouping(by, groups, ranges)


def by_column(by: str, users: np.ndarray, column: pd.Series) -> Grouping:
    """Returns the users by the values of a column: numbers with many values in thirds, else one group per value.

    Of more than eight values the most frequent remain, the others are one group `other`. Users that the file does not
    list, or whose value is missing, are in no group.

    Args:
        by: name of the column.
        users: (users,) ids.
        column: user id as text to a value.
    """
    values = column.reindex([str(user) for user in users]).set_axis(pd.Index(users))
    if pd.api.types.is_datetime64_any_dtype(values):
        values = values.astype("int64").where(values.notna()) / 1e9 / 86400 / 365.2425 + 1970  # years
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if numeric and values.nunique() > _MOST:
        return thirds(by, users, values)
    texts = values.map(_label, na_action="ignore")
    counts = texts.value_counts()
    kept = counts.index[:_MOST] if len(counts) > _MOST else counts.index
    texts = texts.where(texts.isna() | texts.isin(kept), OTHER)
    names = [str(name) for name in (sorted(kept, key=float) if numeric else kept)]
    groups = {name: users[(texts == name).to_numpy()] for name in dict.fromkeys([*names, OTHER])}
    return Grouping(by, {name: members for name, members in groups.items() if len(members)}, {})


def wanted_groups(value: object, attributes: pd.DataFrame | None) -> list[str]:
    """Returns the names of groupings that `eval.groups` asks for.

    Args:
        value: `auto` (all that are known), a name or a list of names; None: none.
        attributes: what `read_users` returned.

    Raises:
        MusicrecError: names an unknown grouping and those that exist.
    """
    columns = [] if attributes is None else [str(column) for column in attributes]
    known = list(dict.fromkeys([ACTIVITY, MAINSTREAM, POPULARITY, *columns]))
    if value is None:
        return []
    if value == "auto":
        return known
    names = [value] if isinstance(value, str) else list(value) if isinstance(value, Sequence) else [value]
    for name in names:
        if name not in known:
            more = "" if columns else "; data.users=FILE adds its columns"
            raise MusicrecError(f"eval.groups={name} is unknown; there are auto, {', '.join(known)}{more}")
    return list(dict.fromkeys(str(name) for name in names))


def _number(value: float) -> str:
    """Returns an end of a range: `1234`, `0.0317`."""
    return str(int(value)) if value.is_integer() else f"{value:.3g}"


def _label(value: object) -> str:
    """Returns a value as the name of a group."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
