"""ArtistMean: the control for cold start, which knows a new track by its artist instead of its audio."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import svds

from musicrec.data.interactions import Interactions
from musicrec.recommenders.base import Inputs, VectorRecommender
from musicrec.recommenders.histories import mean_of_items, normalised
from musicrec.recommenders.retrieval.search import SearchName
from musicrec.values import Size

# Tracks of train whose audio is nearest that stand in for the artist of a cold track without one.
_NEIGHBOURS = 10


class ArtistMean(VectorRecommender):
    """Truncated SVD of who played what; a cold track is the mean of its artist's tracks in that space.

    Without it, audio would get credit for telling who the artist is: a baseline of the study "Artist-aware cold-start
    recommendation" (arXiv 2604.07090). The space is PureSVD (Cremonesi, Koren and Turrin, RecSys 2010, section 3.3.2).
    A track with several artists is the mean of the tracks of all of them. A cold track whose artist nobody played is
    the mean of the tracks of train that are nearest to it in the embedding, if there is one; otherwise it is not
    recommended.

    Args:
        inputs: the split, with `data.artists`, and optionally item embeddings.
        factors: dimensions of the space; fewer where there are fewer users or tracks.
        search: how lists are found, see `VectorRecommender`.
    """

    table = "artist_mean"
    title = "Artist mean"
    needs = "ids"
    items: torch.Tensor
    cold_items: torch.Tensor

    def __init__(self, inputs: Inputs, *, factors: Size = 64, search: SearchName = "auto"):
        super().__init__(inputs, search=search)
        space = self._space(factors)
        self.register_buffer("items", torch.from_numpy(space), persistent=False)
        self.register_buffer("cold_items", torch.from_numpy(self._cold(space)), persistent=False)

    @property
    def cold_obstacle(self) -> str | None:
        """Returns why cold tracks cannot be recommended: nobody says who their artists are."""
        return "it needs artists; run prepare.py with data.artists=FILE" if self.data.artists is None else None

    def encode_users(self, users: np.ndarray, history: Interactions) -> torch.Tensor:
        """Returns the means of the vectors of the users' tracks."""
        return torch.from_numpy(mean_of_items(self.items.cpu().numpy(), self.item_index, history, users)).to(self.home)

    def encode_items(self) -> torch.Tensor:
        """Returns the vectors of the tracks."""
        return self.items

    def encode_cold(self) -> torch.Tensor:
        """Returns the means of the artists' tracks."""
        return self.cold_items

    def _space(self, factors: int) -> np.ndarray:
        """Returns (candidates, factors) float32 right singular vectors of the users × tracks matrix."""
        train = self.data.train
        items = self.item_index[train.items]
        shape = (train.num_users, len(self.candidates))
        played = csr_matrix((np.ones(len(items)), (train.users, items)), shape=shape)
        rank = min(factors, min(shape) - 1)
        if rank < 1:
            return np.ones((len(self.candidates), 1), dtype=np.float32)
        start = np.random.default_rng(self.seed).standard_normal(min(shape))
        _, _, right = svds(played, k=rank, v0=start)
        # A singular vector is unique up to its sign only.
        signs = np.sign(right[np.arange(rank), np.abs(right).argmax(axis=1)])
        return np.ascontiguousarray((right * signs[:, None])[::-1].T, dtype=np.float32)

    def _cold(self, space: np.ndarray) -> np.ndarray:
        """Returns (cold, factors) float32; NaN for tracks of which nothing is known."""
        vectors = np.full((len(self.cold), space.shape[1]), np.nan, dtype=np.float32)
        artists = self.data.artists
        if artists is None:
            return vectors
        by_artist = artists.matrix
        shared = by_artist[self.cold] @ by_artist[self.candidates].T
        shared.data[:] = 1  # a track that shares two artists counts once
        same = np.asarray(shared.sum(axis=1)).ravel()
        own = same > 0
        vectors[own] = (shared[own] @ space.astype(np.float64)) / same[own, None]
        left = np.flatnonzero(np.isnan(vectors[:, 0]))
        if self.vectors is not None and self.cold_vectors is not None and len(left):
            near = normalised(self.cold_vectors[left]) @ normalised(self.vectors).T
            nearest = np.argsort(-near, axis=1, kind="stable")[:, :_NEIGHBOURS]
            vectors[left] = space[nearest].mean(axis=1)
        return vectors
