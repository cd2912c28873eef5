"""The k best unseen candidates of every user, in blocks, with a defined order of ties."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch

from musicrec.recommenders.retrieval.search import best_of, searcher

log = logging.getLogger(__name__)

# Users by whom an approximate search is judged.
_RECALL_USERS = 200
# Candidates fetched beyond k. They absorb rounding: scores are recomputed exactly, and a list is only trusted if its
# last entry beats everything that was not fetched by more than the search can be wrong.
_SPARE = 32
# Largest temporary matrix, in bytes.
_BLOCK_BYTES = 2**28
_CACHE_BYTES = 2**20

Queries = TypeVar("Queries", np.ndarray, torch.Tensor)


class Seen(NamedTuple):
    """What must not be recommended: user u has seen items[offsets[u]:offsets[u + 1]].

    Attributes:
        offsets: (users + 1,) int64.
        items: track idx; tracks that are not candidates are ignored.
    """

    offsets: np.ndarray
    items: np.ndarray

    @classmethod
    def nothing(cls, users: int) -> Seen:
        """Returns that none of these users has seen anything."""
        return cls(np.zeros(users + 1, dtype=np.int64), np.empty(0, dtype=np.int64))

    def of(self, users: np.ndarray) -> Seen:
        """Returns the seen items of some users, in their order."""
        starts = self.offsets[users]
        lengths = self.offsets[users + 1] - starts
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return Seen(offsets, self.items[np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)])


class TopK(ABC, Generic[Queries]):
    """Finds the k best unseen candidates of users; made once and asked for any number of users.

    Equal scores are ordered by lower track idx, so a list depends neither on the size of a block nor on the library
    that multiplied.

    Args:
        candidates: (candidates,) sorted distinct track idx that may be recommended.
        device: where lists are computed.
        block_bytes: size of the largest temporary matrix.
    """

    def __init__(self, candidates: np.ndarray, device: torch.device, block_bytes: int):
        self.candidates = candidates
        self.device = device
        self.block_bytes = block_bytes
        # Index of each track in `candidates`; the last entry stands for all tracks beyond them.
        self._item_index = np.full(int(candidates.max(initial=-1)) + 2, -1, dtype=np.int64)
        self._item_index[candidates] = np.arange(len(candidates))

    def __call__(self, queries: Queries, known: np.ndarray, seen: Seen, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the track idx and the scores of each user's k best candidates, best first.

        Args:
            queries: (users, …) what the scores of a user are computed from.
            known: (users,) bool; the others get an empty list.
            seen: what is not recommended to these users again.
            k: length of the lists.

        Returns:
            ids (users, k) int64, -1 where there is no further item, and scores (users, k) float32, -inf there.
        """
        ids = np.full((len(known), k), -1, dtype=np.int64)
        scores = np.full((len(known), k), -np.inf, dtype=np.float32)
        if not len(self.candidates) or not k:
            return ids, scores
        rows = max(1, self.block_bytes // (4 * len(self.candidates)))
        users = np.flatnonzero(known)
        # Users with histories of similar length share a block, because FAISS has to search for the longest one.
        users = users[np.argsort((seen.offsets[1:] - seen.offsets[:-1])[users], kind="stable")]
        for start in range(0, len(users), rows):
            block = users[start : start + rows]
            found, values = self.ranked(queries[block], *self._seen_pairs(seen.of(block)), k)
            width = found.shape[1]
            values_np = values.cpu().numpy()
            ids[block, :width] = np.where(values_np > -np.inf, self.candidates[found.cpu().numpy()], -1)
            scores[block, :width] = values_np
        return ids, scores

    @abstractmethod
    def ranked(
        self, queries: Queries, seen_rows: torch.Tensor, seen_items: torch.Tensor, k: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the lists of one block of users.

        Args:
            queries: (rows, …) of these users.
            seen_rows: (pairs,) row of each seen (user, candidate) pair.
            seen_items: (pairs,) index of its candidate.
            k: length of the lists.

        Returns:
            (rows, min(k, candidates)) indices of candidates, best first, equal scores by lower index, and their scores,
            -inf where there is no further candidate.
        """

    def _seen_pairs(self, seen: Seen) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns seen items as (row, index of the candidate) pairs on the device."""
        rows = np.repeat(np.arange(len(seen.offsets) - 1), np.diff(seen.offsets))
        items = self._item_index[np.minimum(seen.items, len(self._item_index) - 1)]
        kept = items >= 0
        return torch.from_numpy(rows[kept]).to(self.device), torch.from_numpy(items[kept]).to(self.device)


class VectorTopK(TopK[torch.Tensor]):
    """Scores are inner products of user and item vectors.

    A score is the inner product in double precision, rounded to float32, so equal item vectors have equal scores. Only
    an approximate search may miss items; what it finds has the same scores, and how much it finds is logged.

    Args:
        items: (candidates, dim) float32 vectors, on the device where lists are to be computed.
        candidates: (candidates,) sorted distinct track idx of `items`.
        search: one of SEARCHES, see `musicrec.recommenders.retrieval.search.searcher`.
        block_bytes: size of the largest temporary matrix.
    """

    def __init__(
        self, items: torch.Tensor, candidates: np.ndarray, search: str = "torch", block_bytes: int = _BLOCK_BYTES
    ):
        super().__init__(candidates, items.device, block_bytes)
        self.items = items.contiguous()
        self.search = search
        if len(candidates):
            self._found = searcher(search, self.items)
            self._longest = self.items.norm(dim=1).max()

    def __call__(self, queries: torch.Tensor, known: np.ndarray, seen: Seen, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns ids and scores, see `TopK`.

        Args:
            queries: (users, dim) float32; a user whose vector is not finite gets an empty list.
            known: (users,) bool.
            seen: what is not recommended again.
            k: length of the lists.
        """
        known = known & torch.isfinite(queries).all(dim=1).cpu().numpy()
        ids, scores = super().__call__(queries, known, seen, k)
        if len(self.candidates) and self._found.approximate and known.any():
            self._log_recall(queries, np.flatnonzero(known), seen, ids)
        return ids, scores

    def ranked(
        self, queries: torch.Tensor, seen_rows: torch.Tensor, seen_items: torch.Tensor, k: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the lists of one block, see `TopK.ranked`."""
        queries = queries.contiguous()
        found, bound = self._found(queries, seen_rows, seen_items, min(k + _SPARE, len(self.items)))
        order, values = _ranked(found, self._exact(queries, found), k)
        # Higham, Accuracy and Stability of Numerical Algorithms, section 3.1: the rounding error of an inner product.
        margin = (self.items.shape[1] + 4) * 2.0**-24 * queries.norm(dim=1) * self._longest
        unsafe = (bound > -torch.inf) & (bound + margin >= values[:, -1])
        if unsafe.any():
            order[unsafe], values[unsafe] = self._complete(queries, seen_rows, seen_items, unsafe, order.shape[1])
        return order, values

    def _exact(self, queries: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
        """Returns (rows, fetch) float32 inner products computed in double precision; -inf at index -1."""
        parts = []
        # On a CPU what is gathered should stay in the cache: some four times as fast as going through memory.
        block_bytes = min(self.block_bytes, _CACHE_BYTES) if self.device.type == "cpu" else self.block_bytes
        for rows in _chunks(len(queries), 8 * found.shape[1] * self.items.shape[1], block_bytes):
            vectors = self.items[found[rows].clamp(min=0)].double()  # (rows, fetch, dim)
            parts.append(torch.bmm(vectors, queries[rows].double()[:, :, None])[:, :, 0])
        return torch.cat(parts).float().masked_fill(found < 0, -torch.inf)

    def _complete(
        self,
        queries: torch.Tensor,
        seen_rows: torch.Tensor,
        seen_items: torch.Tensor,
        unsafe: torch.Tensor,
        k: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the lists of the unsafe rows from the scores of all items (many ties: slow, rare)."""
        rows = unsafe.nonzero()[:, 0]
        values = torch.empty((len(rows), len(self.items)), device=self.device)
        for items in _chunks(len(self.items), 8 * self.items.shape[1], self.block_bytes):
            values[:, items] = (queries[rows].double() @ self.items[items].double().T).float()
        return _all_sorted(values, seen_rows, seen_items, unsafe, k)

    def _log_recall(self, queries: torch.Tensor, users: np.ndarray, seen: Seen, ids: np.ndarray) -> None:
        """Logs which share of the true lists an approximate search finds."""
        sample = np.sort(np.random.default_rng(0).permutation(users)[:_RECALL_USERS])
        k = ids.shape[1]
        exact = VectorTopK(self.items, self.candidates, "torch", self.block_bytes)
        true_ids, _ = exact(queries[sample], np.ones(len(sample), dtype=bool), seen.of(sample), k)
        shares = [
            len(set(mine[mine >= 0]) & set(true)) / max(1, (true >= 0).sum())
            for mine, true in zip(ids[sample], true_ids, strict=True)
        ]
        log.info(
            "search=%s finds %.2f %% of the true %d best tracks (%d users)",
            self.search,
            100 * np.mean(shares),
            k,
            len(sample),
        )


class ScoreTopK(TopK[np.ndarray]):
    """Scores come from a function of a block of users, for recommenders that are not an inner product.

    Args:
        score: returns (users, candidates) float scores of some users; NaN and -inf = cannot be recommended.
        candidates: (candidates,) sorted distinct track idx, in the order of the scores.
        device: where the scores are.
        block_bytes: size of the largest temporary matrix: as many users at once as their scores fit in.
    """

    def __init__(
        self,
        score: Callable[[np.ndarray], torch.Tensor],
        candidates: np.ndarray,
        device: torch.device,
        block_bytes: int = _BLOCK_BYTES,
    ):
        super().__init__(candidates, device, block_bytes)
        self.score = score

    def ranked(
        self, queries: np.ndarray, seen_rows: torch.Tensor, seen_items: torch.Tensor, k: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the lists of one block, see `TopK.ranked`; `queries` are what `score` takes."""
        # A copy: what is overwritten here may belong to the recommender.
        scores = torch.nan_to_num(self.score(queries).float(), nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
        found, bound = best_of(scores, seen_rows, seen_items, min(k + _SPARE, len(self.candidates)))
        values = scores.gather(1, found.clamp(min=0)).masked_fill(found < 0, -torch.inf)
        order, values = _ranked(found, values, k)
        # The best scores are exact; only a tie with what was left out makes the choice depend on the library.
        unsafe = (bound > -torch.inf) & (bound >= values[:, -1])
        if unsafe.any():
            complete = _all_sorted(scores[unsafe], seen_rows, seen_items, unsafe, order.shape[1])
            order[unsafe], values[unsafe] = complete
        return order, values


def _ranked(found: torch.Tensor, values: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns indices and values of the k largest values, best first, equal ones by lower index."""
    found, order = found.sort(dim=1)
    values, best = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    return found.gather(1, best)[:, :k], values[:, :k]


def _all_sorted(
    values: torch.Tensor, seen_rows: torch.Tensor, seen_items: torch.Tensor, unsafe: torch.Tensor, k: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns indices and values of the k best of all items.

    Args:
        values: (unsafe rows, items) scores of the rows of the block in which `unsafe` is True; overwritten.
        seen_rows: (pairs,) row in the block of each seen pair.
        seen_items: (pairs,) its item.
        unsafe: (rows,) bool.
        k: length of the lists.
    """
    row_of = unsafe.cumsum(0) - 1
    affected = unsafe[seen_rows]
    values[row_of[seen_rows[affected]], seen_items[affected]] = -torch.inf
    values, order = values.sort(dim=1, descending=True, stable=True)
    return order[:, :k], values[:, :k]


def _chunks(size: int, bytes_each: int, block_bytes: int) -> Iterator[slice]:
    step = max(1, block_bytes // bytes_each)
    for start in range(0, size, step):
        yield slice(start, start + step)
