"""The contrastive losses against the formulas written out as loops."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
import torch

from musicrec.recommenders.networks.contrastive import LOSSES, contrastive


def unit(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    vectors = rng.normal(size=(count, size))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def by_formula(kind: str, a: np.ndarray, c: np.ndarray, temperature: float) -> float:
    """Returns the loss of a → c, term by term."""
    total, n = 0.0, len(a)
    for i in range(n):
        others = [j for j in range(n) if j != i]
        across = [exp(a[i] @ c[j] / temperature) for j in others]
        within = [exp(a[i] @ a[j] / temperature) for j in others]
        positive = a[i] @ c[i] / temperature
        sums = {"adcl": sum(across), "dcl": sum(within) + sum(across), "infonce": exp(positive) + sum(across)}
        total += -positive + log(sums[kind])
    return total / n


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("block_bytes", [2**28, 40])
def test_losses_and_gradients_equal_the_formula(kind: str, block_bytes: int) -> None:
    rng = np.random.default_rng(1)
    a, c = unit(rng, 7, 4), unit(rng, 7, 4)
    anchors, others = (torch.tensor(part, dtype=torch.float32, requires_grad=True) for part in (a, c))
    loss = contrastive(anchors, others, kind, 0.2, block_bytes)
    assert float(loss.detach()) == pytest.approx(by_formula(kind, a, c, 0.2), rel=1e-5)
    loss.backward()
    for tensor, left in ((anchors, True), (others, False)):
        shift = np.zeros_like(a)
        shift[2, 1] = 1e-5
        up, down = (by_formula(kind, a + sign * shift * left, c + sign * shift * (not left), 0.2) for sign in (1, -1))
        assert tensor.grad is not None
        assert float(tensor.grad[2, 1]) == pytest.approx((up - down) / 2e-5, rel=1e-3)


def test_values_by_hand() -> None:
    same = torch.eye(2)
    # Each track is alone with one other at a right angle: the sum is exp(0) = 1, or twice that with its own view.
    assert float(contrastive(same, same, "adcl", 0.5)) == pytest.approx(-2)
    assert float(contrastive(same, same, "dcl", 0.5)) == pytest.approx(-2 + log(2))
    assert float(contrastive(same, same, "infonce", 0.5)) == pytest.approx(-2 + log(exp(2) + 1))


@pytest.mark.parametrize("kind", LOSSES)
def test_one_pair_has_no_negatives(kind: str) -> None:
    anchor = torch.ones((1, 3), requires_grad=True)
    loss = contrastive(anchor, anchor, kind, 0.1)
    loss.backward()
    assert float(loss.detach()) == 0 and anchor.grad is not None and not anchor.grad.any()
