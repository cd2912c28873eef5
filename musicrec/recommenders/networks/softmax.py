"""Cross-entropy over a catalogue, without ever holding all its logits; and over a sample of a very large one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

# Logits held at once, in bytes. Smaller blocks read the output vectors more often, larger ones leave the cache.
_BLOCK_BYTES = {"cpu": 2**26, "cuda": 2**29}
# Least logarithm of a chance relative to the highest: 1e-26 of it changes no sum, and what is much smaller becomes a
# subnormal number, with which a CPU computes several times as slowly.
_LEAST = -60.0


def cross_entropy(
    states: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    targets: torch.Tensor,
    block_bytes: int | None = None,
) -> torch.Tensor:
    """Returns the mean of −log softmax(states · weightᵀ + bias)[target], a scalar.

    Equal to `torch.nn.functional.cross_entropy` of all logits up to rounding. The logits of a few rows at a time turn
    into their share of the gradient and are dropped, so memory is that of the gradients: for a million items and 600
    masked positions some 2 GB less, and no matrix product is done twice. Under autocast the products are in its
    precision, the softmax in float32.

    Args:
        states: (rows, dim).
        weight: (items, dim).
        bias: (items,).
        targets: (rows,) int64 items.
        block_bytes: of logits held at once.
    """
    kind = states.device.type
    rows = max(1, (block_bytes or _BLOCK_BYTES.get(kind, 2**26)) // (4 * len(weight)))
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else states.dtype
    if torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in (states, weight, bias)):
        result: torch.Tensor = _CrossEntropy.apply(states, weight, bias, targets, rows, dtype)
        return result
    weight = weight.to(dtype)
    total = torch.zeros((), device=states.device)
    for start in range(0, len(states), rows):
        logits = _logits(states[start : start + rows].to(dtype), weight, bias)
        total += F.cross_entropy(logits, targets[start : start + rows], reduction="sum")
    return total / len(states)


def sampled_cross_entropy(
    states: torch.Tensor,
    targets: torch.Tensor,
    drawn: torch.Tensor,
    catalogue: int,
    output: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor | None]],
) -> torch.Tensor:
    """Returns the mean sampled-softmax loss, a scalar: each row's target against items drawn uniformly.

    Jean et al., "On Using Very Large Target Vocabulary for Neural Machine Translation" (ACL 2015, arXiv 1412.2007),
    section 3. All rows share the drawn items. The sampled sum is scaled up to the catalogue, so that the loss estimates
    `cross_entropy`; a drawn item that is the row's target does not count.

    Args:
        states: (rows, dim).
        targets: (rows,) int64 items.
        drawn: (samples,) int64 items, with replacement.
        catalogue: number of items that could have been drawn.
        output: returns the vectors (n, dim) and biases (n,) of n items.
    """
    vectors, bias = output(torch.cat([targets, drawn]))
    own, others = vectors.split([len(targets), len(drawn)])
    wanted = (states * own).sum(dim=1, keepdim=True).float()
    chances = (states @ others.T).float() + math.log(catalogue / len(drawn))  # (rows, samples)
    if bias is not None:
        own_bias, other_bias = bias.split([len(targets), len(drawn)])
        wanted, chances = wanted + own_bias[:, None], chances + other_bias
    chances = chances.masked_fill(drawn == targets[:, None], -torch.inf)
    return F.cross_entropy(torch.cat([wanted, chances], dim=1), torch.zeros_like(targets))


class _CrossEntropy(torch.autograd.Function):
    """Computes the gradients with the loss, while the logits of a block are at hand."""

    @staticmethod
    def forward(
        context: Any,
        states: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        rows: int,
        dtype: torch.dtype,
    ) -> torch.Tensor:
        of_states, of_weight, of_bias = context.needs_input_grad[:3]
        grad_states = torch.empty_like(states, dtype=dtype) if of_states else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if of_weight else None
        grad_bias = torch.zeros_like(bias, dtype=torch.float32) if bias is not None and of_bias else None
        total = torch.zeros((), device=states.device)
        low = weight.to(dtype)
        # Written to by one block after the other: fresh memory for each would take as long as the product.
        products = torch.empty((min(rows, len(states)), len(weight)), dtype=dtype, device=states.device)
        for start in range(0, len(states), rows):
            block = slice(start, start + rows)
            read = states[block].to(dtype)
            logits = torch.mm(read, low.T, out=products[: len(read)]).float()
            if bias is not None:
                logits.add_(bias)
            wanted = targets[block, None]
            highest = logits.amax(dim=1, keepdim=True)
            total -= (logits.gather(1, wanted) - highest).sum()
            # In place: logits -> exp -> softmax − one-hot. It is divided by the number of rows only at the end, because
            # half precision has no room for so small numbers.
            normaliser = logits.sub_(highest).clamp_(min=_LEAST).exp_().sum(dim=1, keepdim=True)
            total += normaliser.log().sum()
            logits.div_(normaliser).scatter_add_(1, wanted, logits.new_full(wanted.shape, -1))
            if grad_bias is not None:
                grad_bias += logits.sum(dim=0)
            error = logits.to(dtype)
            if grad_states is not None:
                torch.mm(error, low, out=grad_states[block])
            if grad_weight is not None:
                if dtype == torch.float32:
                    grad_weight.addmm_(error.T, read)
                else:
                    grad_weight += error.T @ read
        context.gradients = grad_states, grad_weight, grad_bias
        context.rows = len(states)
        context.dtypes = [part.dtype if part is not None else None for part in (states, weight, bias)]
        return total / len(states)

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        factor = gradient / context.rows
        parts = [
            None if part is None else part.mul_(factor.to(part.dtype)).to(dtype)
            for part, dtype in zip(context.gradients, context.dtypes, strict=True)
        ]
        return *parts, None, None, None


def _logits(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Returns (rows, items) in float32."""
    logits = (states @ weight.T).float()
    return logits if bias is None else logits.add_(bias)
