"""RowwiseAdam: Adam that leaves the rows of a table alone which a step has not read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F

from musicrec.errors import demand


class RowwiseAdam(torch.optim.Adam):
    """Adam whose step takes as long as the rows that the loss has read, not as the tables they are in.

    For a table with sparse gradients it does what torch.optim.SparseAdam does: moments and vectors of the rows that
    occur are updated, those of all others stay as they are. Adam lets the moments of rows without a gradient decay and
    moves the rows by them, so the numbers differ. Everything else is updated as Adam does.

    Args:
        params: parameters or groups of them.
        lr: learning rate.
        betas: decay of the two moments per update.
        eps: added to the root of the second moment.
        weight_decay: only 0, as rows that are not read cannot decay.
        fused: one kernel for the parameters without sparse gradients; None = torch decides.
    """

    row_wise = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        fused: bool | None = None,
    ):
        allowed = "0 with rowwise_adam (optimizer=adam decays all rows)"
        demand("optimizer.weight_decay", weight_decay, weight_decay == 0, allowed)
        super().__init__(params, lr, (betas[0], betas[1]), eps, fused=fused)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Updates the parameters that have a gradient; returns what `closure`, which computes them, returned."""
        result = None
        if closure is not None:
            with torch.enable_grad():
                result = closure()
        tables = [
            (group, weight, weight.grad)
            for group in self.param_groups
            for weight in group["params"]
            if weight.grad is not None and weight.grad.is_sparse
        ]
        for _, weight, _ in tables:
            weight.grad = None
        super().step()
        for group, weight, gradient in tables:
            weight.grad = gradient
            self._update_rows(group, weight, gradient.coalesce())
        return result

    def _update_rows(self, group: dict[str, Any], weight: torch.Tensor, gradient: torch.Tensor) -> None:
        """Updates the rows of a table that occur in a coalesced gradient; see torch.optim.SparseAdam."""
        state = self.state[weight]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(weight), torch.zeros_like(weight)
        state["step"] += 1
        rows, values = gradient.indices()[0], gradient.values()
        first, second = group["betas"]
        average = state["exp_avg"][rows].lerp_(values, 1 - first)
        square = state["exp_avg_sq"][rows].mul_(second).addcmul_(values, values, value=1 - second)
        state["exp_avg"].index_copy_(0, rows, average)
        state["exp_avg_sq"].index_copy_(0, rows, square)
        count = float(state["step"])
        root = square.sqrt_().add_(group["eps"])
        size = group["lr"] * (1 - second**count) ** 0.5 / (1 - first**count)
        weight.index_add_(0, rows, average.div_(root), alpha=-size)


def rows_of(table: torch.Tensor, rows: torch.Tensor, sparse: bool) -> torch.Tensor:
    """Returns table[rows].

    Args:
        table: (n, dim).
        rows: (m,).
        sparse: give a learnt table a sparse gradient, of these rows only, which `RowwiseAdam` takes.
    """
    return F.embedding(rows, table, sparse=True) if sparse and table.requires_grad else table[rows]
