"""KNN: the tracks nearest by cosine to the mean of the user's tracks."""

from __future__ import annotations

import numpy as np
import torch

from musicrec.data.interactions import Interactions
from musicrec.recommenders.base import Inputs, VectorRecommender
from musicrec.recommenders.histories import mean_of_items, normalised
from musicrec.recommenders.retrieval.search import SearchName


class KNN(VectorRecommender):
    """Nearest tracks to the mean of the user's tracks, by cosine; nothing is learnt.

    "Comparative Analysis of Pretrained Audio Representations in Music Recommender Systems" (arXiv 2409.08987),
    section 3. The mean is of the embeddings as they are, each track once; then both sides are normalised.

    Args:
        inputs: split and item embeddings.
        search: how lists are found: auto, torch or faiss with equal results, hnsw or ivf approximately.
    """

    table = "cosine"
    title = "KNN"
    items: torch.Tensor
    cold_items: torch.Tensor
    cold_obstacle = None
    heard_obstacle = None

    def __init__(self, inputs: Inputs, *, search: SearchName = "auto"):
        super().__init__(inputs, search=search)
        self.register_buffer("items", torch.from_numpy(normalised(self.embeddings)), persistent=False)
        assert self.cold_vectors is not None
        self.register_buffer("cold_items", torch.from_numpy(normalised(self.cold_vectors)), persistent=False)

    def encode_users(self, users: np.ndarray, history: Interactions) -> torch.Tensor:
        """Returns the normalised means of the users' tracks."""
        vectors, index = self.embeddings, self.heard_index(history, users)
        if index is None:
            index = self.item_index
        elif self.cold_vectors is not None:
            vectors = np.concatenate([vectors, self.cold_vectors])
        return torch.from_numpy(normalised(mean_of_items(vectors, index, history, users))).to(self.home)

    def encode_items(self) -> torch.Tensor:
        """Returns the normalised embeddings."""
        return self.items

    def encode_cold(self) -> torch.Tensor:
        """Returns the normalised embeddings of the cold tracks."""
        return self.cold_items
