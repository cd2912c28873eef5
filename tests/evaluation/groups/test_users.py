"""Groups of users: thirds, categories, names that exist."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from musicrec.errors import MusicrecError
from musicrec.evaluation.groups.users import by_column, groupings, thirds, wanted_groups

USERS = np.arange(9)


def test_thirds_keep_equal_values_together() -> None:
    found = thirds("activity", USERS, pd.Series([1, 1, 1, 1, 2, 3, 4, 5, 6]))
    assert {name: members.tolist() for name, members in found.groups.items()} == {
        "low": [0, 1, 2, 3],
        "medium": [4, 5],
        "high": [6, 7, 8],
    }
    assert found.ranges == {"low": "1 to 1", "medium": "2 to 3", "high": "4 to 6"}
    assert list(thirds("x", USERS, pd.Series([5.0] * 9)).groups) == ["low"]


def test_users_without_a_value_are_in_no_group() -> None:
    values = pd.Series([0.5, np.nan, np.inf, 2.0], index=[0, 1, 2, 3])
    assert sorted(np.concatenate(list(thirds("x", USERS, values).groups.values())).tolist()) == [0, 3]


def test_a_column_of_categories_and_one_of_numbers() -> None:
    country = pd.Series(["EE", "DE", "EE", None, "DE", "EE"], index=[str(user) for user in range(6)])
    found = by_column("country", USERS, country)
    assert {name: members.tolist() for name, members in found.groups.items()} == {"EE": [0, 2, 5], "DE": [1, 4]}
    years = pd.Series(range(1980, 1989), index=[str(user) for user in USERS])
    assert list(by_column("born", USERS, years).ranges.values()) == ["1980 to 1982", "1983 to 1985", "1986 to 1988"]
    few = pd.Series([2.0, 1.0, 10.0] * 3, index=[str(user) for user in USERS])
    assert list(by_column("stars", USERS, few).groups) == ["1", "2", "10"]
    premium = pd.Series([True, False, True], index=["0", "1", "2"])
    assert by_column("premium", USERS, premium).groups["True"].tolist() == [0, 2]


def test_rare_categories_are_one_group() -> None:
    users = np.arange(30)
    letters = pd.Series([chr(65 + user // 3) for user in users[:27]] + list("XYZ"), index=users.astype(str))
    groups = by_column("letter", users, letters).groups
    assert list(groups) == [*"ABCDEFGH", "other"] and groups["other"].tolist() == [24, 25, 26, 27, 28, 29]


def test_activity_and_mainstream_come_from_train() -> None:
    train = pd.DataFrame({"user_id": [0, 0, 0, 1, 1, 2], "track_id": [0, 1, 2, 0, 1, 0]})
    found = {each.by: each for each in groupings(np.arange(3), train, None, ["activity", "mainstream", "popularity"])}
    assert set(found) == {"activity", "mainstream"}
    assert found["activity"].groups["high"].tolist() == [0]  # three tracks
    assert found["mainstream"].groups["high"].tolist() == [2]  # only the track that everybody played


@pytest.mark.parametrize("value", ["tail", ["activity", "country"], 3])
def test_unknown_groupings_are_refused(value: object) -> None:
    with pytest.raises(MusicrecError, match=r"eval.groups=.* is unknown; there are auto, activity, mainstream, pop"):
        wanted_groups(value, None)


def test_wanted_groups() -> None:
    attributes = pd.DataFrame({"country": ["EE"]}, index=["1"])
    assert wanted_groups("auto", attributes) == ["activity", "mainstream", "popularity", "country"]
    assert wanted_groups(None, attributes) == [] == wanted_groups([], attributes)
    assert wanted_groups(["country", "country"], attributes) == ["country"] == wanted_groups("country", attributes)
