"""Which search a name gives, and the recall of the approximate ones."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from musicrec.errors import MusicrecError
from musicrec.recommenders.retrieval.search import FaissSearch, TorchSearch, searcher


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
