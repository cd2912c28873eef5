"""Exact top-k: equal to a brute force in double precision, ties and all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musicrec.recommenders.retrieval.top_k import ScoreTopK, Seen, VectorTopK

CPU = torch.device("cpu")


def top_k(
    users: np.ndarray,
    items: np.ndarray,
    candidates: np.ndarray,
    seen_offsets: np.ndarray,
    seen_items: np.ndarray,
    k: int,
    *,
    search: str = "torch",
    block_bytes: int = 2**28,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns ids and scores by vectors (users, dim) and (tracks, dim), or by their products where search=scores."""
    seen, known = Seen(seen_offsets, seen_items), np.isfinite(users).all(axis=1)
    vectors = torch.from_numpy(np.ascontiguousarray(items[candidates], dtype=np.float32))
    queries = torch.from_numpy(np.asarray(users, dtype=np.float32))
    if search == "scores":

        def score(rows: np.ndarray) -> torch.Tensor:
            return queries[rows].double() @ vectors.double().T

        return ScoreTopK(score, candidates, CPU, block_bytes)(np.arange(len(users)), known, seen, k)
    return VectorTopK(vectors, candidates, search, block_bytes)(queries, known, seen, k)


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
@pytest.mark.parametrize("search", ["torch", "faiss", "scores"])
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


@pytest.mark.parametrize("search", ["torch", "faiss", "scores"])
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


def test_scores_that_are_not_finite_are_no_recommendations_and_are_left_as_they_were() -> None:
    scores = torch.tensor([[1.0, torch.nan, 3.0, -torch.inf, 3.0]])
    before = scores.clone()
    top = ScoreTopK(lambda rows: scores[rows] if len(rows) > 1 else scores, np.array([2, 3, 5, 7, 8]), CPU)
    ids, values = top(np.array([0]), np.array([True]), Seen(np.array([0, 2]), np.array([8, 100])), 5)
    assert ids.tolist() == [[5, 2, -1, -1, -1]] and values.tolist() == [[3, 1, -np.inf, -np.inf, -np.inf]]
    assert torch.equal(torch.nan_to_num(scores), torch.nan_to_num(before))


def test_ties_of_scores_at_the_end_of_a_list_go_to_the_lower_track() -> None:
    scores = torch.zeros(3, 500)
    scores[:, 400] = 1
    seen = Seen(np.array([0, 2, 2, 2]), np.array([0, 2]))
    ids, _ = ScoreTopK(lambda rows: scores[rows], np.arange(500), CPU)(np.arange(3), np.ones(3, bool), seen, 4)
    assert ids.tolist() == [[400, 1, 3, 4], [400, 0, 1, 2], [400, 0, 1, 2]]


def test_a_retriever_serves_any_number_of_blocks() -> None:
    rng = np.random.default_rng(2)
    items, users = (torch.from_numpy(rng.normal(size=(size, 6)).astype(np.float32)) for size in (300, 40))
    seen = Seen(np.arange(0, 41 * 5, 5), rng.integers(300, size=200))
    retriever = VectorTopK(items, np.arange(300))
    known = np.ones(40, bool)
    whole = retriever(users, known, seen, 7)
    parts = [
        retriever(users[rows], known[rows], seen.of(np.arange(40)[rows]), 7) for rows in np.split(np.arange(40), 5)
    ]
    for index in (0, 1):
        np.testing.assert_array_equal(whole[index], np.concatenate([part[index] for part in parts]))


@pytest.mark.parametrize("search", ["hnsw", "ivf"])
def test_approximate_search_logs_its_recall_and_never_repeats_what_was_played(
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
