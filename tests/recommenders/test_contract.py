"""Every recommender keeps `assert_recommender_contract`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from musicrec.data.interactions import Interactions
from musicrec.errors import MusicrecError
from musicrec.options import construct
from musicrec.recommenders.base import Inputs, Recommender, ScoreRecommender
from musicrec.recommenders.bert4rec import BERT4Rec
from musicrec.recommenders.knn import KNN
from musicrec.recommenders.sasrec import SASRec
from musicrec.recommenders.shallow import Shallow
from tests.recommenders.contract import Make, assert_recommender_contract, inputs

SMALL = {"hidden_size": 8, "intermediate_size": 12, "max_seq_len": 15, "batch_size": 16}


def small(kind: type[Recommender], **options: Any) -> Make:
    """Returns what makes a small transformer with these keys of its YAML."""
    return lambda inputs: construct(kind, {**SMALL, **options}, "recommender", {"inputs": inputs})


class Product(ScoreRecommender):
    """KNN by score instead of by vectors."""

    title = "Product"
    cold_obstacle = None

    def __init__(self, inputs: Inputs):
        super().__init__(inputs)
        self.knn = KNN(inputs)

    def score(self, users: np.ndarray, history: Interactions) -> torch.Tensor:
        return self.knn.encode_users(users, history).double() @ self.knn.encode_items().double().T

    def score_cold(self, users: np.ndarray, history: Interactions) -> torch.Tensor:
        return self.knn.encode_users(users, history).double() @ self.knn.encode_cold().double().T


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(KNN, id="knn"),
        pytest.param(Product, id="score"),
        pytest.param(partial(Shallow, hidden_dim=5, batch_size=100), id="shallow"),
        pytest.param(partial(Shallow, hidden_dim=0, item_freeze=False, sample="user"), id="shallow-items"),
        pytest.param(small(BERT4Rec), id="bert"),
        pytest.param(
            small(BERT4Rec, head="tied", hidden_size=16, softmax="sampled", softmax_samples=20), id="bert-tied"
        ),
        pytest.param(small(BERT4Rec, head="tied", hidden_size=16), id="bert-tied-full"),
        pytest.param(small(BERT4Rec, head="tied", softmax="sampled", softmax_samples=20), id="bert-tied"),
        pytest.param(small(BERT4Rec, init="xavier", window="random", max_seq_len=6), id="bert-window"),
        pytest.param(small(SASRec), id="sasrec"),
        pytest.param(small(SASRec, head="tied"), id="sasrec-tied"),
        pytest.param(small(SASRec, head="tied", loss="sampled", samples=20, norm="post"), id="sasrec-sampled"),
        pytest.param(small(SASRec, head="tied", loss="binary", max_seq_len=6), id="sasrec-binary"),
        pytest.param(small(SASRec, loss="binary", item_freeze=False), id="sasrec-items"),
    ],
)
def test_contract(make: Make, tmp_path: Path) -> None:
    assert_recommender_contract(make, tmp_path)


def test_scores_give_the_lists_of_vectors() -> None:
    by_score, by_vector = (kind(inputs()).recommend(np.arange(41), 9) for kind in (Product, KNN))
    np.testing.assert_array_equal(by_score[0], by_vector[0])
    np.testing.assert_allclose(by_score[1], by_vector[1], rtol=1e-6)


@pytest.mark.parametrize("make", [KNN, Shallow])
def test_an_embedding_that_is_needed_is_asked_for(make: Make) -> None:
    with pytest.raises(MusicrecError, match="needs an embedding: choose one, embedding=musicnn"):
        make(inputs(item_embeddings=None))
