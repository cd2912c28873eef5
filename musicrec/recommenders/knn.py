"""KNN: a user is the mean of their tracks, and the nearest tracks by cosine are recommended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from musicrec.recommenders.base import Recommender, mean_of_items, normalised

if TYPE_CHECKING:
    from musicrec.data.interactions import Interactions, SplitData


class KNN(Recommender):
    """Nearest tracks to the mean of the user's tracks, by cosine; nothing is learnt.

    "Comparative Analysis of Pretrained Audio Representations in Music Recommender Systems" (arXiv 2409.08987),
    section 3. The mean is of the embeddings as they are, each track once; then both sides are normalised.

    Args:
        data: the split.
        item_embeddings: (num_tracks, dim).
        embedding_trainable: ignored, there is no training.
        search: how lists are found (`musicrec.recommenders.retrieval.top_k.searcher`): auto, torch, bf16 or faiss with
            equal results, hnsw or ivf approximately.
    """

    table = "cosine"

    def __init__(
        self,
        data: SplitData,
        item_embeddings: np.ndarray,
        embedding_trainable: bool = False,
        *,
        name: str = "knn",
        search: str = "auto",
        max_epochs: int = 0,
        patience: int = 0,
    ):
        super().__init__(data, item_embeddings, name=name, search=search)

    def encode_users(self, positions: np.ndarray, history: Interactions) -> np.ndarray:
        return normalised(mean_of_items(self.vectors, self.place, history, positions))

    def encode_items(self) -> np.ndarray:
        return normalised(self.vectors)
