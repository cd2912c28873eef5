"""benchmarks/products.py: what it records of layers has the operations that torch's own counter finds."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from musicrec.config import config_dir


@pytest.fixture(scope="module")
def products() -> Iterator[ModuleType]:
    path = config_dir().parent / "benchmarks" / "products.py"
    spec = importlib.util.spec_from_file_location("products", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["products"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["products"]


LAYERS = {
    "linear": (nn.Linear(8, 5), (3, 7, 8)),
    "convolution": (nn.Conv1d(4, 6, 3, padding=1), (2, 4, 10)),
    "image": (nn.Conv2d(3, 6, (3, 5), stride=2), (2, 3, 12, 14)),
    "groups": (nn.Conv1d(4, 6, 3, groups=2), (2, 4, 10)),
    "transposed": (nn.ConvTranspose1d(4, 6, 3, stride=2), (2, 4, 10)),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("backward", [False, True])
def test_operations_are_those_of_torch(products: ModuleType, name: str, backward: bool) -> None:
    layer, size = LAYERS[name]
    given = torch.randn(size, requires_grad=True)

    def work() -> None:
        result = layer(given)
        if backward:
            result.sum().backward()

    # Of the backward pass with groups torch counts too much: it is as much twice again.
    thrice = backward and name == "groups"
    with FlopCounterMode(display=False) as counter:
        layer(given) if thrice else work()
    expected = counter.get_total_flops() * (3 if thrice else 1)
    assert products.operations(products.recorded(work)) == expected > 0


def test_attention_and_inference_mode(products: ModuleType) -> None:
    query, other = torch.randn(2, 3, 10, 8), torch.randn(2, 3, 12, 8)
    with torch.inference_mode():
        shapes = products.recorded(lambda: F.scaled_dot_product_attention(query, other, other))
        assert shapes == {products.Shape(6, 10, 8, 12): 1, products.Shape(6, 10, 12, 8): 1}
        assert products.recorded(lambda: nn.Linear(8, 5)(query)) == {products.Shape(1, 60, 8, 5): 1}


def test_products_of_sparse_matrices_do_not_count(products: ModuleType) -> None:
    sparse, dense = torch.eye(4).to_sparse(), torch.ones(4, 2)
    assert not products.recorded(lambda: torch.mm(sparse, dense))


def test_limit_is_the_time_of_the_products(products: ModuleType) -> None:
    few, many = ({products.Shape(1, 64, 64, 64): count} for count in (1, 1000))
    assert 0 < products.limit(few, 0.001) < products.limit(many, 0.001)
