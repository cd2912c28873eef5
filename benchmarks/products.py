"""The matrix products of a computation, and how long they take by themselves: its limit.

`Products` records the shape of every product, convolution and attention that runs inside it, the backward pass
included. `limit` times torch.mm (torch.bmm for batches) on the same shapes, with the operands in place.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten


class Shape(NamedTuple):
    """A batch of products (rows, inner) @ (inner, columns)."""

    batch: int
    rows: int
    inner: int
    columns: int

    @property
    def operations(self) -> float:
        """Returns its floating-point operations."""
        return 2.0 * self.batch * self.rows * self.inner * self.columns


class Products(TorchDispatchMode):
    """Counts the products of what runs inside, by shape."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: Counter[Shape] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        record = RECORDERS.get(func._overloadpacket)
        if record is None:  # inference mode hands composite operations over whole
            with self:
                whole = func.decompose(*args, **kwargs)
            if whole is not NotImplemented:
                return whole
        result = func(*args, **kwargs)
        if record is not None:
            self.shapes.update(record(args, result))
        return result


def _mm(first: Tensor, second: Tensor) -> list[Shape]:
    if first.layout != torch.strided or second.layout != torch.strided:
        return []
    *batch, rows, inner = first.shape
    return [Shape(math.prod(batch), rows, inner, second.shape[-1])]


def _convolution(args: tuple[Any, ...], result: Tensor) -> list[Shape]:
    weight, transposed, groups = args[1], args[6], args[8]
    positions = args[0] if transposed else result
    rows = len(positions) * math.prod(positions.shape[2:])
    return [Shape(groups, rows, math.prod(weight.shape[1:]), weight.shape[0] // groups)]


def _convolution_backward(args: tuple[Any, ...], result: Any) -> list[Shape]:
    (shape,) = _convolution((args[1], args[2], None, *args[4:]), args[0])
    return [shape] * sum(args[-1][:2])


def _lstm(args: tuple[Any, ...], result: Any) -> list[Shape]:
    (steps, batch, inner), (gates, hidden) = args[0].shape, args[2].shape
    return [Shape(1, steps * batch, inner, gates), *[Shape(1, batch, hidden, gates)] * steps]


def _attention(args: tuple[Any, ...], result: Any) -> list[Shape]:
    (batch, heads, length, width), others = args[0].shape, args[1].shape[2]
    return [Shape(batch * heads, length, width, others), Shape(batch * heads, length, others, width)]


def _attention_backward(args: tuple[Any, ...], result: Any) -> list[Shape]:
    first, second = _attention(args[1:], result)
    return [first, first, first, second, second]  # the scores once more, and two gradients of each


RECORDERS: dict[Any, Callable[[tuple[Any, ...], Any], list[Shape]]] = {
    aten.mm: lambda args, result: _mm(*args[:2]),
    aten.addmm: lambda args, result: _mm(*args[1:3]),
    aten.addmm_: lambda args, result: _mm(*args[1:3]),
    aten.bmm: lambda args, result: _mm(*args[:2]),
    aten.baddbmm: lambda args, result: _mm(*args[1:3]),
    aten.mkldnn_rnn_layer: _lstm,
    aten.convolution: _convolution,
    aten.convolution_backward: _convolution_backward,
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


def recorded(work: Callable[[], object]) -> Counter[Shape]:
    """Returns how often each shape occurs in a call."""
    with Products() as products:
        work()
    return products.shapes


def used(work: Callable[[], object]) -> float:
    """Returns the processor seconds of a call, all threads together."""
    start = time.process_time()
    work()
    return time.process_time() - start


def product_seconds(shape: Shape, least: float = 0.02) -> float:
    """Returns the processor seconds of the products of one shape, repeated for at least `least` seconds.

    Of a large batch only as much is computed as fits into the cache: the limit is that of the arithmetic.
    """
    batch = max(1, min(shape.batch, 2**18 // (shape.rows * shape.inner + shape.inner * shape.columns)))
    first, second = torch.randn(batch, shape.rows, shape.inner), torch.randn(batch, shape.inner, shape.columns)
    out = torch.empty(batch, shape.rows, shape.columns)
    if batch == 1:
        product: Callable[[], object] = lambda: torch.mm(first[0], second[0], out=out[0])  # noqa: E731
    else:
        product = lambda: torch.bmm(first, second, out=out)  # noqa: E731
    once = max(used(product), 1e-6)
    times = max(1, round(least / once))
    return used(lambda: [product() for _ in range(times)]) / times * shape.batch / batch


@torch.no_grad()
def limit(shapes: Counter[Shape], least: float = 0.02) -> float:
    """Returns the processor seconds that the products take by themselves."""
    return sum(count * product_seconds(shape, least) for shape, count in shapes.items())


def operations(shapes: Counter[Shape]) -> float:
    """Returns the floating-point operations of all products."""
    return sum(count * shape.operations for shape, count in shapes.items())


def in_turn(works: list[Callable[[], float]], runs: int) -> list[float]:
    """Returns the median of what each call returns, the calls taking turns, so that other load affects all alike."""
    rounds = [[work() for work in works] for _ in range(runs)]
    return [statistics.median(column) for column in zip(*rounds, strict=True)]
