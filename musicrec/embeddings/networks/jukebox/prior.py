"""Jukebox's top-level prior: a transformer with factorised attention, up to the layer whose output is used.

Dhariwal et al.: "Jukebox: A Generative Model for Music", 2020, section 4; the attention patterns are those of Child,
Gray, Radford, Sutskever: "Generating Long Sequences with Sparse Transformers", 2019. Position t is row t // block and
column t % block of an image; three kinds of layers alternate (`PATTERNS`).

Weights stay in half precision, as they are stored, whatever the arithmetic: for fp32 a layer is widened while it is in
use. So the 36 layers of the published model take 4.8 GiB in any precision.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musicrec.embeddings.networks.jukebox.sizes import PriorSizes

_NORM_EPS = 1e-5  # the published embeddings have a small variance, so another value gives other numbers
_GELU = 1.702  # quick GELU is x * sigmoid(1.702 x)
# Positions that go through a layer's matrix products at once: enough to keep the device busy, few enough that the
# intermediate results between two products are small compared with the weights.
_ROWS = {"cpu": 1024, "cuda": 16_384}


def _row(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attends to this and earlier positions of the same row."""
    batch = query.shape[:2]
    query, key, value = (part.flatten(0, 1).transpose(1, 2) for part in (query, key, value))
    mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    return mixed.transpose(1, 2).unflatten(0, batch)


def _column(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attends to the same column of this and earlier rows."""
    query, key, value = (part.transpose(1, 2) for part in (query, key, value))
    return _row(query, key, value).transpose(1, 2)


def _previous_row(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attends to the whole row before; the first row gets zeros."""
    mixed = torch.zeros_like(query)
    if query.shape[1] > 1:
        query, key, value = query[:, 1:], key[:, :-1], value[:, :-1]
        batch = query.shape[:2]
        query, key, value = (part.flatten(0, 1).transpose(1, 2) for part in (query, key, value))
        mixed[:, 1:] = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).unflatten(0, batch)
    return mixed


# By layer number modulo 3. Each maps to and from (batch, rows, columns, heads, head width).
PATTERNS = (_row, _column, _previous_row)


class _Product(nn.Module):
    """A linear map whose weight is stored as (inputs, outputs)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.w = nn.Parameter(torch.empty(inputs, outputs))
        self.b = nn.Parameter(torch.empty(outputs))

    def weights(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Returns weight and bias in the precision of the arithmetic."""
        return self.w.to(dtype), self.b.to(dtype)


class _Attention(nn.Module):
    def __init__(self, sizes: PriorSizes):
        super().__init__()
        self.c_attn = _Product(sizes.width, 3 * sizes.attention_width)
        self.c_proj = _Product(sizes.attention_width, sizes.width)


class _MLP(nn.Module):
    def __init__(self, sizes: PriorSizes):
        super().__init__()
        self.c_fc = _Product(sizes.width, sizes.mlp_width)
        self.c_proj = _Product(sizes.mlp_width, sizes.width)


class Layer(nn.Module):
    """A pre-norm transformer layer; parameters carry the upstream's names.

    Args:
        sizes: of the prior.
        number: from 0; decides the attention pattern.
    """

    def __init__(self, sizes: PriorSizes, number: int):
        super().__init__()
        self.attn = _Attention(sizes)
        self.mlp = _MLP(sizes)
        self.ln_0 = nn.LayerNorm(sizes.width, eps=_NORM_EPS)
        self.ln_1 = nn.LayerNorm(sizes.width, eps=_NORM_EPS)
        self._pattern = PATTERNS[number % len(PATTERNS)]
        self._block = sizes.block
        self._heads = sizes.heads

    def forward(self, hidden: Tensor) -> Tensor:
        """Returns the layer's output, (batch, length, width), overwriting its input; length must be whole rows."""
        batch, length, width = hidden.shape
        pieces = hidden.view(-1, width).split(_ROWS.get(hidden.device.type, 16_384))
        weight, bias = self.attn.c_attn.weights(hidden.dtype)
        projected = hidden.new_empty(batch * length, len(bias))
        for piece, out in zip(pieces, projected.split(len(pieces[0])), strict=True):
            torch.addmm(bias, _normed(piece, self.ln_0), weight, out=out)
        # (batch, length, 3 * attention width) -> three times (batch, rows, columns, heads, head width)
        query, key, value = projected.view(
            batch, -1, self._block, 3, self._heads, len(bias) // 3 // self._heads
        ).unbind(3)
        mixed = self._pattern(query, key, value).reshape(batch * length, -1)
        del projected, query, key, value
        weight, bias = self.attn.c_proj.weights(hidden.dtype)
        for piece, attended in zip(pieces, mixed.split(len(pieces[0])), strict=True):
            piece += torch.addmm(bias, attended, weight)
        self._add_mlp(pieces)
        return hidden

    def _add_mlp(self, pieces: tuple[Tensor, ...]) -> None:
        """Adds the MLP to the residual stream.

        With s(x) = x * sigmoid(x), quick GELU is s(1.702 x) / 1.702: the factors go into the two products, and one
        kernel is left between them instead of three.
        """
        dtype = pieces[0].dtype
        inner, inner_bias = self.mlp.c_fc.w.to(dtype), (self.mlp.c_fc.b * _GELU).to(dtype)
        outer, outer_bias = self.mlp.c_proj.weights(dtype)
        for piece in pieces:
            active = F.silu(torch.addmm(inner_bias, _normed(piece, self.ln_1), inner, alpha=_GELU), inplace=True)
            piece += torch.addmm(outer_bias, active, outer, alpha=1 / _GELU)


def _normed(piece: Tensor, norm: nn.LayerNorm) -> Tensor:
    return norm(piece.float()).to(piece.dtype)


class Prior(nn.Module):
    """The input and the first layers of the prior.

    Args:
        sizes: of the prior.
        codes: size of the vocabulary.
        layers: number of layers to make.
    """

    def __init__(self, sizes: PriorSizes, codes: int, layers: int):
        super().__init__()
        self.x_emb = nn.Parameter(torch.empty(codes, sizes.width))
        self.start = nn.Parameter(torch.empty(sizes.width))
        # Learnt positions and the conditioning on time in one table.
        self.positions = nn.Parameter(torch.empty(sizes.n_ctx, sizes.width))
        self.layers = nn.ModuleList(Layer(sizes, number) for number in range(layers))
        self._block = sizes.block
        self.dtype = torch.float32

    def activations(self, codes: list[Tensor]) -> Iterator[Tensor]:
        """Yields the input of the first layer and the output of each layer, (batch, length, width).

        It is the same tensor every time, overwritten by the next layer. Sequences may differ in length: each is padded
        at its end to whole rows, which no other position attends to.

        Args:
            codes: of each clip, (n,) int64, at most n_ctx.
        """
        longest = max(map(len, codes))
        rows = -(-longest // self._block)
        # A code is seen from the next position on; the first position sees the start vector (artist and genre).
        inputs = self.x_emb.new_zeros(len(codes), rows * self._block, self.x_emb.shape[1])
        for sequence, clip in zip(inputs, codes, strict=True):
            sequence[0] = self.start
            sequence[1 : len(clip)] = self.x_emb[clip[:-1]]
        inputs += self.positions[: inputs.shape[1]]
        hidden = inputs.to(self.dtype)
        del inputs  # twice the size of `hidden` in half precision
        yield hidden
        for layer in self.layers:
            yield layer(hidden)

    def forward(self, codes: list[Tensor]) -> Tensor:
        """Returns the mean of the last layer over the positions of each clip, (batch, width) float32."""
        *_, hidden = self.activations(codes)
        means = [row[: len(clip)].mean(dim=0, dtype=torch.float32) for row, clip in zip(hidden, codes, strict=True)]
        return torch.stack(means)
