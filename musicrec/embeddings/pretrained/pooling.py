"""From a network's hidden states to one vector a clip: which layer, and how several become one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from musicrec.errors import MusicrecError

LAYER_POOLINGS = ("concat", "mean")


def check_layer(layer: Any, layer_pooling: str) -> None:
    """Refuses values of `embedding.layer` and `embedding.layer_pooling` that no model has.

    Raises:
        MusicrecError: names the allowed ones; how many layers there are is known only when the weights are read.
    """
    whole = isinstance(layer, int) and not isinstance(layer, bool)
    if layer is not None and layer != "all" and not (whole and layer >= 0):
        raise MusicrecError(f"embedding.layer={layer} is unknown; allowed: null (the output), 0, 1, 2, ..., all")
    if layer_pooling not in LAYER_POOLINGS:
        raise MusicrecError(f"embedding.layer_pooling={layer_pooling} is unknown; allowed: {', '.join(LAYER_POOLINGS)}")


def check_depth(layer: Any, depth: int, name: str) -> None:
    """Refuses a layer beyond the last one, `depth`."""
    if isinstance(layer, int) and layer > depth:
        raise MusicrecError(
            f"embedding.layer={layer} is not offered by {name}, whose weights have {depth} layers; allowed: null, "
            f"0 to {depth}, all"
        )


def pool_layers(pooled: Iterable[Tensor], layer: int | str | None, layer_pooling: str) -> Tensor:
    """Returns one vector a clip, (batch, dim) float32; (batch, layers * dim) for all layers concatenated.

    Args:
        pooled: vectors of the clips by layer, each (batch, dim), from the network's input to its output. It is read
            only as far as needed, so a generator need not calculate the layers above the chosen one.
        layer: number; None = the last; "all" = every one.
        layer_pooling: of "all": "concat" or "mean".
    """
    if layer == "all":
        every = torch.stack([values.float() for values in pooled], dim=1)
        return every.flatten(1) if layer_pooling == "concat" else every.mean(dim=1)
    chosen = None
    for number, values in enumerate(pooled):
        chosen = values
        if number == layer:
            break
    assert chosen is not None
    return chosen.float()
