"""EmbeddingTable: one vector per row, learnt or frozen."""

from __future__ import annotations

import torch
from torch import nn


class EmbeddingTable(nn.Module):
    """One vector per row. Learnt vectors are a parameter; frozen ones are neither given to the optimizer nor saved.

    Args:
        vectors: (rows, dim).
        frozen: keep them as they are.
    """

    weight: torch.Tensor

    def __init__(self, vectors: torch.Tensor, frozen: bool):
        super().__init__()
        if frozen:
            self.register_buffer("weight", vectors, persistent=False)
        else:
            self.weight = nn.Parameter(vectors)

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def dim(self) -> int:
        """Returns the size of a vector."""
        return self.weight.shape[1]
