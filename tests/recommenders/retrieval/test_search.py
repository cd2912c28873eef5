"""Which search a name gives, and the recall of the approximate ones."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from musicrec.errors import MusicrecError
from musicrec.recommenders.retrieval.search import FaissSearch, TorchSearch, largest, searcher


def test_unknown_search_and_missing_faiss(monkeypatch: pytest.MonkeyPatch) -> None:
    items = torch.ones(2, 2)
    with pytest.raises(MusicrecError, match="search=annoy is unknown; choose auto, torch, faiss, hnsw, ivf"):
        searcher("annoy", items)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MusicrecError, match="pip install faiss-cpu"):
        searcher("faiss", items)
    assert isinstance(searcher("auto", items), TorchSearch)


@pytest.mark.parametrize(("name", "least"), [("hnsw", 0.97), ("ivf", 0.6)])
def test_recall_of_the_approximate_searches(name: str, least: float) -> None:
    pytest.importorskip("faiss")
    rng = np.random.default_rng(4)
    # Clustered, as the vectors of a recommender are; normalised, as those of KNN.
    centres = rng.normal(size=(40, 32))
    items = centres[rng.integers(40, size=6000)] + 0.5 * rng.normal(size=(6000, 32))
    queries = centres[rng.integers(40, size=60)] + 0.5 * rng.normal(size=(60, 32))
    vectors, users = (
        torch.nn.functional.normalize(torch.from_numpy(part.astype(np.float32))) for part in (items, queries)
    )
    seen = torch.arange(60).repeat_interleave(20), torch.from_numpy(rng.integers(6000, size=1200))
    exact, bound = TorchSearch(vectors)(users, *seen, 50)
    found, _ = searcher(name, vectors)(users, *seen, 50)
    shares = [len(set(one) & set(other)) / 50 for one, other in zip(found.tolist(), exact.tolist(), strict=True)]
    assert np.mean(shares) >= least
    assert torch.isfinite(bound).all()
    pairs = set(zip(*(part.tolist() for part in seen), strict=True))
    assert not pairs & {(row, item) for row, items in enumerate(found.tolist()) for item in items}


def test_flat_faiss_finds_what_torch_finds() -> None:
    pytest.importorskip("faiss")
    rng = np.random.default_rng(5)
    vectors, users = (torch.from_numpy(rng.normal(size=(size, 16)).astype(np.float32)) for size in (500, 20))
    seen = torch.arange(20).repeat_interleave(3), torch.from_numpy(rng.integers(500, size=60))
    own, theirs = TorchSearch(vectors)(users, *seen, 30), FaissSearch(vectors)(users, *seen, 30)
    assert torch.equal(own[0].sort(dim=1).values, theirs[0].sort(dim=1).values)
    assert (theirs[1] >= own[1] - 1e-4).all()  # nothing that was left out scores higher


@pytest.mark.parametrize(
    ("items", "count"), [(1000, 3), (1003, 3), (1600, 25), (1615, 25), (1599, 25), (40, 40), (7, 2)]
)
def test_largest_is_topk(items: int, count: int) -> None:
    random = torch.Generator().manual_seed(items)
    scores = torch.randn(9, items, generator=random)
    scores[1] = torch.arange(items)  # the largest are neighbours, in other groups each
    scores[2] = torch.arange(items) % 16 * items + torch.arange(items) // 16  # the largest share groups
    scores[3, 2:] = -torch.inf
    scores[4] = -torch.inf
    scores[5, -1] = 99.0  # beyond the last whole group
    scores[6] = 0.0  # all tie
    scores[7, ::2] = 5.0
    values, found = largest(scores, count)
    expected, _ = scores.topk(count, dim=1)
    assert torch.equal(values, expected)
    assert torch.equal(scores.gather(1, found), values)
    assert all(len(set(row)) == count for row in found.tolist())


def test_blocks_do_not_leak_into_each_other() -> None:
    vectors, users = torch.randn(3000, 8), torch.randn(5, 8)
    search, nothing = TorchSearch(vectors), torch.empty(0, dtype=torch.int64)
    with torch.inference_mode():
        first, _ = search(users, torch.tensor([0]), torch.tensor([0]), 20)
    again, bound = search(users[:2], nothing, nothing, 20)
    assert torch.equal(again, (users[:2] @ vectors.T).topk(20, dim=1).indices)
    assert 0 not in first[0]
    assert torch.isfinite(bound).all()
