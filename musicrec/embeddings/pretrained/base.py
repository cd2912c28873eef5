"""What the pretrained transformers share: where their weights come from, layers, devices, precision."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from musicrec.embeddings.base import AudioEmbedding
from musicrec.embeddings.checkpoints import hub
from musicrec.embeddings.checkpoints import load as checkpoints
from musicrec.embeddings.checkpoints.cache import announce_licence
from musicrec.embeddings.pretrained import pooling
from musicrec.errors import MusicrecError

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Pretrained(AudioEmbedding):
    """An embedding by a network with published weights.

    A model says what to fetch (`files`), how to make its network of a local checkpoint (`build`), and embeds.

    Attributes:
        licence: of the published weights, for people.
        files: to fetch from the hub: for each its possible names, the preferred one first.
    """

    licence: str
    files: tuple[tuple[str, ...], ...]
    _net: nn.Module

    def __init__(
        self,
        name: str,
        hub: str,
        revision: str = "main",
        checkpoint: str | None = None,
        max_seconds: float | None = None,
        pad: bool = False,
        layer: int | str | None = None,
        layer_pooling: str = "concat",
        sample_rate: int | None = None,
    ):
        """
        Args:
            name: names the files.
            hub: repository of the published weights on the Hugging Face hub.
            revision: commit, branch or tag of it.
            checkpoint: instead of these: local file or folder as the upstream publishes it.
            max_seconds: how much of a track is used, from its start; None = all.
            pad: shorter tracks are filled up with zeros to `max_seconds`.
            layer: None = the model's output; 0 = what enters the first layer, 1 = the output of the first, ...; "all".
            layer_pooling: what becomes of "all": "concat" (one after the other) or "mean".
            sample_rate: Hz at which the audio is given to the model; None = the rate it was trained on.
        """
        super().__init__(name, checkpoint, max_seconds, pad, None, sample_rate)
        pooling.check_layer(layer, layer_pooling)
        self.hub = hub
        self.revision = revision
        self.layer = layer
        self.layer_pooling = layer_pooling

    def settings(self) -> dict[str, Any]:
        own = {"hub": self.hub, "revision": self.revision, "layer_pooling": self.layer_pooling}
        return super().settings() | own

    @abstractmethod
    def build(self, path: Path) -> tuple[nn.Module, Path, int]:
        """Returns the network on the CPU, the file its weights were read from, and the number of its layers.

        Args:
            path: local file or folder.
        """

    def load(self, device: str = "cpu", precision: str = "fp32") -> None:
        if self.checkpoint is None:
            path = hub.fetch(self.hub, self.revision, self.files)
        else:
            path = Path(self.checkpoint).expanduser()
            if not path.exists():
                raise MusicrecError(
                    f"embedding.checkpoint: {path} does not exist; null = https://huggingface.co/{self.hub}"
                )
        announce_licence(self.hub, self.licence, f"https://huggingface.co/{self.hub}")
        net, weights, depth = self.build(path)
        pooling.check_depth(self.layer, depth, self.name)
        self._device = torch.device(device)
        self._dtype = _AUTOCAST.get(precision)
        self._net = net.to(self._device)
        self._hash = checkpoints.sha256(weights)

    def checkpoint_hash(self) -> str:
        return self._hash

    def _autocast(self) -> AbstractContextManager[Any]:
        """Returns the context in which matrix products and convolutions run in the precision asked for."""
        return torch.autocast(self._device.type, self._dtype) if self._dtype else nullcontext()


class TimeMean(Pretrained):
    """The mean over time of a layer; a network whose clips have one length in a batch."""

    @abstractmethod
    def states(self, waves: Tensor) -> Iterator[Tensor]:
        """Yields what enters the first layer and what leaves each, (batch, frames, dim), for waves (batch, samples)."""

    @torch.inference_mode()
    def embed(self, waves: list[np.ndarray]) -> np.ndarray:
        batch = torch.from_numpy(np.stack(waves)).to(self._device)
        with self._autocast():
            pooled = (self.pool(state) for state in self.states(batch))
            return pooling.pool_layers(pooled, self.layer, self.layer_pooling).cpu().numpy()

    @torch.inference_mode()
    def hidden_states(self, waves: list[np.ndarray]) -> np.ndarray:
        """Returns all that `states` yields for waves of one length, (layers + 1, batch, frames, dim) float32."""
        batch = torch.from_numpy(np.stack(waves)).to(self._device)
        with self._autocast():
            return np.stack([state.float().cpu().numpy() for state in self.states(batch)])

    def pool(self, state: Tensor) -> Tensor:
        """Returns the vectors of clips, (batch, dim) float32, of a layer's frames, (batch, frames, dim)."""
        return state.float().mean(dim=1)
