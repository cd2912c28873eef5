"""Layer: which of a network's hidden states becomes the embedding, and how several become one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from musicrec.errors import MusicrecError, demand

POOLINGS = ("concat", "mean")


@dataclass(frozen=True)
class Layer:
    """The choice of `embedding.layer` and `embedding.layer_pooling`.

    Attributes:
        chosen: None = the model's output; 0 = what enters the first layer, 1 = the output of the first, ...; "all".
        pooling: what "all" becomes: "concat" (one after the other) or "mean".

    Raises:
        MusicrecError: a value that no model has; how many layers there are is known only when the weights are read.
    """

    chosen: int | str | None = None
    pooling: str = "concat"

    def __post_init__(self) -> None:
        whole = isinstance(self.chosen, int) and not isinstance(self.chosen, bool) and self.chosen >= 0
        valid = self.chosen is None or self.chosen == "all" or whole
        demand("embedding.layer", self.chosen, valid, "null (the output), 0, 1, 2, ... or all")
        demand("embedding.layer_pooling", self.pooling, self.pooling in POOLINGS, " or ".join(POOLINGS))

    def check_depth(self, depth: int, name: str) -> None:
        """Refuses a layer beyond the last one, `depth`."""
        if isinstance(self.chosen, int) and self.chosen > depth:
            raise MusicrecError(
                f"embedding.layer={self.chosen} does not exist in {name}, whose weights have {depth} layers; allowed: "
                f"null, 0 to {depth}, all"
            )

    def pool(self, vectors: Iterable[Tensor]) -> Tensor:
        """Returns one vector per clip, (batch, dim) float32; (batch, layers * dim) for all layers concatenated.

        Args:
            vectors: of the clips by layer, each (batch, dim), from the network's input to its output. They are read
                only as far as needed, so a generator need not compute the layers above the chosen one.
        """
        if self.chosen == "all":
            every = torch.stack([values.float() for values in vectors], dim=1)
            return every.flatten(1) if self.pooling == "concat" else every.mean(dim=1)
        last = None
        for number, values in enumerate(vectors):
            last = values
            if number == self.chosen:
                break
        assert last is not None
        return last.float()
