"""The k best unseen items of every user: exact, in blocks, with a defined order of ties; or approximate, on demand."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch

from musicrec.errors import MusicrecError

log = logging.getLogger(__name__)

APPROXIMATE = ("hnsw", "ivf")
SEARCHES = ("auto", "torch", "bf16", "faiss", *APPROXIMATE)
# Users by whom an approximate search is judged.
_RECALL_USERS = 200
# Candidates fetched beyond k. They absorb rounding: scores are recomputed exactly, and a list is only trusted if its
# last place beats everything that was not fetched by more than the search can be wrong.
_SPARE = 32
# Largest temporary matrix, in bytes.
_BLOCK_BYTES = 2**28
_CACHE_BYTES = 2**20


def top_k(
    user_vectors: np.ndarray,
    item_vectors: np.ndarray,
    candidates: np.ndarray,
    seen_offsets: np.ndarray,
    seen_items: np.ndarray,
    k: int,
    *,
    search: str = "torch",
    device: torch.device | str = "cpu",
    block_bytes: int = _BLOCK_BYTES,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the track idx and the scores of the k candidates with the largest inner product, best first.

    A score is the inner product in double precision, rounded to float32; equal scores are ordered by lower track idx.
    So the result depends neither on the size of a block nor on the library that multiplied, and equal item vectors
    have equal scores. Only an approximate search may miss items; what it finds has the same scores, and how much it
    finds is logged.

    Args:
        user_vectors: (users, dim) float32; a row with NaN (no history) gets an empty list.
        item_vectors: (tracks, dim) float32; only the rows of `candidates` are read.
        candidates: (candidates,) sorted distinct track idx that may be recommended.
        seen_offsets: (users + 1,) user u has seen seen_items[seen_offsets[u]:seen_offsets[u + 1]].
        seen_items: track idx that are not recommended to that user again; others than candidates are ignored.
        k: length of the lists.
        search: one of SEARCHES, see `searcher`.
        device: where to compute.

    Returns:
        ids (users, k) int64, -1 where there is no further item, and scores (users, k) float32, -inf there.
    """
    ids = np.full((len(user_vectors), k), -1, dtype=np.int64)
    scores = np.full((len(user_vectors), k), -np.inf, dtype=np.float32)
    if not len(candidates) or not k:
        return ids, scores
    device = torch.device(device)
    table = torch.from_numpy(np.ascontiguousarray(item_vectors[candidates], dtype=np.float32)).to(device)
    position = np.full(len(item_vectors), -1, dtype=np.int64)
    position[candidates] = np.arange(len(candidates))
    found = searcher(search, table)
    fetch = min(k + found.spare, len(candidates))
    longest = table.norm(dim=1).max()
    rows = max(1, block_bytes // (4 * len(candidates)))
    known = np.flatnonzero(np.isfinite(user_vectors).all(axis=1))
    # Users with histories of similar length share a block, because FAISS has to search for the longest one.
    known = known[np.argsort((seen_offsets[1:] - seen_offsets[:-1])[known], kind="stable")]
    for start in range(0, len(known), rows):
        users = known[start : start + rows]
        queries = torch.from_numpy(np.ascontiguousarray(user_vectors[users], dtype=np.float32)).to(device)
        rows_np, places_np = _seen(users, seen_offsets, seen_items, position)
        seen = torch.from_numpy(rows_np).to(device), torch.from_numpy(places_np).to(device)
        places, bound = found(queries, *seen, fetch)
        values = _exact(queries, table, places, block_bytes)
        order, values = _ranked(places, values, k)
        # Higham, Accuracy and Stability of Numerical Algorithms, section 3.1: the rounding error of an inner product.
        margin = (table.shape[1] + 4) * 2.0**-24 * queries.norm(dim=1) * longest
        unsafe = (bound > -torch.inf) & (bound + margin >= values[:, -1])
        if unsafe.any():
            order[unsafe], values[unsafe] = _complete(queries, table, *seen, unsafe, order.shape[1], block_bytes)
        width = order.shape[1]
        values_np = values.cpu().numpy()
        ids[users, :width] = np.where(values_np > -np.inf, candidates[order.cpu().numpy()], -1)
        scores[users, :width] = values_np
    if found.approximate and len(known):
        sample = np.sort(np.random.default_rng(0).permutation(known)[:_RECALL_USERS])
        rest = [seen_items[seen_offsets[user] : seen_offsets[user + 1]] for user in sample]
        offsets = np.concatenate([[0], np.cumsum([len(items) for items in rest])])
        exact, _ = top_k(
            user_vectors[sample], item_vectors, candidates, offsets, np.concatenate(rest), k, device=device
        )
        shares = [
            len(set(mine[mine >= 0]) & set(true)) / max(1, (true >= 0).sum())
            for mine, true in zip(ids[sample], exact, strict=True)
        ]
        log.info(
            "search=%s finds %.2f %% of the true %d best tracks (%d users)",
            search,
            100 * np.mean(shares),
            k,
            len(sample),
        )
    return ids, scores


class Search(Protocol):
    """Finds probable winners fast; the caller recomputes their scores.

    Attributes:
        approximate: whether it may miss items that would have won.
        spare: how many it should fetch beyond k.
    """

    approximate: bool
    spare: int

    def __call__(
        self, queries: torch.Tensor, seen_rows: torch.Tensor, seen_places: torch.Tensor, fetch: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns (rows, fetch) int64 places in the table, -1 for none, and (rows,) a bound: no unseen place that was
        left out scores higher (up to rounding); -inf if none was left out."""
        ...


def searcher(name: str, table: torch.Tensor) -> Search:
    """Returns the search of this name over `table` (items, dim).

    `torch` is a matrix product, `bf16` one in half the precision with more candidates to choose from, `faiss` a flat
    index (on a GPU where faiss-gpu is installed); all are exact in the end. `auto` is `torch`, the fastest where
    they were measured (benchmarks/RESULTS.md). `hnsw` and `ivf` are FAISS's approximate indices, on the CPU.

    Raises:
        MusicrecError: unknown, or FAISS is not installed.
    """
    if name not in SEARCHES:
        raise MusicrecError(f"search={name} is unknown: choose {', '.join(SEARCHES)}")
    if name in ("auto", "torch"):
        return TorchSearch(table)
    if name == "bf16":
        return HalfSearch(table)
    try:
        import faiss  # noqa: F401
    except ImportError:
        raise MusicrecError(
            f"search={name} needs FAISS: pip install faiss-cpu (or faiss-gpu), or search=torch"
        ) from None
    return ApproximateSearch(table, name) if name in APPROXIMATE else FaissSearch(table)


class TorchSearch:
    """One matrix product of all users of the block with all items."""

    approximate = False
    spare = _SPARE

    def __init__(self, table: torch.Tensor):
        self.table = table

    def __call__(
        self, queries: torch.Tensor, seen_rows: torch.Tensor, seen_places: torch.Tensor, fetch: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        with _full_precision():
            scores = queries @ self.table.T  # (rows, items)
        scores[seen_rows, seen_places] = -torch.inf
        values, places = scores.topk(fetch, dim=1)
        bound = values[:, -1] if fetch < len(self.table) else torch.full_like(values[:, -1], -torch.inf)
        return torch.where(values > -torch.inf, places, -1), bound


class HalfSearch:
    """A matrix product in bfloat16, whose winners include the true ones unless the bound says that one may be missing.

    Items lose their mean first: that changes the scores of a user by a constant, and what is left is rounded less. By
    Cauchy and Schwarz, rounding the query q to q' and the item x to x' changes their product by at most
    |q − q'|·|x'| + |q|·|x − x'|; the product itself is accumulated in float32.
    """

    approximate = False
    spare = 8 * _SPARE

    def __init__(self, table: torch.Tensor):
        self.mean = table.mean(dim=0)
        centred = table - self.mean
        self.table = centred.bfloat16()
        rounded = self.table.float()
        self.longest = rounded.norm(dim=1).max()
        self.rounding = (centred - rounded).norm(dim=1).max()

    def __call__(
        self, queries: torch.Tensor, seen_rows: torch.Tensor, seen_places: torch.Tensor, fetch: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        half = queries.bfloat16()
        with _full_precision():
            scores = half @ self.table.T  # (rows, items), bfloat16
        scores[seen_rows, seen_places] = -torch.inf
        values, places = scores.topk(fetch, dim=1)
        lost = (queries - half.float()).norm(dim=1) * self.longest + queries.norm(dim=1) * self.rounding
        last = values[:, -1].float()
        # The result is rounded to bfloat16, too: by 2^-9 of its size.
        bound = last + last.abs() * 2.0**-8 + lost + queries @ self.mean
        if fetch == len(self.table):
            bound = torch.full_like(bound, -torch.inf)
        return torch.where(values > -torch.inf, places, -1), torch.where(last > -torch.inf, bound, -torch.inf)


class _IndexSearch:
    """An index of FAISS (Douze et al. 2024, arXiv 2401.08281); it knows no seen items, so it is asked for as many more
    as the longest history of the block."""

    spare = _SPARE

    def __init__(self, table: torch.Tensor, approximate: bool):
        self.size = len(table)
        self.approximate = approximate
        self.index: Any = None

    def __call__(
        self, queries: torch.Tensor, seen_rows: torch.Tensor, seen_places: torch.Tensor, fetch: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        longest = int(torch.bincount(seen_rows, minlength=1).max())
        asked = min(fetch + longest, self.size)
        found_values, found_places = self.index.search(queries.cpu().numpy(), asked)
        values = torch.from_numpy(found_values).to(queries.device)
        places = torch.from_numpy(found_places).to(queries.device)
        seen = torch.sort(seen_rows * self.size + seen_places).values
        keys = torch.arange(len(queries), device=queries.device)[:, None] * self.size + places
        unusable = places < 0  # an approximate index may find fewer
        if len(seen):
            unusable = unusable | (seen[torch.searchsorted(seen, keys).clamp(max=len(seen) - 1)] == keys)
        # What is left out either lies beyond the last one that was asked for or is dropped by the cut to `fetch`.
        bound = values.new_full((len(queries),), -torch.inf)
        if asked < self.size and not self.approximate:
            bound = values[:, -1]
        values, order = values.masked_fill(unusable, -torch.inf).topk(fetch, dim=1)
        if fetch < asked and not self.approximate:
            bound = torch.maximum(bound, values[:, -1])
        return torch.where(values > -torch.inf, places.gather(1, order), -1), bound


class FaissSearch(_IndexSearch):
    """FAISS's flat inner-product index, on the device of the table."""

    def __init__(self, table: torch.Tensor):
        import faiss

        super().__init__(table, approximate=False)
        self.index = faiss.IndexFlatIP(table.shape[1])
        if table.device.type == "cuda":
            if not hasattr(faiss, "StandardGpuResources"):
                raise MusicrecError("search=faiss on a GPU needs faiss-gpu instead of faiss-cpu; or use search=torch")
            self._resources = faiss.StandardGpuResources()  # the index does not keep it alive
            self.index = faiss.index_cpu_to_gpu(self._resources, table.device.index or 0, self.index)
        self.index.add(table.cpu().numpy())


class ApproximateSearch(_IndexSearch):
    """FAISS's graph (`hnsw`: Malkov and Yashunin 2018, arXiv 1603.09320) or inverted lists (`ivf`), for catalogues in
    which an exact search takes too long."""

    def __init__(self, table: torch.Tensor, kind: str):
        import faiss

        super().__init__(table, approximate=True)
        vectors = table.cpu().numpy()
        dim = vectors.shape[1]
        if kind == "hnsw":
            self.index = faiss.IndexHNSWFlat(dim, 32, faiss.METRIC_INNER_PRODUCT)
            self.index.hnsw.efConstruction = 100
        else:
            # FAISS's rule of thumb: 4 to 16 times the root of the number of vectors, 39 of them or more a list.
            lists = max(1, min(int(4 * len(vectors) ** 0.5), len(vectors) // 39))
            self._quantizer = faiss.IndexFlatIP(dim)
            self.index = faiss.IndexIVFFlat(self._quantizer, dim, lists, faiss.METRIC_INNER_PRODUCT)
            self.index.nprobe = max(1, lists // 4)
            self.index.train(vectors)
        self.index.add(vectors)

    def __call__(
        self, queries: torch.Tensor, seen_rows: torch.Tensor, seen_places: torch.Tensor, fetch: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if hasattr(self.index, "hnsw"):
            # The beam must hold all that is asked for, and some more to be good.
            asked = fetch + int(torch.bincount(seen_rows, minlength=1).max())
            self.index.hnsw.efSearch = 2 * asked
        return super().__call__(queries, seen_rows, seen_places, fetch)


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


def _seen(
    users: np.ndarray, offsets: np.ndarray, items: np.ndarray, position: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the seen items of a block of users as (row of the block, place in the table) pairs."""
    lengths = offsets[users + 1] - offsets[users]
    rows = np.repeat(np.arange(len(users)), lengths)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    places = position[items[np.repeat(offsets[users], lengths) + within]]
    return rows[places >= 0], places[places >= 0]


def _exact(queries: torch.Tensor, table: torch.Tensor, places: torch.Tensor, block_bytes: int) -> torch.Tensor:
    """Returns (rows, fetch) float32 inner products computed in double precision; -inf at place -1."""
    parts = []
    # On a CPU what is gathered should stay in the cache: some four times as fast as going through memory.
    block_bytes = min(block_bytes, _CACHE_BYTES) if table.device.type == "cpu" else block_bytes
    for rows in _chunks(len(queries), 8 * places.shape[1] * table.shape[1], block_bytes):
        vectors = table[places[rows].clamp(min=0)].double()  # (rows, fetch, dim)
        parts.append(torch.bmm(vectors, queries[rows].double()[:, :, None])[:, :, 0])
    return torch.cat(parts).float().masked_fill(places < 0, -torch.inf)


def _ranked(places: torch.Tensor, values: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns places and values of the k largest values, best first, equal ones by lower place."""
    places, order = places.sort(dim=1)
    values, best = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    return places.gather(1, best)[:, :k], values[:, :k]


def _complete(
    queries: torch.Tensor,
    table: torch.Tensor,
    seen_rows: torch.Tensor,
    seen_places: torch.Tensor,
    unsafe: torch.Tensor,
    k: int,
    block_bytes: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the lists of the unsafe rows from the double-precision scores of all items (many ties: slow, rare)."""
    rows = unsafe.nonzero()[:, 0]
    values = torch.empty((len(rows), len(table)), device=table.device)
    for items in _chunks(len(table), 8 * table.shape[1], block_bytes):
        values[:, items] = (queries[rows].double() @ table[items].double().T).float()
    row_of = torch.full((len(queries),), -1, device=table.device)
    row_of[rows] = torch.arange(len(rows), device=table.device)
    affected = unsafe[seen_rows]
    values[row_of[seen_rows[affected]], seen_places[affected]] = -torch.inf
    values, order = values.sort(dim=1, descending=True, stable=True)
    return order[:, :k], values[:, :k]


def _chunks(size: int, bytes_each: int, block_bytes: int) -> Iterator[slice]:
    step = max(1, block_bytes // bytes_each)
    for start in range(0, size, step):
        yield slice(start, start + step)
