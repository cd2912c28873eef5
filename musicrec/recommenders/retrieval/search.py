"""Searches over item vectors: torch and FAISS's flat index (exact), FAISS's hnsw and ivf (approximate)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, Protocol, get_args

import torch

from musicrec.errors import MusicrecError

APPROXIMATE = ("hnsw", "ivf")
SearchName = Literal["auto", "torch", "faiss", "hnsw", "ivf"]
SEARCHES = get_args(SearchName)
# Scores of a group of `largest`.
_GROUP = 16


class Search(Protocol):
    """Finds probable winners fast; the caller recomputes their scores.

    Attributes:
        approximate: whether it may miss items that would have won.
    """

    approximate: bool

    def __call__(
        self, queries: torch.Tensor, seen_rows: torch.Tensor, seen_items: torch.Tensor, fetch: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the items with the highest scores and a bound for the others.

        Args:
            queries: (rows, dim) vectors of users.
            seen_rows: (pairs,) row of each (user, item) pair that must not be found.
            seen_items: (pairs,) index of its item.
            fetch: how many items to find per row.

        Returns:
            (rows, fetch) int64 indices of items, -1 for none, and a (rows,) bound: no unseen item that was left out
            scores higher (up to rounding); -inf if none was left out.
        """
        ...


def searcher(name: str, items: torch.Tensor) -> Search:
    """Returns the search of this name over `items` (items, dim).

    `torch` is a matrix product and `faiss` a flat index (on a GPU where faiss-gpu is installed); both are exact in the
    end. `auto` is `torch`, the fastest where they were measured (benchmarks/RESULTS.md). `hnsw` and `ivf` are FAISS's
    approximate indices, on the CPU.

    Raises:
        MusicrecError: unknown name, or FAISS is not installed.
    """
    if name not in SEARCHES:
        raise MusicrecError(f"search={name} is unknown; choose {', '.join(SEARCHES)}")
    if name in ("auto", "torch"):
        return TorchSearch(items)
    return ApproximateSearch(items, name) if name in APPROXIMATE else FaissSearch(items)


class TorchSearch:
    """One matrix product of all users of the block with all items."""

    approximate = False

    def __init__(self, items: torch.Tensor):
        self.items = items
        # Fresh memory for the scores of each block would take as long as the product.
        self._scores = items.new_empty(0)

    def __call__(
        self, queries: torch.Tensor, seen_rows: torch.Tensor, seen_items: torch.Tensor, fetch: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns indices and bound, see `Search`."""
        size = len(queries) * len(self.items)
        if len(self._scores) < size:
            with torch.inference_mode(mode=False):  # so that it can be written to inside and outside of that mode
                self._scores = self.items.new_empty(size)
        scores = self._scores[:size].view(len(queries), len(self.items))
        with _full_precision(), torch.no_grad():
            torch.mm(queries, self.items.T, out=scores)
        return best_of(scores, seen_rows, seen_items, fetch)


class FaissSearch:
    """FAISS's flat inner-product index, on the device of the items (Douze et al. 2024, arXiv 2401.08281).

    FAISS knows no seen items, so it is asked for as many more as the longest history of the block.
    """

    approximate = False

    def __init__(self, items: torch.Tensor):
        self.size = len(items)
        self.index = self._index(_faiss(), items)
        self.index.add(items.cpu().numpy())

    def _index(self, faiss: Any, items: torch.Tensor) -> Any:
        index = faiss.IndexFlatIP(items.shape[1])
        if items.device.type == "cuda":
            if not hasattr(faiss, "StandardGpuResources"):
                raise MusicrecError("search=faiss on a GPU needs faiss-gpu instead of faiss-cpu; or use search=torch")
            self._resources = faiss.StandardGpuResources()  # the index does not keep it alive
            index = faiss.index_cpu_to_gpu(self._resources, items.device.index or 0, index)
        return index

    def __call__(
        self, queries: torch.Tensor, seen_rows: torch.Tensor, seen_items: torch.Tensor, fetch: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns indices and bound, see `Search`."""
        asked = self._asked(seen_rows, fetch)
        found_values, found_items = self.index.search(queries.cpu().numpy(), asked)
        values = torch.from_numpy(found_values).to(queries.device)
        items = torch.from_numpy(found_items).to(queries.device)
        seen = torch.sort(seen_rows * self.size + seen_items).values
        keys = torch.arange(len(queries), device=queries.device)[:, None] * self.size + items
        unusable = items < 0  # an approximate index may find fewer
        if len(seen):
            unusable = unusable | (seen[torch.searchsorted(seen, keys).clamp(max=len(seen) - 1)] == keys)
        # What is left out either lies beyond the last one that was asked for or is dropped by the cut to `fetch`.
        bound = values.new_full((len(queries),), -torch.inf)
        if asked < self.size and not self.approximate:
            bound = values[:, -1]
        values, order = values.masked_fill(unusable, -torch.inf).topk(fetch, dim=1)
        if fetch < asked and not self.approximate:
            bound = torch.maximum(bound, values[:, -1])
        return torch.where(values > -torch.inf, items.gather(1, order), -1), bound

    def _asked(self, seen_rows: torch.Tensor, fetch: int) -> int:
        longest = int(torch.bincount(seen_rows, minlength=1).max())
        return min(fetch + longest, self.size)


class ApproximateSearch(FaissSearch):
    """FAISS's approximate indices, for catalogues in which an exact search takes too long.

    Args:
        items: (items, dim).
        kind: `hnsw`, a graph (Malkov and Yashunin 2018, arXiv 1603.09320), or `ivf`, inverted lists.
    """

    approximate = True

    def __init__(self, items: torch.Tensor, kind: str):
        self.kind = kind
        super().__init__(items)

    def _index(self, faiss: Any, items: torch.Tensor) -> Any:
        size, dim = items.shape
        if self.kind == "hnsw":
            graph = faiss.IndexHNSWFlat(dim, 32, faiss.METRIC_INNER_PRODUCT)
            graph.hnsw.efConstruction = 100
            return graph
        # FAISS's rule of thumb: 4 to 16 times the root of the number of vectors, 39 of them or more per list.
        lists = max(1, min(int(4 * size**0.5), size // 39))
        self._quantizer = faiss.IndexFlatIP(dim)  # the index does not keep it alive
        index = faiss.IndexIVFFlat(self._quantizer, dim, lists, faiss.METRIC_INNER_PRODUCT)
        index.nprobe = max(1, lists // 4)
        index.train(items.cpu().numpy())
        return index

    def _asked(self, seen_rows: torch.Tensor, fetch: int) -> int:
        asked = super()._asked(seen_rows, fetch)
        if self.kind == "hnsw":
            # The beam must hold all that is asked for, and some more to be good.
            longest = int(torch.bincount(seen_rows, minlength=1).max())
            self.index.hnsw.efSearch = 2 * (fetch + longest)
        return asked


def best_of(
    scores: torch.Tensor, seen_rows: torch.Tensor, seen_items: torch.Tensor, fetch: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the indices (rows, fetch) of the largest unseen scores, -1 for none, and the bound of `Search`.

    Args:
        scores: (rows, items); overwritten at the seen items.
        seen_rows: (pairs,) row of each seen pair.
        seen_items: (pairs,) its item.
        fetch: how many to find, at most `items`.
    """
    scores[seen_rows, seen_items] = -torch.inf
    values, items = largest(scores, fetch)
    bound = values[:, -1] if fetch < scores.shape[1] else torch.full_like(values[:, -1], -torch.inf)
    return torch.where(values > -torch.inf, items, -1), bound


def largest(scores: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns values and indices of the largest scores of each row, best first, as torch.topk does.

    On a CPU that is several times as fast for long rows. They are cut into groups; the largest scores are all in the
    `count` groups whose maxima are the largest, and only those are looked through.

    Args:
        scores: (rows, items).
        count: at most `items`.
    """
    items = scores.shape[1]
    groups = items // _GROUP
    if scores.device.type != "cpu" or groups < 4 * count:
        return scores.topk(count, dim=1)
    # Group g consists of g, g + groups, g + 2 groups, …, so that maxima are taken of whole stretches of memory.
    whole = groups * _GROUP
    maxima = scores[:, :whole].unflatten(1, (_GROUP, groups)).amax(dim=1)
    best = maxima.topk(count, dim=1, sorted=False).indices
    inside = (best[:, None] + groups * torch.arange(_GROUP)[:, None]).flatten(1)
    rest = torch.arange(whole, items).expand(len(scores), -1)
    looked_at = torch.cat([inside, rest], dim=1)
    values, order = scores.gather(1, looked_at).topk(count, dim=1)
    return values, looked_at.gather(1, order)


def _faiss() -> Any:
    try:
        import faiss  # noqa: PLC0415  (optional)
    except ImportError:
        raise MusicrecError(
            "this search needs FAISS: pip install faiss-cpu (or faiss-gpu), or recommender.search=torch"
        ) from None
    return faiss


@contextmanager
def _full_precision() -> Iterator[None]:
    """Multiplies and sums in float32 even where training was allowed TF32 or bf16; the error bounds need it."""
    cuda = torch.backends.cuda.matmul
    precision, reduced = torch.get_float32_matmul_precision(), cuda.allow_bf16_reduced_precision_reduction
    torch.set_float32_matmul_precision("highest")
    cuda.allow_bf16_reduced_precision_reduction = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        cuda.allow_bf16_reduced_precision_reduction = reduced
