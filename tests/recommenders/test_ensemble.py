"""Ensemble: reciprocal ranks by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from musicrec.data.interactions import SplitData
from musicrec.errors import MusicrecError
from musicrec.files import write_parquet
from musicrec.recommenders.ensemble import Ensemble
from tests.recommenders.conftest import made

COLUMNS = ["user_id", "item_id", "rank"]


@pytest.fixture
def preds(tmp_path: Path) -> Path:
    """Returns a folder with the lists of two runs for users 10 and 40 of the ten rows."""
    first = [(10, 3, 1), (10, 4, 2), (40, 5, 1), (99, 0, 1)]
    second = [(10, 4, 1), (10, 5, 2), (10, 3, 3), (40, 6, 1)]
    for name, rows in {"first": first, "second": second}.items():
        write_parquet(pd.DataFrame(rows, columns=COLUMNS), tmp_path / f"{name}.pqt")
    return tmp_path


def ensemble(data: SplitData, preds: Path, runs: Any = ("first", "second"), **options: Any) -> Ensemble:
    return made(Ensemble, data, runs=runs, folder=str(preds), **options)


def test_lists_by_hand(ten_rows: SplitData, preds: Path) -> None:
    ids, scores = ensemble(ten_rows, preds).recommend(np.arange(4), 4)
    # Track 6 is no candidate, user 99 unknown; users 20 and 30 are in no list.
    assert ids.tolist() == [[4, 3, 5, -1], [-1] * 4, [-1] * 4, [5, -1, -1, -1]]
    np.testing.assert_allclose(scores[0, :3], [1 / 61 + 1 / 62, 1 / 61 + 1 / 63, 1 / 62], rtol=1e-6)
    np.testing.assert_allclose(scores[3, 0], 1 / 61, rtol=1e-6)
    ids, scores = ensemble(ten_rows, preds, constant=0).recommend(np.array([0]), 4)
    assert ids.tolist() == [[4, 3, 5, -1]]
    np.testing.assert_allclose(scores[0, :3], [1.5, 4 / 3, 0.5], rtol=1e-6)


def test_each_split_of_leave_one_out_has_its_own_lists(ten_rows: SplitData, preds: Path) -> None:
    rows = [(10, 3, 1, "val"), (10, 4, 1, "test"), (10, 5, 2, "test")]
    for name in ("first", "second"):
        write_parquet(pd.DataFrame(rows, columns=[*COLUMNS, "split"]), preds / f"{name}.pqt")
    data = replace(ten_rows, split="leave_one_out")
    model = ensemble(data, preds)
    assert model.recommend(np.array([0]), 3)[0].tolist() == [[3, -1, -1]]
    assert model.recommend(np.array([0]), 3, data.history("test"))[0].tolist() == [[4, 5, -1]]


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([], "recommender.runs=.* is invalid; must be a list of two or more different runs"),
        (["first"], "must be a list of two or more"),
        (["first", "first"], "must be a list of two or more different"),
        ("first", "must be a list"),
        (["first", "third"], "third.pqt does not exist; finished runs: first, second"),
    ],
)
def test_bad_input(ten_rows: SplitData, preds: Path, runs: Any, message: str) -> None:
    with pytest.raises(MusicrecError, match=message):
        ensemble(ten_rows, preds, runs)


def test_another_track_index_is_refused(ten_rows: SplitData, preds: Path) -> None:
    write_parquet(pd.DataFrame([(10, 70, 1)], columns=COLUMNS), preds / "second.pqt")
    with pytest.raises(MusicrecError, match="was made with another track index: train second again"):
        ensemble(ten_rows, preds)


def test_the_files_that_it_reads() -> None:
    settings = {"runs": ["a", "b"], "folder": "preds", "constant": 60}
    assert Ensemble.files_read(settings) == {"a": Path("preds/a.pqt"), "b": Path("preds/b.pqt")}
    assert Ensemble.files_read({"runs": "a", "folder": "preds"}) == {}
