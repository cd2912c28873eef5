"""The network of MuQ, which is MusicFM's with another spectrogram, from a checkpoint's tensors and `config.json`.

Zhu, Zhou, Zhang, et al.: "MuQ: Self-Supervised Music Representation Learning with Mel Residual Vector Quantization",
arXiv:2501.01108.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from musicrec.audio.spectrogram import hann
from musicrec.embeddings.checkpoints import load as checkpoints
from musicrec.embeddings.networks.musicfm import N_FFT, MusicFMNet
from musicrec.errors import MusicrecError

SAMPLE_RATE = 24_000
# What only training needs, what can be calculated and what is never used.
UNUSED = (
    "quantizer_",
    "rvq.",
    "recon_proj.",
    "linear.",
    "cls_token",
    "conformer.embed_positions.",
    "conformer.pos_conv_embed.",
)
_BANDS = 128
# Frames per second -> strides in time of the two residual convolutions.
_STRIDES = {25: (2, 2), 50: (2, 1)}
_NEEDED = ("stat", "w2v2_config", "encoder_dim", "encoder_depth", "conv_dim")
_STATISTICS = {"melspec_2048_mean": "mean", "melspec_2048_std": "deviation"}


def front_end(config: dict[str, Any], source: Path) -> dict[str, Tensor]:
    """Returns the tensors of the spectrogram, which the checkpoints do not have, under the names of `MusicFMNet`.

    Args:
        config: content of MuQ's `config.json`.
        source: where it was read from.

    Raises:
        MusicrecError: something is missing or not supported.
    """
    checkpoints.check_config(
        config, source, _NEEDED, is_flash=False, n_mels=_BANDS, label_rate=tuple(_STRIDES), features=(["melspec_2048"],)
    )
    checkpoints.check_config(
        config["w2v2_config"],
        source,
        ("num_attention_heads",),
        position_embeddings_type="rotary",
        hidden_act=("swish", "silu"),
    )
    checkpoints.check_config(config["stat"], source, _STATISTICS)
    tensors = {"window": hann(N_FFT), "filters": htk_filters(SAMPLE_RATE, N_FFT, _BANDS)}
    return tensors | {ours: torch.tensor(float(config["stat"][key])) for key, ours in _STATISTICS.items()}


def htk_filters(sample_rate: int, n_fft: int, bands: int) -> Tensor:
    """Returns triangles of height 1 on HTK's mel scale from 0 to half the sample rate, (n_fft // 2 + 1, bands) float32.

    Calculated in float32, as torchaudio does: with filters rounded from float64 the decibels differ by 5e-4.
    """
    hz = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1)
    mel = torch.linspace(0, 2595 * math.log10(1 + sample_rate / 2 / 700), bands + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    widths = edges.diff()
    slopes = edges - hz[:, None]
    return torch.minimum(-slopes[:, :-2] / widths[:-1], slopes[:, 2:] / widths[1:]).clamp_min(0)


def muq_net(state: Mapping[str, Tensor], config: dict[str, Any], source: Path) -> MusicFMNet:
    """Returns the network for tensors, not yet filled with them.

    Args:
        state: the tensors by name, without the prefix `model.`, and those of `front_end`.
        config: content of MuQ's `config.json`.
        source: where it was read from.

    Raises:
        KeyError: a tensor that a size is read from is missing.
        MusicrecError: the tensors have other sizes than the configuration says.
    """
    transformer = config["w2v2_config"]
    width, heads = state["conv.linear.weight"].shape[0], transformer["num_attention_heads"]
    if width % (2 * heads):
        raise MusicrecError(f"{source}: num_attention_heads={heads} does not divide {width} into even parts")
    net = MusicFMNet(
        dict(state), transformer, config.get("hop_length", 240), strides=_STRIDES[config.get("label_rate", 25)]
    )
    found = {
        "conv_dim": state["conv.conv.0.conv1.weight"].shape[0],
        "encoder_dim": width,
        "encoder_depth": len(net.conformer.layers),
    }
    for key, value in found.items():
        if config[key] != value:
            raise MusicrecError(
                f"{source}: {key}={config[key]}, but the weights have {value}: they do not belong together"
            )
    return net
