"""The network that wav2vec 2.0, HuBERT (MERT) and data2vec (Music2Vec) have in common, under the published names.

Baevski, Zhou, Mohamed, Auli: "wav2vec 2.0", NeurIPS 2020, section 2 and appendix B.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

# Sizes that every config.json of these models has.
SIZES = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
    *("conv_dim", "conv_kernel", "conv_stride", "num_conv_pos_embeddings", "num_conv_pos_embedding_groups"),
)


class Wav2Vec2(nn.Module):
    """Convolutions on the waveform, positions computed from them by convolution, and transformer layers.

    Args:
        config: sizes, in the names of transformers' `config.json`.
        positions: maps frames (batch, frames, dim) to what is added to them.
        norm_first: layers normalise their input (HuBERT large) instead of their output, and the last state is
            normalised once more; both have the same tensors.
    """

    def __init__(self, config: dict[str, Any], positions: nn.Module, norm_first: bool):
        super().__init__()
        self.feature_extractor = _FeatureExtractor(config)
        self.feature_projection = _FeatureProjection(config)
        self.encoder = _Encoder(config, positions, norm_first)

    def forward(self, waves: Tensor) -> Iterator[Tensor]:
        """Yields the states of `encode` for waves, (batch, samples)."""
        return self.encode(self.features(waves))

    def features(self, waves: Tensor) -> Tensor:
        """Returns the projected output of the convolutions, (batch, frames, dim) float32."""
        # In float32, so that sums over the layers keep their digits under autocast.
        return self.feature_projection(self.feature_extractor(waves)).float()

    def encode(self, features: Tensor, attended: Tensor | None = None) -> Iterator[Tensor]:
        """Yields what enters the first layer and what leaves each, (batch, frames, dim).

        Args:
            features: (batch, frames, dim).
            attended: frames that are not padding, (batch, frames) bool; None attends to all, as in the study.
        """
        return self.encoder(features, attended)


class _FeatureExtractor(nn.Module):
    def __init__(self, config: dict[str, Any]):
        super().__init__()
        self.conv_layers = nn.ModuleList(_Convolution(config, number) for number in range(len(config["conv_dim"])))

    def forward(self, waves: Tensor) -> Tensor:
        """Returns (batch, frames, channels)."""
        x = waves[:, None]  # (batch, channels, time)
        for layer in self.conv_layers:
            x = layer(x)
        return x.transpose(1, 2)


class _Convolution(nn.Module):
    """Convolution, normalisation and GELU.

    feat_extract_norm=group: the first layer normalises each channel over the whole clip, the others nothing;
    feat_extract_norm=layer: every layer normalises each frame over the channels.
    """

    def __init__(self, config: dict[str, Any], number: int):
        super().__init__()
        before, after = [1, *config["conv_dim"]][number : number + 2]
        kernel, stride = config["conv_kernel"][number], config["conv_stride"][number]
        self.conv = nn.Conv1d(before, after, kernel, stride, bias=config.get("conv_bias", False))
        self.over_channels = config["feat_extract_norm"] == "layer"
        self.layer_norm: nn.Module = nn.Identity()
        if self.over_channels:
            self.layer_norm = nn.LayerNorm(after)
        elif number == 0:
            self.layer_norm = nn.GroupNorm(after, after)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.over_channels:
            return F.gelu(self.layer_norm(x.transpose(1, 2))).transpose(1, 2)
        return F.gelu(self.layer_norm(x))


class _FeatureProjection(nn.Module):
    def __init__(self, config: dict[str, Any]):
        super().__init__()
        channels = config["conv_dim"][-1]
        has_norm = config.get("feat_proj_layer_norm", True)
        self.layer_norm = nn.LayerNorm(channels, eps=config.get("layer_norm_eps", 1e-5)) if has_norm else nn.Identity()
        self.projection = nn.Linear(channels, config["hidden_size"])

    def forward(self, x: Tensor) -> Tensor:
        return self.projection(self.layer_norm(x))


class _Encoder(nn.Module):
    def __init__(self, config: dict[str, Any], positions: nn.Module, norm_first: bool):
        super().__init__()
        self.norm_first = norm_first
        self.pos_conv_embed = positions
        self.layer_norm = nn.LayerNorm(config["hidden_size"], eps=config.get("layer_norm_eps", 1e-5))
        self.layers = nn.ModuleList(_Layer(config, norm_first) for _ in range(config["num_hidden_layers"]))

    def forward(self, x: Tensor, attended: Tensor | None) -> Iterator[Tensor]:
        mask = None
        if attended is not None:
            x = x * attended[:, :, None]
            mask = attended[:, None, None, :]
        x = x + self.pos_conv_embed(x)
        if not self.norm_first:
            x = self.layer_norm(x)
        yield x
        for number, layer in enumerate(self.layers):
            x = layer(x, mask)
            is_last = number == len(self.layers) - 1
            yield self.layer_norm(x) if self.norm_first and is_last else x


class _Layer(nn.Module):
    """Attention and feed-forward, each added to its input."""

    def __init__(self, config: dict[str, Any], norm_first: bool):
        super().__init__()
        dim, epsilon = config["hidden_size"], config.get("layer_norm_eps", 1e-5)
        self.norm_first = norm_first
        self.attention = _Attention(dim, config["num_attention_heads"])
        self.layer_norm = nn.LayerNorm(dim, eps=epsilon)
        self.feed_forward = _FeedForward(dim, config["intermediate_size"])
        self.final_layer_norm = nn.LayerNorm(dim, eps=epsilon)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        if self.norm_first:
            x = x + self.attention(self.layer_norm(x), mask)
            return x + self.feed_forward(self.final_layer_norm(x))
        x = self.layer_norm(x + self.attention(x, mask))
        return self.final_layer_norm(x + self.feed_forward(x))


class _Attention(nn.Module):
    """Multi-head self-attention, (batch, frames, dim) to the same."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        query, key, value = (
            project(x).unflatten(2, (self.heads, -1)).transpose(1, 2)  # (batch, heads, frames, head dim)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class _FeedForward(nn.Module):
    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.intermediate_dense = nn.Linear(dim, hidden)
        self.output_dense = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.output_dense(F.gelu(self.intermediate_dense(x)))


class ConvolutionalPositions(nn.Module):
    """A grouped convolution over time and GELU; the weight norm it was trained with is multiplied out."""

    def __init__(self, dim: int, kernel: int, groups: int):
        super().__init__()
        self.conv = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """Returns what is added to the frames, (batch, frames, dim)."""
        y = self.conv(x.transpose(1, 2))
        return F.gelu(y[..., : x.shape[1]]).transpose(1, 2)  # an even kernel gives one frame too many


class StackedPositions(nn.Module):
    """Several grouped convolutions over time, each with a normalisation without parameters and GELU (data2vec)."""

    def __init__(self, dim: int, kernel: int, groups: int, depth: int):
        super().__init__()
        self.layers = nn.ModuleList(_StackedLayer(dim, kernel, groups) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        """Returns what is added to the frames, (batch, frames, dim)."""
        for layer in self.layers:
            x = layer(x)
        return x


class _StackedLayer(nn.Module):
    def __init__(self, dim: int, kernel: int, groups: int):
        super().__init__()
        self.conv = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x.transpose(1, 2))[..., : x.shape[1]].transpose(1, 2)
        return F.gelu(F.layer_norm(y, y.shape[-1:]))
