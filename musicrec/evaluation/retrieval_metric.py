"""One torchmetrics.Metric on ranked ids, for use during training.

torchmetrics' own retrieval metrics take scores and ignore hits whose score is ≤ 0, which cosine scores and logits often
are (torchmetrics pull request 3160); this one never sees a score.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from musicrec.evaluation.metrics import all_metrics, metric_columns


class RetrievalMetric(Metric):
    """Means over users of HitRate, MRR, Precision, Recall and NDCG at k, as in `musicrec.evaluation.metrics`.

    Keeps six sums, so memory does not grow with the users. Users with an empty truth do not count.

    >>> metric = RetrievalMetric(k=2)
    >>> metric.update(ranked=torch.tensor([[7, 2], [3, -1]]), truth=torch.tensor([[1, 2], [3, -1]]))
    >>> {name: round(float(value), 3) for name, value in metric.compute().items()}
    {'HitRate@2': 1.0, 'MRR@2': 0.75, 'Precision@2': 0.75, 'Recall@2': 0.75, 'NDCG@2': 0.693}
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True
    total: Tensor
    users: Tensor

    def __init__(self, k: int = 50, **kwargs: Any):
        super().__init__(**kwargs)
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        self.k = k
        self.add_state("total", torch.zeros(len(metric_columns(k))), dist_reduce_fx="sum")
        self.add_state("users", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, ranked: Tensor, truth: Tensor) -> None:
        """Adds a batch of users.

        Args:
            ranked: (batch, n) item ids, the best first; negative = no item (at the end of a list).
            truth: (batch, m) distinct item ids, padded with negative ones.
        """
        if ranked.ndim != 2 or truth.ndim != 2 or len(ranked) != len(truth):
            shapes = f"{tuple(ranked.shape)} and {tuple(truth.shape)}"
            raise ValueError(f"ranked and truth must be (batch, n) and (batch, m), not {shapes}")
        real = truth >= 0
        counted = real.any(dim=1)
        ranked, truth, real = ranked[counted, : self.k], truth[counted], real[counted]
        listed = ranked >= 0
        # A key for each (user, item) pair: memory does not depend on how many items the longest truth times k is.
        stride = 1 + max(int(ranked.max()) if ranked.numel() else 0, int(truth.max()) if truth.numel() else 0)
        row = stride * torch.arange(len(ranked), device=ranked.device)[:, None]
        hits = listed & torch.isin(row + ranked, (row + truth)[real])
        lengths, relevant = listed.sum(dim=1).cpu().numpy(), real.sum(dim=1).cpu().numpy()
        values = all_metrics(hits.cpu().numpy(), lengths, relevant, self.k)
        self.total += torch.tensor([float(value.sum()) for value in values.values()]).to(self.total)
        self.users += len(ranked)

    def compute(self) -> dict[str, Tensor]:
        """Returns the mean of each metric over the users seen so far; NaN before the first."""
        return dict(zip(metric_columns(self.k), self.total / self.users, strict=True))
