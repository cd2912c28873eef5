"""The audio tower of MuQ-MuLan: MuQ, a small transformer over its frames, a projection into the joint space."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musicrec.embeddings.networks.musicfm import MusicFMNet

# The constant that multiplies the products of normalised queries and keys.
_ATTENTION_SCALE = 8.0


class AudioTower(nn.Module):
    """From waves of one length to unit vectors of the space that MuQ-MuLan shares between audio and text."""

    def __init__(self, model: MusicFMNet, shapes: Mapping[str, torch.Size], layer: int = -1):
        """Builds the network without weights.

        Args:
            model: MuQ.
            shapes: of the weights (`proj.weight`, `transformer.layers.0.0.to_q.weight`, ...); sizes are read from them.
            layer: which state of MuQ is used: 0 = what enters its first layer, -1 = its output.
        """
        super().__init__()
        self.layer = layer
        self.model = model
        dim, width = shapes["proj.weight"]
        self.proj = nn.Linear(width, dim)
        start = "transformer.layers."
        numbers = (int(name[len(start) :].split(".")[0]) for name in shapes if name.startswith(start))
        self.depth = 1 + max(numbers, default=-1)
        self.transformer = nn.ModuleDict({"layers": nn.ModuleList(_layer(dim, shapes, n) for n in range(self.depth))})
        self.audio_to_latents = nn.Linear(dim, shapes["audio_to_latents.weight"][0])

    def spectrum(self, waves: Tensor) -> Tensor:
        """Returns the normalised log-mel spectra, (batch, mel, time), of waves (batch, samples)."""
        return self.model.spectrum(waves)

    def mean(self, spectrum: Tensor) -> Tensor:
        """Returns the time mean of the transformer's output, (batch, dim)."""
        wanted = self.layer if self.layer >= 0 else self.layer + len(self.model.conformer.layers) + 1
        x = next(state for number, state in enumerate(self.model(spectrum)) if number == wanted)
        x = self.proj(x)
        for layer in self.transformer.get_submodule("layers").children():
            for part in layer.children():  # attention, feed-forward
                x = x + part(x)
        return x.mean(dim=1)

    def forward(self, spectrum: Tensor) -> Tensor:
        """Returns unit vectors, (batch, latent dim), of spectra (batch, mel, time)."""
        return F.normalize(self.audio_to_latents(self.mean(spectrum)).float(), dim=-1)


def _layer(dim: int, shapes: Mapping[str, torch.Size], number: int) -> nn.ModuleList:
    """Returns attention and feed-forward, under the upstream's names 0 and 1."""
    start = f"transformer.layers.{number}"
    inner, head_dim = shapes[f"{start}.0.to_q.weight"][0], shapes[f"{start}.0.q_scale"][0]
    hidden = shapes[f"{start}.1.4.weight"][1]
    feed_forward = {
        "0": _Gain(dim),
        "1": nn.Linear(dim, 2 * hidden, bias=False),
        "4": nn.Linear(hidden, dim, bias=False),
    }
    return nn.ModuleList([_CosineAttention(dim, inner, head_dim), _GatedFeedForward(feed_forward)])


class _Gain(nn.Module):
    """Layer normalisation with a gain and without a bias."""

    def __init__(self, dim: int):
        super().__init__()
        self.learned_gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.learned_gamma)


class _CosineAttention(nn.Module):
    """Self-attention by the cosine of queries and keys, each dimension with a gain of its own; no positions."""

    def __init__(self, dim: int, inner: int, head_dim: int):
        super().__init__()
        self.norm = _Gain(dim)
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_kv = nn.Linear(dim, 2 * inner, bias=False)
        self.q_scale = nn.Parameter(torch.ones(head_dim))
        self.k_scale = nn.Parameter(torch.ones(head_dim))
        self.to_out = nn.ModuleList([nn.Linear(inner, dim, bias=False)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        query, key, value = (
            part.unflatten(2, (-1, len(self.q_scale))).transpose(1, 2)  # (batch, heads, frames, head dim)
            for part in (self.to_q(x), *self.to_kv(x).chunk(2, dim=-1))
        )
        query = F.normalize(query, dim=-1) * self.q_scale
        key = F.normalize(key, dim=-1) * self.k_scale
        attended = F.scaled_dot_product_attention(query, key, value.to(query.dtype), scale=_ATTENTION_SCALE)
        return self.to_out[0](attended.transpose(1, 2).flatten(2))


class _GatedFeedForward(nn.ModuleDict):
    """Normalisation "0", projection "1" to two halves of which the second gates the first, projection "4" back."""

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self["1"](self["0"](x)).chunk(2, dim=-1)
        return self["4"](value * F.gelu(gate))
