"""The settings that BERT4Rec and SASRec share: the network, which part of a history it reads, what items are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from musicrec.recommenders.base import check
from musicrec.values import Count, Dropout, Size, check_fields


@dataclass(frozen=True)
class TransformerSettings:
    """The sizes of the transformer and how it starts.

    Attributes:
        hidden_size: size of the transformer, to which item vectors are projected; `same` = that of the embedding,
            without projection. Learnt items of that size are not projected either.
        num_hidden_layers: transformer layers.
        num_attention_heads: must divide the hidden size.
        intermediate_size: inner size of the feed-forward parts.
        dropout: of vectors and attention.
        norm: layer normalisation `post` (BERT) or `pre` each sublayer.
        init: initial weights of the layers: `bert`, with std 0.02 at any size (the released code), or `xavier`.
    """

    hidden_size: Size | Literal["same"] = 256
    num_hidden_layers: Annotated[int, Ge(1), Le(1000)] = 2
    num_attention_heads: Size = 2
    intermediate_size: Size = 256
    dropout: Dropout = 0.1
    norm: Literal["post", "pre"] = "post"
    init: Literal["bert", "xavier"] = "bert"

    def __post_init__(self) -> None:
        check_fields(self, "recommender")
        if self.hidden_size != "same":
            self.size(None)

    def size(self, dim: int | None) -> int:
        """Returns the hidden size.

        Args:
            dim: size of the embedding; None = there is none.

        Raises:
            MusicrecError: if there is no such size, or the heads do not divide it.
        """
        size = dim if self.hidden_size == "same" else self.hidden_size
        allowed = "a positive number" + ("" if dim is None else " or same")
        check("hidden_size", self.hidden_size, isinstance(size, int), allowed)
        assert isinstance(size, int)
        heads = self.num_attention_heads
        check("num_attention_heads", heads, size % heads == 0, f"a divisor of the hidden size {size}")
        return size


@dataclass(frozen=True)
class SequenceSettings:
    """Which part of a history the transformer reads.

    Attributes:
        max_seq_len: the last so many tracks of a history are used.
        window: of a longer history train on the `last` tracks, or in each epoch on a `random` stretch of it.
        predict_len: length of the input for prediction, with the mask if there is one; None = max_seq_len.
    """

    max_seq_len: Annotated[int, Ge(2), Le(1_000_000)] = 200
    window: Literal["last", "random"] = "last"
    predict_len: Count | None = None

    def __post_init__(self) -> None:
        check_fields(self, "recommender")
        allowed = f"between 2 and max_seq_len = {self.max_seq_len}"
        check("predict_len", self.predict_len, 2 <= self.longest <= self.max_seq_len, allowed)

    @property
    def longest(self) -> int:
        """Returns the length of the longest input for prediction."""
        return self.max_seq_len if self.predict_len is None else self.predict_len


@dataclass(frozen=True)
class ItemSettings:
    """What the tracks are to the transformer, as input and as output.

    Attributes:
        head: `linear` (an output vector and bias per track) or `tied` (the projected item vectors).
        item_freeze: keep the item vectors as they are.
    """

    head: Literal["linear", "tied"] = "linear"
    item_freeze: bool = True

    def __post_init__(self) -> None:
        check_fields(self, "recommender")
