"""Any audio encoder that is part of transformers: Whisper, AST, wav2vec 2.0, HuBERT, WavLM, EnCodec, DAC, ..."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from musicrec.embeddings.checkpoints import hub as huggingface
from musicrec.embeddings.checkpoints import transformers_model
from musicrec.embeddings.networks.transformers_encoder import TransformersEncoder, encoder_of
from musicrec.embeddings.pretrained.base import Pretrained
from musicrec.embeddings.pretrained.pooling import pool_layers
from musicrec.errors import MusicrecError, demand

# Windows that the network is given at once.
_WINDOWS_AT_ONCE = 8


class HuggingFace(Pretrained):
    """The mean over the frames of a whole track of a layer of an encoder, by default of its output.

    A track is cut into windows, as long as the model takes or `window_seconds`. Every window is prepared by the model's
    own feature extractor; frames of padding do not count, and a shorter last window counts by its frames.
    """

    native_rate = 16_000  # until the model is read
    same_length = False
    licence = "that of the repository"
    files = transformers_model.FILES
    _net: TransformersEncoder

    def __init__(self, name: str = "hf", hub: str = "openai/whisper-base", window_seconds: float = 30.0, **common: Any):
        """Checks the options; nothing is read.

        Args:
            name: names the files.
            hub: repository of the model on the Hugging Face hub.
            window_seconds: how much of a track the model is given at once, if it takes so much.
            common: the keys of every `Pretrained`.
        """
        super().__init__(name, hub, **common)
        demand("embedding.window_seconds", window_seconds, window_seconds >= 0.5, "0.5 or more")
        self.window_seconds = window_seconds
        self._asked_rate: int | None = common.get("sample_rate")
        self._min_samples = self.sample_rate // 10

    def settings(self) -> dict[str, Any]:
        """Returns what decides the numbers, as JSON values; the rate is the model's own and known with it."""
        return super().settings() | {"sample_rate": self._asked_rate, "window_seconds": self.window_seconds}

    @property
    def min_samples(self) -> int:
        """Returns the shortest wave the model can take, in samples."""
        return self._min_samples

    def load(self, device: str = "cpu", precision: str = "fp32") -> None:
        """Reads the weights and puts the model on a device."""
        if self.checkpoint is None:  # refused before gigabytes are fetched
            transformers_model.refuse_remote_code(huggingface.fetch(self.hub, self.revision, self.files[:1]))
        super().load(device, precision)

    def build(self, path: Path) -> tuple[nn.Module, Path, int]:
        """Returns the network on the CPU, the file its weights were read from, and the number of its layers."""
        folder = path if path.is_dir() else path.parent
        transformers_model.refuse_remote_code(folder)
        extractor = transformers_model.read_extractor(folder)
        rate = int(extractor.sampling_rate)
        if self._asked_rate not in (None, rate):
            raise MusicrecError(f"embedding.sample_rate={self._asked_rate} is not the model's; allowed: {rate}, null")
        model, weights = transformers_model.read_model(path)
        net = encoder_of(model, extractor, self.window_seconds, weights)
        if self.layer is not None and not net.depth:
            raise MusicrecError(f"embedding.layer={self.layer} is not offered by this model; allowed: null")
        self.native_rate = self.sample_rate = rate
        self._min_samples = net.min_samples
        return net, weights, net.depth

    @torch.inference_mode()
    def embed(self, waves: list[np.ndarray]) -> np.ndarray:
        """Returns one vector per wave, (batch, dim) float32."""
        # Track by track, so that the numbers of a track never depend on the others.
        return np.concatenate([self._embed(wave) for wave in waves])

    def _embed(self, wave: np.ndarray) -> np.ndarray:
        """Returns the vector of a track, (1, dim) float32."""
        sums: list[Tensor] = []
        count = 0
        for windows in self._windows(wave):
            states, real = self._states(windows)
            some = [state.float()[real].sum(dim=0) for state in states]
            sums = [one + other for one, other in zip(sums, some, strict=True)] if sums else some
            count += int(real.sum())
        layer = 0 if self.layer is not None and self.layer != "all" else self.layer
        return pool_layers(((total / count)[None] for total in sums), layer, self.layer_pooling).cpu().numpy()

    def _windows(self, wave: np.ndarray) -> Iterator[list[np.ndarray]]:
        """Yields the windows of a track, several of one length at once; a rest too short for the model is left out."""
        cut = [wave[start : start + self._net.window] for start in range(0, len(wave), self._net.window)]
        kept = [window for window in cut if len(window) >= self._net.min_samples]
        for _, same in groupby(kept, key=len):
            windows = list(same)
            for first in range(0, len(windows), _WINDOWS_AT_ONCE):
                yield windows[first : first + _WINDOWS_AT_ONCE]

    def _states(self, windows: list[np.ndarray]) -> tuple[list[Tensor], Tensor]:
        """Returns the wanted states of windows of one length, each (windows, frames, dim), and the real frames.

        The latter are (windows, frames) bool.
        """
        features = [self._net.features(window) for window in windows]
        together = {name: torch.cat([one[name] for one in features]).to(self._device) for name in features[0]}
        with self._autocast():
            states, output = self._net(together)
        if self.layer is None:
            wanted = [output]
        elif self.layer == "all":
            wanted = list(states)
        else:
            wanted = [states[int(self.layer)]]
        real = [
            self._net.real(len(window), one, output.shape[1]) for window, one in zip(windows, features, strict=True)
        ]
        return wanted, torch.stack(real).to(output.device)
