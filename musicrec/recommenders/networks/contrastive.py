"""Contrastive losses between two views of the same tracks."""

from __future__ import annotations

import torch
from torch.utils.checkpoint import checkpoint

LOSSES = ("adcl", "dcl", "infonce")
# Similarities held at once, in bytes.
_BLOCK_BYTES = 2**28


def contrastive(
    anchors: torch.Tensor, others: torch.Tensor, loss: str, temperature: float, block_bytes: int = _BLOCK_BYTES
) -> torch.Tensor:
    """Returns the mean over all i of −s(aᵢ, oᵢ) + log Σ exp(s), a scalar; s is the inner product over the temperature.

    They differ in what the sum goes over:

    - `infonce`: s(aᵢ, oⱼ) of all j (van den Oord et al., arXiv 1807.03748, equation 4).
    - `adcl`: of all j ≠ i, so that a pair that is near already still counts (the 2026 study, arXiv 2604.23077, after
      arXiv 2501.01108).
    - `dcl`: s(aᵢ, oⱼ) and s(aᵢ, aⱼ) of all j ≠ i (Yeh et al., "Decoupled Contrastive Learning", arXiv 2110.06848,
      equation 6).

    A single pair has no negatives: its loss is 0.

    Args:
        anchors: (n, dim) one view, of length 1.
        others: (n, dim) the other view.
        loss: one of LOSSES.
        temperature: positive.
        block_bytes: of similarities held at once; where there are more, they are computed again for the gradient.
    """
    if len(anchors) < 2:
        return (anchors.sum() + others.sum()) * 0
    positive = (anchors * others).sum(dim=1) / temperature
    pool = torch.cat([others, anchors]) if loss == "dcl" else others
    own = torch.arange(len(anchors), device=anchors.device)
    blocks = own.split(max(1, block_bytes // (4 * len(pool))))
    if len(blocks) == 1:
        negative = _log_sum(anchors, pool, own, loss, temperature)
    else:
        parts = (
            checkpoint(_log_sum, anchors[block], pool, block, loss, temperature, use_reentrant=False)
            for block in blocks
        )
        negative = torch.cat(list(parts))
    return (negative - positive).mean()


def _log_sum(
    anchors: torch.Tensor, pool: torch.Tensor, own: torch.Tensor, loss: str, temperature: float
) -> torch.Tensor:
    """Returns (block,) log Σ exp of the similarities of each anchor to the pool.

    Args:
        anchors: (block, dim).
        pool: (n or 2 n, dim).
        own: (block,) number of each anchor among the n.
        loss: one of LOSSES.
        temperature: positive.
    """
    scores = (anchors @ pool.T).float() / temperature
    if loss == "infonce":
        return scores.logsumexp(dim=1)
    numbers = torch.arange(len(pool), device=pool.device)
    # In `dcl` the pool holds every track twice, n apart.
    count = len(pool) // 2 if loss == "dcl" else len(pool)
    return scores.masked_fill(numbers % count == own[:, None], -torch.inf).logsumexp(dim=1)
