"""Reads checkpoints of the wav2vec 2.0 family (MERT, Music2Vec) in the format of transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from musicrec.embeddings.checkpoints import load as checkpoints
from musicrec.embeddings.networks.wav2vec2 import SIZES, Wav2Vec2
from musicrec.embeddings.pretrained.base import Built

# What the hub has: configuration and weights, each with its possible names.
FILES = (("config.json",), ("model.safetensors", "pytorch_model.bin"))
# Samples from which the published convolutions make one frame.
LEAST_SAMPLES = 400


def build(path: Path, network: Callable[[dict[str, Any], Path], Wav2Vec2]) -> Built:
    """Returns the network of a checkpoint.

    Args:
        path: folder with `FILES`, or one of them.
        network: returns the network of a configuration, on the current default device. Its arguments are the
            configuration, in the names of transformers' `config.json`, with all of `SIZES`, and the file it was read
            from. It raises MusicrecError if the configuration asks for something that is not implemented.
    """
    weights = path if path.is_file() else checkpoints.find_file(path, "model.safetensors", "pytorch_model.bin")
    source = checkpoints.find_file(path, "config.json")
    config = checkpoints.read_config(source)
    checkpoints.check_config(config, source, SIZES)
    with torch.device("meta"):
        net = network(config, source)
    state = checkpoints.tensors(checkpoints.read(weights), weights)
    # Saved from a task's model, the network's names have a prefix, and the other tensors are those of the task.
    last = "encoder.layer_norm.weight"
    prefix = next((name.removesuffix(last) for name in state if name.endswith(last)), "")
    state = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    checkpoints.fill(net, state, weights, unused=("masked_spec_embed",))
    return Built(net, weights, config["num_hidden_layers"], _receptive_field(config))


def _receptive_field(config: dict[str, Any]) -> int:
    """Returns the length of the shortest wave that gives one frame, in samples."""
    samples = 1
    for kernel, stride in zip(reversed(config["conv_kernel"]), reversed(config["conv_stride"]), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples
