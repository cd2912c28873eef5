"""A transformer over sequences of item vectors, without a padded token in any matrix product (BERT4Rec, SASRec)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from musicrec.data.batches.sequences import MASK, PAD
from musicrec.recommenders.networks.adapter import AudioSettings, ItemIds
from musicrec.recommenders.networks.embedding_table import EmbeddingTable
from musicrec.recommenders.networks.rowwise_adam import rows_of

# Standard deviation of initial weights: BERT (Devlin et al. 2019), BERT4Rec (arXiv 1904.06690), section 4.3.
INIT_STD = 0.02


class SequenceTransformer(nn.Module):
    """Predicts items at some positions of sequences.

    Either from both sides, at masks (Sun et al., CIKM 2019, arXiv 1904.06690), or from what came before, the position
    itself included (Kang and McAuley, ICDM 2018, arXiv 1808.09781).

    Args:
        items: vectors of items, learnt or frozen.
        hidden_size: size of the transformer.
        project: put the adapter between the item vectors and the transformer; else their sizes must agree.
        layers: number of transformer layers.
        heads: attention heads; must divide `hidden_size`.
        intermediate_size: inner size of the feed-forward part.
        max_seq_len: number of positions.
        dropout: of vectors and attention, in training.
        head: `linear`: an output vector and a bias per item; `tied`: the (projected) item vectors.
        norm: layer normalisation `post` (BERT) or `pre` each sublayer.
        causal: each position reads itself and those before it; there is no MASK.
        init: initial weights of the transformer's layers: `bert`, normal with std 0.02, made for 768 dimensions;
            `xavier`, normal with variance 2 / (inputs + outputs) (Glorot and Bengio 2010). Projection, head, mask and
            positions always have std 0.02, and the hidden layer of an adapter keeps the length of its input (He et
            al. 2015).
        audio: the adapter.
        ids: what is added to the projected items.

    Attributes:
        sparse: whether learnt tables get sparse gradients where only some of their rows are read.
    """

    sparse = False

    def __init__(
        self,
        items: EmbeddingTable,
        *,
        hidden_size: int,
        project: bool,
        layers: int,
        heads: int,
        intermediate_size: int,
        max_seq_len: int,
        dropout: float,
        head: str,
        norm: str,
        causal: bool = False,
        init: str = "bert",
        audio: AudioSettings = AudioSettings(),
        ids: ItemIds | None = None,
    ):
        super().__init__()
        self.items = items
        self.causal = causal
        layers_before = audio.layers(items.dim, hidden_size) if project else [nn.Identity()]
        self.projection = layers_before[0] if len(layers_before) == 1 else nn.Sequential(*layers_before)
        self.ids = ids
        self.mask = None if causal else nn.Parameter(torch.empty(hidden_size))
        self.positions = nn.Parameter(torch.empty(max_seq_len, hidden_size))
        self.norm = nn.LayerNorm(hidden_size, eps=1e-12)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            EncoderLayer(hidden_size, heads, intermediate_size, dropout, norm, causal) for _ in range(layers)
        )
        self.last_norm = nn.LayerNorm(hidden_size, eps=1e-12) if norm == "pre" else nn.Identity()
        self.head = nn.Linear(hidden_size, len(items)) if head == "linear" else None
        if self.mask is not None:
            nn.init.normal_(self.mask, std=INIT_STD)
        nn.init.normal_(self.positions, std=INIT_STD)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                if module in layers_before[:-1]:
                    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                elif init == "bert" or module in (self.head, layers_before[-1]):
                    nn.init.normal_(module.weight, std=INIT_STD)
                else:
                    nn.init.xavier_normal_(module.weight)
                nn.init.zeros_(module.bias)

    def item_vectors(self) -> torch.Tensor:
        """Returns (items, hidden) vectors as the transformer reads them."""
        return self._read()

    def _read(self, rows: torch.Tensor | None = None) -> torch.Tensor:
        """Returns (n, hidden) vectors of some items as the transformer reads them, by default of all."""
        table = self.items.weight
        vectors: torch.Tensor = self.projection(table if rows is None else rows_of(table, rows, self.sparse))
        return vectors if self.ids is None else self.ids(vectors, rows, self.sparse)

    def forward(self, tokens: torch.Tensor, masked: torch.Tensor, outputs: torch.Tensor | None = None) -> torch.Tensor:
        """Returns (masked, items) logits at the masked positions only.

        Args:
            tokens: (batch, length) items, MASK, PAD on the right.
            masked: (masked,) ascending positions in tokens.flatten().
            outputs: (outputs,) items that can be predicted; all by default.
        """
        return F.linear(*self.states_and_outputs(tokens, masked, outputs))

    def states_and_outputs(
        self, tokens: torch.Tensor, masked: torch.Tensor, outputs: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Returns (masked, hidden) states, (items, hidden) vectors and (items,) biases; see `forward`."""
        # Each item is projected at most once per step.
        vectors = self.item_vectors() if self.head is None or tokens.numel() >= len(self.items) else None
        states = self.encode(tokens, masked, vectors)
        weight, bias = self.output_vectors(vectors)
        if outputs is not None:
            weight, bias = weight[outputs], bias[outputs] if bias is not None else None
        return states, weight, bias

    def output_vectors(self, vectors: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Returns (items, hidden) vectors and (items,) biases whose product with a hidden state is the logit."""
        if self.head is not None:
            return self.head.weight, self.head.bias
        return self.item_vectors() if vectors is None else vectors, None

    def output_rows(self, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Returns the rows of `output_vectors` of some items, (n, hidden) and (n,); the others are not computed."""
        if self.head is not None:
            return rows_of(self.head.weight, items, self.sparse), self.head.bias[items]
        return self._read(items), None

    def encode(self, tokens: torch.Tensor, wanted: torch.Tensor, vectors: torch.Tensor | None = None) -> torch.Tensor:
        """Returns (wanted, hidden) final states at the wanted positions only.

        Args:
            tokens: (batch, length) items, MASK, PAD on the right.
            wanted: (wanted,) ascending positions in tokens.flatten(), none of them PAD.
            vectors: (items, hidden) what `item_vectors` returned; by default only those in `tokens` are projected.
        """
        batch, length = tokens.shape
        # Padding costs nothing outside attention: states are kept for real tokens only.
        real = (tokens != PAD).flatten().nonzero()[:, 0]  # [real]
        kept = tokens.flatten()[real]
        known = kept.clamp(min=0)
        states = vectors[known] if vectors is not None else self._read(known)
        if self.mask is not None:
            states = torch.where((kept == MASK)[:, None], self.mask.to(states.dtype), states)
        states = self.dropout(self.norm(states + self.positions[real % length]))  # [real, hidden]
        everywhere = Layout.of(real, batch, length)
        for layer in self.layers[:-1]:
            states = layer(states, everywhere, None, everywhere)
        if self.causal and len(wanted) == len(real):
            states = self.layers[-1](states, everywhere, None, everywhere)
        else:
            # Of the last layer only the wanted positions are read.
            chosen = torch.searchsorted(real, wanted)
            states = self.layers[-1](states, everywhere, chosen, Layout.of(wanted, batch, length))
        result: torch.Tensor = self.last_norm(states)
        return result


class Layout(NamedTuple):
    """Mapping between packed states (one row per token) and a padded (batch, width, …) block.

    Attributes:
        batch: number of sequences.
        width: most tokens of a sequence.
        slots: (tokens,) position in the flattened block; None if the block has no padding.
        filled: (batch, 1, 1, width) bool, False at padding; None if there is none.
        columns: (tokens,) position of each token in its sequence.
    """

    batch: int
    width: int
    slots: torch.Tensor | None
    filled: torch.Tensor | None
    columns: torch.Tensor

    @classmethod
    def of(cls, tokens: torch.Tensor, batch: int, length: int) -> Layout:
        """Returns the block with the tokens of each sequence moved to the left.

        Args:
            tokens: (tokens,) ascending positions in a (batch, length) block.
            batch: number of sequences.
            length: positions per sequence.
        """
        row, columns = tokens // length, tokens % length
        counts = torch.bincount(row, minlength=batch)
        width = int(counts.max())
        if len(tokens) == batch * width:
            return cls(batch, width, None, None, columns)
        column = torch.arange(len(tokens), device=tokens.device) - (counts.cumsum(0) - counts)[row]
        filled = torch.arange(width, device=tokens.device) < counts[:, None]
        return cls(batch, width, row * width + column, filled[:, None, None, :], columns)

    def padded(self, states: torch.Tensor, heads: int) -> torch.Tensor:
        """Returns (batch, heads, width, hidden / heads) of packed (tokens, hidden)."""
        if self.slots is not None:
            block = states.new_zeros(self.batch * self.width, states.shape[1])
            states = block.index_copy(0, self.slots, states)
        return states.view(self.batch, self.width, heads, -1).transpose(1, 2)

    def packed(self, block: torch.Tensor) -> torch.Tensor:
        """Returns (tokens, hidden) of (batch, heads, width, hidden / heads)."""
        states = block.transpose(1, 2).reshape(self.batch * self.width, -1)
        return states if self.slots is None else states[self.slots]


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward part, each with a residual connection (Vaswani et al. 2017, section 3.1)."""

    def __init__(
        self, hidden_size: int, heads: int, intermediate_size: int, dropout: float, norm: str, causal: bool = False
    ):
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.pre_norm = norm == "pre"
        self.attention_dropout = dropout
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key_value = nn.Linear(hidden_size, 2 * hidden_size)
        self.attention_output = nn.Linear(hidden_size, hidden_size)
        self.attention_norm = nn.LayerNorm(hidden_size, eps=1e-12)
        self.widen = nn.Linear(hidden_size, intermediate_size)
        self.narrow = nn.Linear(intermediate_size, hidden_size)
        self.feed_forward_norm = nn.LayerNorm(hidden_size, eps=1e-12)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, states: torch.Tensor, readable: Layout, chosen: torch.Tensor | None, written: Layout
    ) -> torch.Tensor:
        """Returns (chosen, hidden) new states.

        Args:
            states: (tokens, hidden).
            readable: layout of `states`; each token looks at all tokens of its sequence, or with `causal` at those up
                to its own position.
            chosen: (chosen,) rows of `states` whose new state is wanted; all by default.
            written: layout of the chosen ones.
        """
        read = self.attention_norm(states) if self.pre_norm else states
        own, asking = (states, read) if chosen is None else (states[chosen], read[chosen])
        own = own + self.attention(asking, read, readable, written)
        if self.pre_norm:
            return own + self.feed_forward(self.feed_forward_norm(own))
        own = self.attention_norm(own)
        result: torch.Tensor = self.feed_forward_norm(own + self.feed_forward(own))
        return result

    def attention(self, asking: torch.Tensor, read: torch.Tensor, readable: Layout, written: Layout) -> torch.Tensor:
        """Returns (chosen, hidden) what the chosen tokens read from their sequences."""
        query = written.padded(self.query(asking), self.heads)
        keys, values = self.key_value(read).chunk(2, dim=1)
        mixed = F.scaled_dot_product_attention(
            query,
            readable.padded(keys, self.heads),
            readable.padded(values, self.heads),
            attn_mask=attention_mask(readable, written, self.causal),
            is_causal=self.causal and written is readable,
            dropout_p=self.attention_dropout if self.training else 0.0,
        )
        result: torch.Tensor = self.dropout(self.attention_output(written.packed(mixed)))
        return result

    def feed_forward(self, states: torch.Tensor) -> torch.Tensor:
        """Returns (tokens, hidden) of (tokens, hidden)."""
        result: torch.Tensor = self.dropout(self.narrow(F.gelu(self.widen(states))))
        return result


def attention_mask(readable: Layout, written: Layout, causal: bool) -> torch.Tensor | None:
    """Returns which tokens may be read, as scaled_dot_product_attention takes it; None: all, or as `is_causal` says.

    Args:
        readable: layout of the tokens that are read.
        written: layout of the tokens that read.
        causal: each token reads its sequence up to its own position; else all of it, on both sides.

    Returns:
        Bool, broadcast to (batch, heads, written.width, readable.width); True = may be read.
    """
    if not causal:
        return readable.filled
    if written is readable:
        return None  # padding is on the right: no token reads it before its own position
    last = written.columns.new_zeros(written.batch * written.width)
    slots = slice(None) if written.slots is None else written.slots
    last[slots] = written.columns
    reach = torch.arange(readable.width, device=last.device) <= last.view(written.batch, 1, written.width, 1)
    return reach
