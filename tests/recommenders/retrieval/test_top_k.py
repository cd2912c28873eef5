"""Exact top-k: equal to a brute force in double precision, ties and all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musicrec.errors import MusicrecError
from musicrec.recommenders.retrieval import top_k as retrieval
from musicrec.recommenders.retrieval.top_k import top_k


def brute_force(
    users: np.ndarray, items: np.ndarray, candidates: np.ndarray, seen: list[set[int]], k: int
) -> tuple[np.ndarray, np.ndarray]:
    ids = np.full((len(users), k), -1)
    scores = np.full((len(users), k), -np.inf, dtype=np.float32)
    for row, user in enumerate(users):
        ranked = sorted(
            (-float(np.float32(user.astype(float) @ items[item].astype(float))), item)
            for item in candidates.tolist()
            if item not in seen[row]
        )[:k]
        ids[row, : len(ranked)] = [item for _, item in ranked]
        scores[row, : len(ranked)] = [-score for score, _ in ranked]
    return ids, scores


def offsets_of(seen: list[set[int]]) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.cumsum([0, *(len(items) for items in seen)])
    return offsets, np.array([item for items in seen for item in sorted(items)], dtype=np.int64)


@settings(max_examples=60, deadline=None)
@given(st.data())
@pytest.mark.parametrize("search", ["torch", "faiss", "bf16"])
def test_equals_brute_force(search: str, data: st.DataObject) -> None:
    if search == "faiss":
        pytest.importorskip("faiss")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    tracks, k = data.draw(st.integers(1, 90)), data.draw(st.integers(1, 12))
    # Few distinct small integers: many exact ties, at the boundary of the list as well.
    values = data.draw(st.integers(1, 3))
    users = rng.integers(-values, values + 1, (5, 3)).astype(np.float32)
    items = rng.integers(-values, values + 1, (tracks, 3)).astype(np.float32)
    candidates = np.flatnonzero(rng.random(tracks) < 0.8)
    seen = [set(rng.permutation(tracks)[: rng.integers(0, tracks + 1)].tolist()) for _ in users]
    items[np.setdiff1d(np.arange(tracks), candidates)] = np.nan
    block_bytes = data.draw(st.sampled_from([1, 500, 2**20]))
    ids, scores = top_k(users, items, candidates, *offsets_of(seen), k, search=search, block_bytes=block_bytes)
    expected_ids, expected_scores = brute_force(users, items, candidates, seen, k)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_array_equal(scores, expected_scores)


@pytest.mark.parametrize("search", ["torch", "faiss", "bf16"])
def test_equal_vectors_tie_wherever_they_stand(search: str) -> None:
    if search == "faiss":
        pytest.importorskip("faiss")
    rng = np.random.default_rng(0)
    items = rng.normal(size=(997, 61)).astype(np.float32)
    items[5::2] = items[5]  # 496 copies, far more than are fetched
    users = rng.normal(size=(33, 61)).astype(np.float32)
    seen: list[set[int]] = [set() for _ in users]
    ids, scores = top_k(users, items, np.arange(997), *offsets_of(seen), 50, search=search)
    expected = brute_force(users, items, np.arange(997), seen, 50)
    np.testing.assert_array_equal(ids, expected[0])
    np.testing.assert_array_equal(scores, expected[1])


def test_user_without_history_gets_nothing_and_short_catalogue_a_short_list() -> None:
    users = np.array([[np.nan, np.nan], [1, 0]], dtype=np.float32)
    items = np.array([[1, 0], [3, 0], [2, 0]], dtype=np.float32)
    ids, scores = top_k(users, items, np.arange(3), np.array([0, 0, 1]), np.array([1]), 4)
    assert ids.tolist() == [[-1, -1, -1, -1], [2, 0, -1, -1]]
    assert scores.tolist() == [[-np.inf] * 4, [2, 1, -np.inf, -np.inf]]


def test_no_candidates() -> None:
    ids, _ = top_k(
        np.ones((2, 1)), np.ones((3, 1)), np.array([], dtype=np.int64), np.zeros(3, int), np.array([], int), 2
    )
    assert ids.tolist() == [[-1, -1], [-1, -1]]


def test_lower_precision_of_training_does_not_reach_the_search() -> None:
    torch.set_float32_matmul_precision("medium")
    try:
        rng = np.random.default_rng(1)
        users, items = rng.normal(size=(8, 300)).astype(np.float32), rng.normal(size=(600, 300)).astype(np.float32)
        seen: list[set[int]] = [set() for _ in users]
        ids, _ = top_k(users, items, np.arange(600), *offsets_of(seen), 20)
        np.testing.assert_array_equal(ids, brute_force(users, items, np.arange(600), seen, 20)[0])
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_unknown_search_and_missing_faiss(monkeypatch: pytest.MonkeyPatch) -> None:
    table = torch.ones(2, 2)
    with pytest.raises(MusicrecError, match="choose auto, torch, bf16, faiss, hnsw, ivf"):
        retrieval.searcher("annoy", table)
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(MusicrecError, match="pip install faiss-cpu"):
        retrieval.searcher("faiss", table)
    assert isinstance(retrieval.searcher("auto", table), retrieval.TorchSearch)


@pytest.mark.parametrize("spread", [1.0, 0.01])
def test_half_precision_finds_the_same_lists_however_close_the_scores_are(spread: float) -> None:
    rng = np.random.default_rng(2)
    items = (5 + spread * rng.normal(size=(3000, 40))).astype(np.float32)
    users = rng.normal(size=(20, 40)).astype(np.float32)
    seen = [set(rng.permutation(3000)[:100].tolist()) for _ in users]
    ids, scores = top_k(users, items, np.arange(3000), *offsets_of(seen), 30, search="bf16")
    expected = top_k(users, items, np.arange(3000), *offsets_of(seen), 30, search="torch")
    np.testing.assert_array_equal(ids, expected[0])
    np.testing.assert_array_equal(scores, expected[1])


@pytest.mark.parametrize("search", ["hnsw", "ivf"])
def test_approximate_search_tells_its_recall_and_never_repeats_what_was_heard(
    search: str, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("faiss")
    caplog.set_level("INFO")
    rng = np.random.default_rng(3)
    items = rng.normal(size=(2000, 8)).astype(np.float32)
    users = rng.normal(size=(50, 8)).astype(np.float32)
    seen = [set(rng.permutation(2000)[:300].tolist()) for _ in users]
    candidates = np.arange(0, 2000, 2)
    ids, scores = top_k(users, items, candidates, *offsets_of(seen), 10, search=search)
    expected = brute_force(users, items, candidates, seen, 10)
    right = np.mean([len(set(mine) & set(true)) / 10 for mine, true in zip(ids, expected[0], strict=True)])
    assert right > 0.7
    assert f"search={search} finds {100 * right:.2f} % of the true 10 best tracks (50 users)" in caplog.text
    for row, heard in enumerate(seen):
        listed = ids[row][ids[row] >= 0]
        assert not set(listed) & heard and np.isin(listed, candidates).all()
        products = (users[row].astype(float) @ items[listed].astype(float).T).astype(np.float32)
        np.testing.assert_array_equal(scores[row][: len(listed)], products)
