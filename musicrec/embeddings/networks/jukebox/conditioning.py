"""Jukebox's conditioning on the song: always unknown artist and genre, and a position within 62 s.

Dhariwal et al.: "Jukebox: A Generative Model for Music", 2020, section 4.1 (artist, genre and timing conditioning).
"""

from __future__ import annotations

import torch
from torch import Tensor

from musicrec.embeddings.networks.jukebox.sizes import Sizes

_TABLES = ("total_length_emb", "absolute_pos_emb", "relative_pos_emb")
# Row of "unknown" in the tables of artists and genres.
_UNKNOWN = 0


def table_shapes(sizes: Sizes) -> dict[str, tuple[int, int]]:
    """Returns name in the upstream's checkpoint -> shape of the tables that `fold` takes."""
    genres, artists = sizes.prior.y_bins
    rows = {"bow_genre_emb": genres, "artist_emb": artists, **dict.fromkeys(_TABLES, sizes.prior.t_bins)}
    return {f"y_emb.{name}.emb.weight": (number, sizes.prior.width) for name, number in rows.items()}


def lengths(sizes: Sizes) -> tuple[int, int]:
    """Returns the number of samples of the whole song and of the context, as the model is given them."""
    hop = sizes.vqvae.hop
    return int(sizes.cond_seconds * sizes.sample_rate) // hop * hop, sizes.prior.n_ctx * hop


def time_bins(sizes: Sizes) -> dict[str, Tensor]:
    """Returns table -> row, total length (1,), absolute and relative position (n_ctx,), int64.

    The upstream computes them in float32, where some positions lie exactly on a boundary, so this does the same.
    """
    prior = sizes.prior
    total, context = lengths(sizes)
    shortest, longest = prior.min_duration * sizes.sample_rate, prior.max_duration * sizes.sample_rate
    fraction = torch.arange(prior.n_ctx, dtype=torch.float32) / prior.n_ctx
    share = torch.tensor(context, dtype=torch.float32) / torch.tensor(total, dtype=torch.float32)
    positions = {
        "total_length_emb": (torch.tensor([total], dtype=torch.float32), shortest, longest),
        "absolute_pos_emb": (context * fraction, 0.0, longest),
        "relative_pos_emb": (share.clamp(max=1.0) * fraction, 0.0, 1.0),
    }
    return {
        name: (prior.t_bins * ((position - low) / (high - low))).floor().long()
        for name, (position, low, high) in positions.items()
    }


def fold(tables: dict[str, Tensor], sizes: Sizes) -> tuple[Tensor, Tensor]:
    """Returns the start vector, (width,), and what is added at every position, (n_ctx, width), both float32."""
    start = tables["y_emb.bow_genre_emb.emb.weight"][_UNKNOWN] + tables["y_emb.artist_emb.emb.weight"][_UNKNOWN]
    total, absolute, relative = (
        tables[f"y_emb.{name}.emb.weight"][bins].float() for name, bins in time_bins(sizes).items()
    )
    return start.float(), total + absolute + relative
