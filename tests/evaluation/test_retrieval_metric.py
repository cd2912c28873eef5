"""The metric used during training against the per-user functions."""

import numpy as np
import pandas as pd
import pytest
import torch

from musicrec.evaluation.metrics import metric_columns, per_user
from musicrec.evaluation.retrieval_metric import RetrievalMetric


@pytest.mark.parametrize("k", [1, 5, 50])
def test_equals_per_user_over_batches(k: int) -> None:
    generator = np.random.default_rng(0)
    ranked = np.stack([generator.permutation(30)[:20] for _ in range(40)])
    truth = np.stack([generator.permutation(30)[:6] for _ in range(40)])
    ranked[np.arange(20)[None] >= generator.integers(0, 21, 40)[:, None]] = -1  # lists of any length, empty ones too
    truth[np.arange(6)[None] >= generator.integers(1, 7, 40)[:, None]] = -1
    metric = RetrievalMetric(k)
    for rows in np.array_split(np.arange(40), 3):
        metric.update(torch.tensor(ranked[rows]), torch.tensor(truth[rows]))

    users, columns = np.nonzero(truth >= 0)
    truth_frame = pd.DataFrame({"user_id": users, "track_id": truth[users, columns]})
    users, columns = np.nonzero(ranked >= 0)
    predictions = pd.DataFrame({"user_id": users, "item_id": ranked[users, columns], "rank": columns})
    expected = per_user(truth_frame, predictions, k)[metric_columns(k)].mean()
    got = {name: float(value) for name, value in metric.compute().items()}
    assert got == pytest.approx(expected.to_dict(), abs=1e-6)


def test_users_without_truth_do_not_count() -> None:
    metric = RetrievalMetric(2)
    metric.update(torch.tensor([[1, 2], [3, 4]]), torch.tensor([[2], [-1]]))
    assert float(metric.compute()["MRR@2"]) == 0.5 and int(metric.users) == 1


def test_reset_and_bad_shapes() -> None:
    metric = RetrievalMetric(2)
    metric.update(torch.tensor([[1]]), torch.tensor([[1]]))
    metric.reset()
    with pytest.warns(UserWarning, match="before the"):
        assert torch.isnan(metric.compute()["NDCG@2"])
    with pytest.raises(ValueError, match="must be"):
        metric.update(torch.tensor([1]), torch.tensor([[1]]))
    with pytest.raises(ValueError, match="at least 1"):
        RetrievalMetric(0)
