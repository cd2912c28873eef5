"""The network of EnCodec-MAE up to its embedding: EnCodec's encoder and a transformer with two residual streams.

Xie, Zhang, Guo, et al.: "ResiDual: Transformer with Dual Residual Connections", arXiv:2304.14802.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musicrec.embeddings.networks.seanet import SEANetEncoder


class EncodecMAENet(nn.Module):
    """EnCodec's encoder, a projection, sinusoidal positions and the layers.

    Args:
        state: tensors by our names; sizes are read from them.
        heads: attention heads.
        ends_combined: whether the last state is the output of both streams, or the first stream.
    """

    def __init__(self, state: dict[str, Tensor], heads: int, ends_combined: bool):
        super().__init__()
        shapes = {name: value.shape for name, value in state.items()}
        depth = 1 + max((int(name.split(".")[1]) for name in shapes if name.startswith("layers.")), default=-1)
        dim, features = shapes["projection.weight"]
        self.ends_combined = ends_combined
        self.encoder = SEANetEncoder(shapes, "encoder.")
        self.projection = nn.Linear(features, dim)
        self.scale = nn.Parameter(torch.zeros(()))
        self.layers = nn.ModuleList(
            _ResiDualLayer(dim, heads, shapes[f"layers.{number}.ff_layer.0.weight"][0]) for number in range(depth)
        )
        self.final_norm = nn.LayerNorm(dim)

    def untangle_heads(self) -> None:
        """Sorts the attention's channels by head; upstream has those of one head `heads` channels apart."""
        for module in self.modules():
            if isinstance(module, _Attention):
                module.untangle_heads()

    def forward(self, waves: Tensor, attended: int | None) -> Iterator[Tensor]:
        """Yields what enters the first layer and what leaves each, (batch, frames, dim).

        Args:
            waves: chunks, (batch, samples).
            attended: how many frames are attended to; None = all.
        """
        frames = self.encoder(waves[:, None]).transpose(1, 2)  # (batch, frames, 128)
        x = self.projection(frames).float()
        x = x + self.scale * _sinusoids(x.shape[1], x.shape[2], x.device)
        yield x
        first = second = x
        for number, layer in enumerate(self.layers):
            first, second = layer(first, second, attended)
            ends = self.ends_combined and number == len(self.layers) - 1
            yield first + self.final_norm(second) if ends else first


class _ResiDualLayer(nn.Module):
    def __init__(self, dim: int, heads: int, hidden: int):
        super().__init__()
        self.att_layer = _Attention(dim, heads)
        self.ff_layer = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, dim))
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)

    def forward(self, first: Tensor, second: Tensor, attended: int | None) -> tuple[Tensor, Tensor]:
        change = self.att_layer(first, attended)
        first, second = self.norm1(first + change), second + change
        change = self.ff_layer(first)
        return self.norm2(first + change), second + change


class _Attention(nn.Module):
    """Multi-head self-attention without biases; heads * (dim // heads) channels, which may be fewer than dim."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        width = dim // heads * heads
        self.wq, self.wk, self.wv = (nn.Linear(dim, width, bias=False) for _ in range(3))
        self.wo = nn.Linear(width, dim, bias=False)

    def untangle_heads(self) -> None:
        order = torch.arange(self.wo.in_features).view(-1, self.heads).T.flatten()
        for linear in (self.wq, self.wk, self.wv):
            linear.weight = nn.Parameter(linear.weight[order], requires_grad=False)
        self.wo.weight = nn.Parameter(self.wo.weight[:, order], requires_grad=False)

    def forward(self, x: Tensor, attended: int | None) -> Tensor:
        query, key, value = (
            project(source).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for project, source in ((self.wq, x), (self.wk, x[:, :attended]), (self.wv, x[:, :attended]))
        )
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.wo(mixed.transpose(1, 2).flatten(2))


def _sinusoids(frames: int, dim: int, device: torch.device) -> Tensor:
    """Returns sine on even and cosine on odd channels, (frames, dim) float32."""
    channel = torch.arange(0, dim, 2, device=device, dtype=torch.float32)
    angle = torch.arange(frames, device=device)[:, None] * torch.exp(channel * (-math.log(10_000.0) / dim))
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)[:, :dim]
