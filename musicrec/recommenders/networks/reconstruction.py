"""The loss of ELSA: how well a user's row is reconstructed from the vectors of its items."""

from __future__ import annotations

import torch

from musicrec.data.batches.sets import SetBatch


def reconstruction_loss(vectors: torch.Tensor, batch: SetBatch) -> tuple[torch.Tensor, int]:
    """Returns the mean squared difference of x A Aᵀ − x and the target, both of length 1, and the number of users.

    Vančura et al., "Scalable Linear Shallow Autoencoder for Collaborative Filtering" (RecSys 2022).

    Args:
        vectors: the rows of A, (items, dim), of length 1.
        batch: what the users played, and what is to be reconstructed from it.
    """
    known, target = batch
    rebuilt = (known.sums(vectors) @ vectors.T).float()  # (users, items)
    rebuilt = rebuilt.index_put((known.rows, known.items), -rebuilt.new_ones(()), accumulate=True)
    # For rows of length 1, the sum of squared differences is 2 − 2 cos.
    hits = rebuilt[target.rows, target.items]
    dots = rebuilt.new_zeros(len(target.sizes)).index_add(0, target.rows, hits)
    lengths = rebuilt.norm(dim=1).clamp(min=1e-12) * target.sizes.sqrt()
    return (2 - 2 * dots / lengths).mean() / rebuilt.shape[1], len(target.sizes)
