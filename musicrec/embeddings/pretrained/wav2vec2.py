"""Embeddings of the networks of `wav2vec2_net`: files, configuration, normalisation of the waveform."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from musicrec.embeddings.checkpoints import load as checkpoints
from musicrec.embeddings.networks.wav2vec2 import SIZES, Wav2Vec2
from musicrec.embeddings.pretrained.base import TimeMean


class Wav2Vec2Embedding(TimeMean):
    """The time mean of a layer of such a network, by default the last state.

    Every frame attends to every other, and padding takes part in that and in the mean, as in the study: a clip's
    numbers depend on the length it is padded to. So a batch holds clips of one length.
    """

    files = (("config.json",), ("model.safetensors", "pytorch_model.bin"))

    def __init__(self, name: str, hub: str, normalize: bool = False, **common: Any):
        """
        Args:
            name: names the files.
            hub: repository of the published weights.
            normalize: give each clip mean 0 and variance 1 first, as the hub's processors do (and the study did not).
            common: the keys of every `TimeMean`.
        """
        super().__init__(name, hub, **common)
        self.normalize = normalize
        self._min_samples = 400  # of the published convolutions

    @abstractmethod
    def network(self, config: dict[str, Any], source: Path) -> Wav2Vec2:
        """Returns the network of a configuration.

        Args:
            config: in the names of transformers' `config.json`; it has all of `SIZES`.
            source: where it was read from.

        Raises:
            MusicrecError: it asks for something that is not implemented.
        """

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"normalize": self.normalize}

    @property
    def min_samples(self) -> int:
        return self._min_samples

    def build(self, path: Path) -> tuple[nn.Module, Path, int]:
        weights = path if path.is_file() else checkpoints.find_file(path, "model.safetensors", "pytorch_model.bin")
        source = checkpoints.find_file(path, "config.json")
        config = checkpoints.read_config(source)
        checkpoints.demand(config, source, SIZES)
        self._min_samples = _receptive_field(config)
        with torch.device("meta"):
            net = self.network(config, source)
        state = checkpoints.tensors(checkpoints.read(weights), weights)
        # Saved from a task's model, the network has a prefix, and the other tensors are those of the task.
        last = "encoder.layer_norm.weight"
        prefix = next((name.removesuffix(last) for name in state if name.endswith(last)), "")
        state = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        checkpoints.fill(net, state, weights, unused=("masked_spec_embed",))
        return net, weights, config["num_hidden_layers"]

    def prepare(self, wave: np.ndarray) -> np.ndarray:
        if self.normalize and len(wave):
            wave = wave[: self.max_samples]
            wave = ((wave - wave.mean()) / np.sqrt(wave.var() + 1e-7)).astype(np.float32)
        return super().prepare(wave)

    def states(self, waves: Tensor) -> Iterator[Tensor]:
        return self._net(waves)


def _receptive_field(config: dict[str, Any]) -> int:
    """Returns the shortest wave that gives one frame, in samples."""
    samples = 1
    for kernel, stride in zip(reversed(config["conv_kernel"]), reversed(config["conv_stride"]), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples
