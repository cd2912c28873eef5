"""Geometry of embeddings: how their vectors lie in space, and whether near means listened to by the same people."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
from scipy.sparse import csr_matrix
from scipy.stats import skew

NEIGHBOURS = 10
# Tracks whose neighbours are searched (among all): enough for the means, and a minute for 56,000 tracks of 1024.
_QUERIES = 10_000
# Scores that are in memory at once.
_BLOCK = 2**25


@dataclass(frozen=True)
class Geometry:
    """Measures of one embedding on the tracks of train that have a vector.

    Attributes:
        tracks: number of tracks.
        size: dimensions.
        effective_rank: exp of the entropy of the singular values of the centred table (Roy and Vetterli, EUSIPCO 2007):
            how many dimensions are in use.
        mean_cosine: of all pairs of different tracks, 0 = spread around the origin, 1 = a narrow cone (anisotropy).
        hubness: skewness of how often a track is among the ten nearest of others (Radovanović et al., JMLR 2010);
            about 0 without hubs.
        co_listening: mean cosine of the sets of listeners of a track and of its ten nearest.
        chance: the same of all pairs of tracks.
        same_artist: share of the ten nearest that have an artist in common with the track, where both have one; NaN if
            artists are not known.
    """

    tracks: int
    size: int
    effective_rank: float
    mean_cosine: float
    hubness: float
    co_listening: float
    chance: float
    same_artist: float

    def to_row(self) -> dict[str, float]:
        """Returns the row of the table, with the lift of co-listening over chance."""
        lift = self.co_listening / self.chance if self.chance else float("nan")
        return {**asdict(self), "lift": lift}


def geometry(vectors: np.ndarray, listeners: csr_matrix, artists: csr_matrix | None = None, seed: int = 0) -> Geometry:
    """Returns the measures of a table.

    Args:
        vectors: (tracks, dim) finite, two or more.
        listeners: (tracks, users) 1 where the user played the track.
        artists: (tracks, artists) 1 where a track is by an artist; None if they are not known.
        seed: chooses the tracks whose neighbours are searched, if there are more than 10,000.
    """
    directions = _unit(vectors)
    queries = np.arange(len(vectors))
    if len(queries) > _QUERIES:
        queries = np.sort(np.random.default_rng(seed).permutation(queries)[:_QUERIES])
    near = nearest(directions, queries, min(NEIGHBOURS, len(vectors) - 1))
    counts = np.bincount(near.ravel(), minlength=len(vectors))
    heard = _unit_rows(listeners)
    pairs = np.repeat(queries, near.shape[1]), near.ravel()
    shared = np.asarray(heard[pairs[0]].multiply(heard[pairs[1]]).sum(axis=1))
    total, squares = directions.sum(axis=0, dtype=np.float64), float((directions**2).sum())
    return Geometry(
        tracks=len(vectors),
        size=vectors.shape[1],
        effective_rank=effective_rank(vectors),
        mean_cosine=_mean_of_pairs(total, squares, len(vectors)),
        hubness=float(skew(counts)) if np.ptp(counts) else 0.0,
        co_listening=float(shared.mean()),
        chance=_mean_of_pairs(np.asarray(heard.sum(axis=0)).ravel(), float(heard.power(2).sum()), len(vectors)),
        same_artist=float("nan") if artists is None else _same_artist(artists, *pairs),
    )


def effective_rank(vectors: np.ndarray) -> float:
    """Returns exp of the entropy of the singular values of the centred rows; 0 if all rows are alike.

    >>> round(effective_rank(np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])), 6)
    2.0
    """
    centred = vectors - vectors.mean(axis=0, dtype=np.float64)
    small = centred.T @ centred if centred.shape[1] <= len(centred) else centred @ centred.T
    values = np.sqrt(np.linalg.eigvalsh(small).clip(0))
    values = values[values > 1e-7 * values.max(initial=0)]  # the rest is rounding
    if not len(values):
        return 0.0
    shares = values / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def nearest(directions: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """Returns (queries, k) rows nearest by cosine to each query, without itself.

    Args:
        directions: (tracks, dim) of length 1.
        queries: (queries,) rows.
        k: how many; fewer than there are tracks.
    """
    table = torch.from_numpy(directions)
    found = []
    for block in torch.from_numpy(queries).split(max(1, _BLOCK // len(directions))):
        scores = table[block] @ table.T
        scores[torch.arange(len(block)), block] = -torch.inf
        found.append(scores.topk(k, dim=1).indices)
    return torch.cat(found).numpy()


def _same_artist(artists: csr_matrix, tracks: np.ndarray, others: np.ndarray) -> float:
    """Returns the share of pairs that have an artist in common, among those of which both have one."""
    known = np.diff(artists.indptr) > 0
    both = known[tracks] & known[others]
    if not both.any():
        return float("nan")
    common = artists[tracks[both]].multiply(artists[others[both]]).sum(axis=1)
    return float((np.asarray(common) > 0).mean())


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Returns float32 rows of length 1; zero rows stay zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def _unit_rows(matrix: csr_matrix) -> csr_matrix:
    """Returns the matrix with rows of length 1; empty rows stay empty."""
    lengths = np.sqrt(np.asarray(matrix.power(2).sum(axis=1)).ravel())
    scaled = csr_matrix(matrix, dtype=np.float64, copy=True)
    scaled.data /= np.repeat(lengths, np.diff(scaled.indptr))
    return scaled


def _mean_of_pairs(total: np.ndarray, squares: float, count: int) -> float:
    """Returns the mean inner product of all ordered pairs of different rows, from their sum and sum of squares."""
    return float((total @ total - squares) / (count * (count - 1)))
