"""Held-out splits of a workspace."""

import pytest

from musicrec.errors import MusicrecError
from musicrec.evaluation.truth import load_truth
from tests.evaluation.made_up import MadeUp


def test_splits_in_order_and_without_train(made_up: MadeUp) -> None:
    made_up.data(("cold_test", "hot_test", "val"))
    made_up.workspace.split("test").unlink()
    truth = load_truth(made_up.workspace)
    assert list(truth) == ["val", "hot_test", "cold_test"]
    assert list(truth["val"]) == ["user_id", "track_id", "count"] and len(truth["val"]) == 20


def test_no_test_split(made_up: MadeUp) -> None:
    made_up.workspace.split("test").unlink()
    with pytest.raises(MusicrecError, match=r"test.pqt is missing: make it with python prepare.py"):
        load_truth(made_up.workspace)
