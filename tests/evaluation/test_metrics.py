"""The five metrics against hand values and against the package they are defined by, rs-metrics 0.6.0."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rs_metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from musicrec.errors import MusicrecError
from musicrec.evaluation.metrics import metric_columns, per_user

REFERENCE = (rs_metrics.hitrate, rs_metrics.mrr, rs_metrics.precision, rs_metrics.recall, rs_metrics.ndcg)


def truth_frame(truth: Mapping[Any, Sequence[int]]) -> pd.DataFrame:
    """Returns user id to tracks as a frame."""
    return pd.DataFrame([(u, i) for u, items in truth.items() for i in items], columns=["user_id", "track_id"])


def prediction_frame(lists: Mapping[Any, Sequence[int]]) -> pd.DataFrame:
    """Returns user id to a ranked list as a frame."""
    rows = [(u, i, rank) for u, items in lists.items() for rank, i in enumerate(items, start=1)]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "rank"])


def reference(truth: Mapping[Any, Sequence[int]], lists: Mapping[Any, Sequence[int]], k: int) -> np.ndarray:
    """Returns rs-metrics on the same dictionaries, one row per user in sorted order, NaN as 0."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # its mean of an empty list
        columns = [metric(truth, lists, k=k, apply_mean=False) for metric in REFERENCE]
    return np.nan_to_num(np.array(columns, dtype=float).T)[np.argsort(np.array(list(truth)))]


def test_hand_values() -> None:
    truth = truth_frame({3: [10, 11], 1: [12], 2: [13]})
    predictions = prediction_frame({1: [12, 5], 3: [5, 10, 6, 11], 9: [1]})
    got = per_user(truth, predictions, k=3)
    discount = 1 / np.log2(3)
    expected = [
        [1, 1.0, 1.0, 1 / 2, 1.0, 1.0],  # two items given: precision 1/2
        [2, 0.0, 0.0, 0.0, 0.0, 0.0],  # nothing given
        [3, 1.0, 0.5, 1 / 3, 1 / 2, discount / (1 + discount)],
    ]
    assert list(got.columns) == ["user_id", *metric_columns(3)]
    np.testing.assert_allclose(got.to_numpy(dtype=float), expected, atol=1e-12)


items = st.lists(st.integers(0, 30), unique=True, max_size=25)
truths = st.dictionaries(st.integers(0, 10**6), items.filter(len), min_size=1, max_size=8)


@settings(max_examples=150, deadline=None)
@given(truth=truths, data=st.data(), k=st.integers(1, 40), shape=st.sampled_from([int, str, "object"]))
def test_equals_rs_metrics(truth: dict[Any, list[int]], data: st.DataObject, k: int, shape: object) -> None:
    lists: dict[Any, list[int]] = {user: data.draw(items) for user in truth if data.draw(st.booleans())}
    lists[-1] = [1, 2]  # a user without truth
    if shape is not int:
        truth = {f"ü{user}": tracks for user, tracks in truth.items()}
        lists = {f"ü{user}": tracks for user, tracks in lists.items()}
    frame = prediction_frame(lists)
    given_truth = truth_frame(truth)
    if shape == "object":
        frame, given_truth = frame.astype({"user_id": object}), given_truth.astype({"user_id": object})
    frame = frame.sample(frac=1, random_state=data.draw(st.integers(0, 9)))  # the order of rows must not matter
    got = per_user(given_truth, frame, k)
    assert got["user_id"].tolist() == sorted(truth)
    np.testing.assert_allclose(got[metric_columns(k)].to_numpy(), reference(truth, lists, k), rtol=0, atol=1e-12)


def test_order_is_rank_and_scores_and_gaps_do_not_matter() -> None:
    truth = truth_frame({"a": [1]})
    frame = pd.DataFrame(
        {"user_id": "a", "item_id": [7, 1, 8], "rank": [5.0, 2.0, 90.0], "score": [-1.0, np.nan, 3.0], "note": "x"}
    )
    assert per_user(truth, frame, 3).loc[0, "MRR@3"] == 1.0


@pytest.mark.parametrize("column", ["int8", "uint16", "Int64", "float64"])
def test_foreign_number_types(column: str) -> None:
    frame = prediction_frame({1: [4, 2]}).astype({"item_id": column, "rank": column})
    assert per_user(truth_frame({1: [2]}), frame, 5).loc[0, "MRR@5"] == 0.5


def test_user_ids_of_another_type() -> None:
    expected = per_user(truth_frame({1: [2], 10: [3]}), prediction_frame({1: [2], 10: [4, 3]}), 5)
    for other in (str, object, "category", "int32", "float64"):
        frame = prediction_frame({1: [2], 10: [4, 3]}).astype({"user_id": other})
        pd.testing.assert_frame_equal(per_user(truth_frame({1: [2], 10: [3]}), frame, 5), expected)
    as_numbers = per_user(truth_frame({"1": [2]}), prediction_frame({1: [2]}), 5)
    assert as_numbers.loc[0, "user_id"] == "1" and as_numbers.loc[0, "Recall@5"] == 1.0


def test_nobody_has_predictions() -> None:
    empty = prediction_frame({})
    assert per_user(truth_frame({"a": [1]}), empty.astype({"item_id": int, "rank": int}), 50).loc[0, "NDCG@50"] == 0.0


GOOD = prediction_frame({1: [4, 2], 2: [4]})


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (GOOD.drop(columns="rank"), "missing column rank"),
        (GOOD.drop(columns=["user_id", "item_id"]), "missing column user_id, item_id"),
        (GOOD.assign(item_id=4), "user 1 has item 4 twice"),
        (GOOD.assign(rank=1), "user 1 has rank 1 twice"),
        (GOOD.assign(rank=[1, np.nan, 1]), "rank has missing"),
        (GOOD.assign(rank=["1", "2", "1"]), "rank must be numbers"),
        (GOOD.assign(item_id=["a", "b", "c"]), "item_id must be numbers"),
        (GOOD.assign(item_id=[1.5, 2, 3]), "whole numbers"),
        (GOOD.assign(item_id=[-1, 2, 3]), "from 0"),
        (GOOD.assign(user_id=["x", "x", "y"]), "user_id is of type string, but the log's user ids are of type integer"),
        (GOOD.assign(user_id=[1, np.nan, 2]), "user_id has missing"),
    ],
)
def test_bad_predictions(frame: pd.DataFrame, message: str) -> None:
    with pytest.raises(MusicrecError, match=message):
        per_user(truth_frame({1: [2], 2: [4]}), frame, 50)


def test_bad_cutoff() -> None:
    with pytest.raises(MusicrecError, match="at least 1"):
        per_user(truth_frame({1: [2]}), GOOD, 0)
