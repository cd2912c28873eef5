"""NDCG as a ratio of means against plain loops over users."""

import math

import numpy as np
import pandas as pd
import pytest

from musicrec.evaluation.metrics import ranked_lists
from musicrec.evaluation.protocols.pooled import pooled_ndcg


@pytest.mark.parametrize("counts", [False, True])
def test_equals_a_loop(generator: np.random.Generator, counts: bool) -> None:
    truth = pd.DataFrame({"user_id": generator.integers(0, 12, 50), "track_id": generator.integers(0, 30, 50)})
    truth = truth.drop_duplicates(ignore_index=True)
    if counts:
        truth["count"] = generator.integers(1, 4, len(truth))
    rows = [
        (user, int(item), rank)
        for user in range(9)  # three users of the truth have no list
        for rank, item in enumerate(generator.permutation(30)[:8], 1)
    ]
    lists = pd.DataFrame(rows, columns=["user_id", "item_id", "rank"])
    k = 5
    gained, ideal = 0.0, 0.0
    for user, own in truth.groupby("user_id"):
        first = lists[(lists.user_id == user) & (lists["rank"] <= k)]
        gained += sum(
            1 / math.log2(rank + 1)
            for item, rank in zip(first.item_id, first["rank"], strict=True)
            if item in set(own.track_id)
        )
        length = int(own["count"].sum()) if counts else len(own)
        ideal += sum(1 / math.log2(rank + 1) for rank in range(1, min(length, k) + 1))
    assert gained > 0
    assert pooled_ndcg(truth, ranked_lists(truth, lists, k), k) == pytest.approx(gained / ideal, rel=1e-12)
