"""Base classes of embeddings by networks with published weights: Pretrained, and TimeMean for means over time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from musicrec.audio.clip import Clip
from musicrec.embeddings.base import AudioEmbedding
from musicrec.embeddings.checkpoints.load import sha256
from musicrec.embeddings.checkpoints.published import PublishedWeights
from musicrec.embeddings.pretrained.layer import Layer

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Built:
    """A network filled with the weights of a checkpoint.

    Attributes:
        net: on the CPU.
        file: its weights were read from.
        depth: number of its layers.
        min_samples: length of the shortest wave it accepts.
    """

    net: nn.Module
    file: Path
    depth: int
    min_samples: int


class Pretrained(AudioEmbedding):
    """An embedding by a network with published weights.

    A subclass says how its network is made from a local checkpoint (`build`) and how it embeds (`embed`).

    Attributes:
        least_samples: length of the shortest wave that the published network accepts, for use before `load`.
        weights: where they are published, or the local copy.
        layer: which hidden state becomes the embedding.
        first_of_all: the first layer that `layer=all` holds.
        depth: number of the last layer; None before `load`.
    """

    least_samples: int
    first_of_all: int = 0
    depth: int | None = None
    _net: nn.Module

    def __init__(self, name: str, weights: PublishedWeights, clip: Clip, layer: Layer):
        super().__init__(name, clip, weights.checkpoint)
        self.weights = weights
        self.layer = layer
        self._min_samples = self.least_samples

    def settings(self) -> dict[str, Any]:
        """Returns those of every audio embedding, where the weights come from, and the layer."""
        layer = {"layer": self.layer.chosen, "layer_pooling": self.layer.pooling}
        return super().settings() | self.weights.settings() | layer

    @property
    def min_samples(self) -> int:
        """Returns the length of the shortest wave, after `load` that of the checkpoint's network."""
        return self._min_samples

    @abstractmethod
    def build(self, path: Path) -> Built:
        """Returns the network of a checkpoint.

        Args:
            path: local file or folder.
        """

    def load(self, device: str = "cpu", precision: str = "fp32") -> None:
        """Fetches and reads the weights and puts the network on a device."""
        built = self.build(self.weights.local())
        self.layer.check_depth(built.depth, self.name)
        self.depth = built.depth
        self._min_samples = built.min_samples
        self._device = torch.device(device)
        self._dtype = _AUTOCAST.get(precision)
        self._net = built.net.to(self._device)
        self._hash = sha256(built.file)

    def checkpoint_hash(self) -> str:
        """Returns the SHA-256 of the weights that `load` read."""
        return self._hash

    def _autocast(self) -> AbstractContextManager[Any]:
        """Returns the context in which matrix products and convolutions run in the requested precision."""
        return torch.autocast(self._device.type, self._dtype) if self._dtype else nullcontext()


class TimeMean(Pretrained):
    """The mean over time of a layer, for a network whose clips have one length per batch.

    Every frame may attend to every other one, and padding takes part in that and in the mean, as in the study: a clip's
    numbers depend on the length it is padded to. So a batch holds clips of one length.
    """

    def __init__(self, name: str, weights: PublishedWeights, clip: Clip, layer: Layer, normalize: bool | None = None):
        """Keeps the choices; nothing is read yet.

        Args:
            name: names the files.
            weights: where they are published, or the local copy.
            clip: the part of a track that the network is given.
            layer: which hidden state becomes the embedding.
            normalize: give each clip mean 0 and variance 1 before padding; None if the model offers no such choice.
        """
        super().__init__(name, weights, clip, layer)
        self.normalize = normalize

    def settings(self) -> dict[str, Any]:
        """Returns those of `Pretrained`, and `normalize` if there is such a choice."""
        return super().settings() | ({} if self.normalize is None else {"normalize": self.normalize})

    def prepare(self, wave: np.ndarray) -> np.ndarray:
        """Returns a wave normalised if asked for, cut and padded."""
        if self.normalize and len(wave):
            wave = wave[: self.max_samples]
            wave = ((wave - wave.mean()) / np.sqrt(wave.var() + 1e-7)).astype(np.float32)
        return super().prepare(wave)

    def states(self, waves: Tensor) -> Iterator[Tensor]:
        """Yields what enters the first layer and what leaves each, (batch, frames, dim), for waves (batch, samples)."""
        return self._net(waves)

    def pool(self, state: Tensor) -> Tensor:
        """Returns the vectors of clips, (batch, dim) float32, of a layer's frames, (batch, frames, dim)."""
        return state.float().mean(dim=1)

    @torch.inference_mode()
    def embed(self, waves: list[np.ndarray]) -> np.ndarray:
        """Returns the pooled layer, (batch, dim) float32; layers above the chosen one are not computed."""
        batch = torch.from_numpy(np.stack(waves)).to(self._device)
        with self._autocast():
            return self.layer.pool(self.pool(state) for state in self.states(batch)).cpu().numpy()

    @torch.inference_mode()
    def hidden_states(self, waves: list[np.ndarray]) -> np.ndarray:
        """Returns all that `states` yields for waves of one length, (layers + 1, batch, frames, dim) float32."""
        batch = torch.from_numpy(np.stack(waves)).to(self._device)
        with self._autocast():
            return np.stack([state.float().cpu().numpy() for state in self.states(batch)])
