"""Conformer layers with rotary positions, under the names of transformers' Wav2Vec2-Conformer.

Gulati, Qin, Chiu, et al.: "Conformer: Convolution-augmented Transformer for Speech Recognition", Interspeech 2020;
Su, Lu, Pan, et al.: "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class Conformer(nn.Module):
    """A stack of layers and a last normalisation.

    Args:
        shapes: of the weights (`layers.0.ffn1.intermediate_dense.weight`, ...); sizes are read from them.
        prefix: before these names.
        heads: attention heads.
        base: of the rotary frequencies.
        epsilon: of the last normalisation; those in the layers have 1e-5, as in transformers.
    """

    def __init__(self, shapes: Mapping[str, torch.Size], prefix: str, heads: int, base: float, epsilon: float):
        super().__init__()
        dim = shapes[f"{prefix}layer_norm.weight"][0]
        layer = f"{prefix}layers."
        numbers = (int(name[len(layer) :].split(".")[0]) for name in shapes if name.startswith(layer))
        depth = 1 + max(numbers, default=-1)
        self.base = base
        self.head_dim = dim // heads
        self.layers = nn.ModuleList(
            ConformerLayer(
                dim,
                heads,
                hidden=shapes[f"{layer}{number}.ffn1.intermediate_dense.weight"][0],
                kernel=shapes[f"{layer}{number}.conv_module.depthwise_conv.weight"][2],
            )
            for number in range(depth)
        )
        self.layer_norm = nn.LayerNorm(dim, eps=epsilon)

    def forward(self, x: Tensor, heard: Tensor | None = None) -> Iterator[Tensor]:
        """Yields what enters the first layer and what leaves each, the last normalised; (batch, frames, dim).

        Args:
            x: frames, (batch, frames, dim).
            heard: (batch, frames) bool; the other frames become zero and are not attended to. None = all.
        """
        if heard is not None:
            x = x * heard[:, :, None]
        yield x
        turns = _turns(x.shape[1], self.head_dim, self.base, x.device)
        for number, layer in enumerate(self.layers):
            x = layer(x, turns, heard)
            yield self.layer_norm(x) if number == len(self.layers) - 1 else x


class ConformerLayer(nn.Module):
    """Half a feed-forward, attention, convolution, half a feed-forward, each added to its input; normalisation."""

    def __init__(self, dim: int, heads: int, hidden: int, kernel: int):
        super().__init__()
        self.ffn1_layer_norm = nn.LayerNorm(dim)
        self.ffn1 = _FeedForward(dim, hidden)
        self.self_attn_layer_norm = nn.LayerNorm(dim)
        self.self_attn = _RotaryAttention(dim, heads)
        self.conv_module = ConvolutionModule(dim, kernel)
        self.ffn2_layer_norm = nn.LayerNorm(dim)
        self.ffn2 = _FeedForward(dim, hidden)
        self.final_layer_norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor], heard: Tensor | None = None) -> Tensor:
        """Returns the next states, (batch, frames, dim); the arguments are those of `Conformer` and of `_turns`."""
        x = x + 0.5 * self.ffn1(self.ffn1_layer_norm(x))
        x = x + self.self_attn(self.self_attn_layer_norm(x), turns, heard)
        x = x + self.conv_module(x)
        x = x + 0.5 * self.ffn2(self.ffn2_layer_norm(x))
        return self.final_layer_norm(x)


class _FeedForward(nn.Module):
    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.intermediate_dense = nn.Linear(dim, hidden)
        self.output_dense = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.output_dense(F.silu(self.intermediate_dense(x)))


class _RotaryAttention(nn.Module):
    """Self-attention whose queries and keys are projected from states that were turned by their position.

    Turning comes before the projection here, not after it as in most models, and values are not turned.
    """

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.linear_q, self.linear_k, self.linear_v, self.linear_out = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor], heard: Tensor | None = None) -> Tensor:
        cosine, sine = turns
        parts = x.unflatten(2, (self.heads, -1))  # (batch, frames, heads, head dim)
        lower, upper = parts.chunk(2, dim=3)
        turned = (parts * cosine + torch.cat([-upper, lower], dim=3) * sine).flatten(2)
        query, key, value = (
            project(source).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for project, source in ((self.linear_q, turned), (self.linear_k, turned), (self.linear_v, x))
        )
        mask = None if heard is None else heard[:, None, None, :]
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.linear_out(attended.transpose(1, 2).flatten(2))


class ConvolutionModule(nn.Module):
    """A gated pointwise convolution, a depthwise one over time, and a pointwise one back."""

    def __init__(self, dim: int, kernel: int):
        super().__init__()
        self.layer_norm = nn.LayerNorm(dim)
        self.pointwise_conv1 = nn.Conv1d(dim, 2 * dim, 1, bias=False)
        self.depthwise_conv = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim, bias=False)
        self.batch_norm: nn.BatchNorm1d | nn.Identity = nn.BatchNorm1d(dim)
        self.pointwise_conv2 = nn.Conv1d(dim, dim, 1, bias=False)

    def fuse(self) -> None:
        """Multiplies the normalisation into the convolution before it."""
        assert isinstance(self.batch_norm, nn.BatchNorm1d)
        self.depthwise_conv = fuse_conv_bn_eval(self.depthwise_conv, self.batch_norm)
        self.batch_norm = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Returns what is added to the states, (batch, frames, dim)."""
        y = F.glu(self.pointwise_conv1(self.layer_norm(x).transpose(1, 2)), dim=1)
        y = F.silu(self.batch_norm(self.depthwise_conv(y)))
        return self.pointwise_conv2(y).transpose(1, 2)


def _turns(frames: int, head_dim: int, base: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Returns cosine and sine by position, each (frames, 1, head dim); the same for both halves of a head."""
    frequency = base ** -(torch.arange(0, head_dim, 2, device=device, dtype=torch.float32) / head_dim)
    angle = torch.arange(frames, device=device, dtype=torch.float32)[:, None] * frequency
    angle = torch.cat([angle, angle], dim=1)[:, None]
    return angle.cos(), angle.sin()
