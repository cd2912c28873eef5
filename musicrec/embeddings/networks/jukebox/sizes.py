"""The sizes of a Jukebox model: those of the published 5b, or those of a `config.json` in the upstream's names."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from musicrec.errors import MusicrecError


@dataclass(frozen=True)
class VQVAESizes:
    """Sizes of the VQ-VAE, by the upstream's names; per-level values from the finest level to the coarsest."""

    levels: int = 3
    downs_t: tuple[int, ...] = (3, 2, 2)
    strides_t: tuple[int, ...] = (2, 2, 2)
    emb_width: int = 64
    l_bins: int = 2048
    width: int = 32
    depth: int = 4
    m_conv: float = 1.0
    dilation_growth_rate: int = 3
    hvqvae_multipliers: tuple[int, ...] = (2, 1, 1)

    @property
    def hop(self) -> int:
        """Returns the number of samples per code of the coarsest level."""
        return math.prod(stride**down for stride, down in zip(self.strides_t, self.downs_t, strict=True))


@dataclass(frozen=True)
class PriorSizes:
    """Sizes of the top-level prior and of the tables that condition it, by the upstream's names."""

    n_ctx: int = 8192
    width: int = 4800
    depth: int = 72
    heads: int = 8
    attn_order: int = 2
    blocks: int = 128
    m_attn: float = 0.25
    m_mlp: float = 1.0
    res_scale: bool = False
    y_bins: tuple[int, ...] = (120, 4111)  # genres, artists
    t_bins: int = 128
    min_duration: float = 60.0
    max_duration: float = 600.0

    @property
    def attention_width(self) -> int:
        """Returns the width of queries, keys and values, all heads together."""
        return int(self.m_attn * self.width)

    @property
    def mlp_width(self) -> int:
        """Returns the width of the hidden layer of the MLP."""
        return int(self.m_mlp * self.width)

    @property
    def block(self) -> int:
        """Returns the positions of a block: a row of the attention patterns."""
        return self.n_ctx // self.blocks


@dataclass(frozen=True)
class Sizes:
    """Sizes of a whole model, by default those of the published 5b.

    Attributes:
        sample_rate: Hz.
        cond_seconds: length of the song in seconds that the model is given, whatever the clip.
        max_seconds: what is used of a clip after its peak was measured.
        layer: whose output is the embedding, from 1.
    """

    sample_rate: int = 44_100
    vqvae: VQVAESizes = field(default_factory=VQVAESizes)
    prior: PriorSizes = field(default_factory=PriorSizes)
    cond_seconds: float = 62
    max_seconds: float = 25
    layer: int = 36

    @property
    def max_samples(self) -> int:
        """Returns `max_seconds` in samples."""
        return int(self.max_seconds * self.sample_rate)

    @classmethod
    def read(cls, path: Path) -> Sizes:
        """Returns the sizes of a `config.json`; keys it lacks keep the published values, other keys are ignored.

        Raises:
            MusicrecError: not such a file, or sizes that do not fit together.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            sizes = _fill(cls, content)
            sizes._check()
        except (OSError, ValueError, TypeError, AttributeError, ZeroDivisionError) as error:
            raise MusicrecError(f"{path} does not describe a Jukebox model: {error}") from None
        return sizes

    def _check(self) -> None:
        vqvae, prior = self.vqvae, self.prior
        for name in ("downs_t", "strides_t", "hvqvae_multipliers"):
            if len(getattr(vqvae, name)) != vqvae.levels:
                raise ValueError(f"vqvae.{name} must have {vqvae.levels} values, one per level")
        if prior.attn_order != 2 or prior.res_scale:
            raise ValueError("only prior.attn_order=2 and prior.res_scale=false are supported")
        if prior.n_ctx % prior.blocks or prior.attention_width % prior.heads:
            raise ValueError("prior.n_ctx must be a multiple of prior.blocks, m_attn * width one of prior.heads")
        if not 1 <= self.layer <= prior.depth:
            raise ValueError(f"layer={self.layer} must be from 1 to prior.depth={prior.depth}")


def _fill(kind: Any, content: dict[str, Any]) -> Any:
    """Returns a dataclass with the values of a JSON object."""
    values = {}
    for part in fields(kind):
        if part.name not in content:
            continue
        value = content[part.name]
        if part.name in ("vqvae", "prior"):
            value = _fill(VQVAESizes if part.name == "vqvae" else PriorSizes, value)
        values[part.name] = tuple(value) if isinstance(value, list) else value
    return kind(**values)
