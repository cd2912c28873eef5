"""KNN: exact cosine lists on the ten rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from musicrec.data.interactions import Interactions, SplitData
from musicrec.errors import MusicrecError
from musicrec.recommenders.knn import KNN
from tests.recommenders.conftest import made, rows

HALF = np.float32(np.sqrt(0.5))


@pytest.mark.parametrize("search", ["torch", "auto"])
def test_lists_of_the_ten_rows(ten_rows: SplitData, plane: np.ndarray, search: str) -> None:
    model = made(KNN, ten_rows, plane, search=search)
    ids, scores = model.recommend(np.arange(4), 5)
    # 10: mean of (1,0) (2,0) (1,1) = (4/3, 1/3) -> cosines 3, 4: 1/√17; 5: −4/√17.
    # 20: (1/3, 5/3) -> 0, 1: 1/√26; 5: −1/√26.   30: (0, 1) -> 3: 1; 2: 1/√2; 1: 0.   40: (0, 1), tracks 3 and 4 alike.
    assert ids.tolist() == [[3, 4, 5, -1, -1], [0, 1, 5, -1, -1], [3, 2, 1, -1, -1], [4, 2, 0, 1, 5]]
    expected = [
        [1 / np.sqrt(17), 1 / np.sqrt(17), -4 / np.sqrt(17), -np.inf, -np.inf],
        [1 / np.sqrt(26), 1 / np.sqrt(26), -1 / np.sqrt(26), -np.inf, -np.inf],
        [1, HALF, 0, -np.inf, -np.inf],
        [1, HALF, 0, 0, 0],
    ]
    np.testing.assert_allclose(scores, expected, atol=1e-6)


def test_vectors_reproduce_the_scores(ten_rows: SplitData, plane: np.ndarray) -> None:
    model = made(KNN, ten_rows, plane)
    users, items = model.user_vectors(), model.item_vectors()
    assert users.shape == (4, 2) and users.dtype == np.float32
    assert items.shape == (7, 2) and np.isnan(items[6]).all() and np.isfinite(items[:6]).all()
    ids, scores = model.recommend(np.array([3, 0]), 3)
    np.testing.assert_allclose(scores, (users[[3, 0]] @ np.nan_to_num(items).T)[[[0], [1]], ids], atol=1e-6)


def test_missing_audio_leaves_history_and_lists(ten_rows: SplitData, plane: np.ndarray) -> None:
    plane[3] = np.nan  # all that user 40 played
    data = replace(ten_rows, train=ten_rows.train.without_items(np.isnan(plane).any(axis=1)))
    model = made(KNN, data, plane)
    ids, _ = model.recommend(np.arange(4), 5)
    assert 3 not in ids
    assert ids[3].tolist() == [-1] * 5
    assert np.isnan(model.user_vectors()[3]).all()


def test_silent_clip_scores_zero(ten_rows: SplitData, plane: np.ndarray) -> None:
    plane[5] = 0
    ids, scores = made(KNN, ten_rows, plane).recommend(np.array([0]), 3)
    assert ids.tolist() == [[3, 4, 5]] and scores[0, 2] == 0


def test_other_history(ten_rows: SplitData, plane: np.ndarray) -> None:
    history = Interactions.from_frame(rows((10, 5, 1, 1), (20, 0, 1, 1), (30, 0, 1, 1), (40, 0, 1, 1)), num_tracks=7)
    ids, _ = made(KNN, ten_rows, plane).recommend(np.array([0]), 6, history=history)
    assert ids.tolist() == [[3, 4, 2, 0, 1, -1]]


def test_bad_input(ten_rows: SplitData, plane: np.ndarray) -> None:
    with pytest.raises(MusicrecError, match=r"shape \(6, 2\), but the track index has 7 tracks"):
        made(KNN, ten_rows, plane[:6])
    with pytest.raises(MusicrecError, match="search=annoy is invalid"):
        made(KNN, ten_rows, plane, search="annoy")
    plane[0] = np.nan
    with pytest.raises(MusicrecError, match="1 tracks that may be recommended have no finite embedding"):
        made(KNN, ten_rows, plane)
    nothing = replace(ten_rows, train=ten_rows.train.without_items(np.ones(7, dtype=bool)))
    with pytest.raises(MusicrecError, match="no training rows are left"):
        made(KNN, nothing, plane)
