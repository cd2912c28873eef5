"""The settings that BERT4Rec and SASRec share: the network, which part of a history it reads, what items are."""

from __future__ import annotations

from dataclasses import dataclass

from musicrec.recommenders.base import check


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

    hidden_size: int | str = 256
    num_hidden_layers: int = 2
    num_attention_heads: int = 2
    intermediate_size: int = 256
    dropout: float = 0.1
    norm: str = "post"
    init: str = "bert"

    def __post_init__(self) -> None:
        check("num_hidden_layers", self.num_hidden_layers, self.num_hidden_layers >= 1, "1 or more")
        check("intermediate_size", self.intermediate_size, self.intermediate_size >= 1, "1 or more")
        check("dropout", self.dropout, 0 <= self.dropout < 1, "at least 0 and below 1")
        check("norm", self.norm, self.norm in ("post", "pre"), "post or pre")
        check("init", self.init, self.init in ("bert", "xavier"), "bert or xavier")

    def size(self, dim: int | None) -> int:
        """Returns the hidden size.

        Args:
            dim: size of the embedding; None = there is none.

        Raises:
            MusicrecError: if there is no such size, or the heads do not divide it.
        """
        size = dim if self.hidden_size == "same" else self.hidden_size
        allowed = "a positive number" + ("" if dim is None else " or same")
        check("hidden_size", self.hidden_size, isinstance(size, int) and size >= 1, allowed)
        assert isinstance(size, int)
        heads = self.num_attention_heads
        check("num_attention_heads", heads, heads >= 1 and size % heads == 0, f"a divisor of the hidden size {size}")
        return size


@dataclass(frozen=True)
class SequenceSettings:
    """Which part of a history the transformer reads.

    Attributes:
        max_seq_len: the last so many tracks of a history are used.
        window: of a longer history train on the `last` tracks, or in each epoch on a `random` stretch of it.
        predict_len: length of the input for prediction, with the mask if there is one; None = max_seq_len.
    """

    max_seq_len: int = 200
    window: str = "last"
    predict_len: int | None = None

    def __post_init__(self) -> None:
        check("max_seq_len", self.max_seq_len, self.max_seq_len >= 2, "2 or more")
        check("window", self.window, self.window in ("last", "random"), "last or random")
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

    head: str = "linear"
    item_freeze: bool = True

    def __post_init__(self) -> None:
        check("head", self.head, self.head in ("linear", "tied"), "linear or tied")
