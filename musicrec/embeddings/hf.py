"""Any audio encoder that is part of transformers: Whisper, AST, wav2vec 2.0, HuBERT, WavLM, EnCodec, DAC, ..."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge, Le
from torch import Tensor

from musicrec.audio.clip import Clip
from musicrec.embeddings.checkpoints import hub as huggingface
from musicrec.embeddings.checkpoints import transformers_model
from musicrec.embeddings.checkpoints.published import PublishedWeights
from musicrec.embeddings.networks.transformers_encoder import TransformersEncoder, encoder_of
from musicrec.embeddings.pretrained.base import Built, Pretrained
from musicrec.embeddings.pretrained.layer import Layer
from musicrec.errors import MusicrecError

_LICENCE = "that of the repository"
# Windows that the network is given at once.
_WINDOWS_AT_ONCE = 8


class HuggingFace(Pretrained):
    """The mean over the frames of a whole track of a layer of an encoder, by default of its output.

    A track is cut into windows, as long as the model takes or `window_seconds`. Every window is prepared by the model's
    own feature extractor; frames of padding do not count, and a shorter last window counts by its frames.
    """

    native_rate = 16_000  # until the model is read
    same_length = False
    least_samples = 1600
    _net: TransformersEncoder

    def __init__(
        self,
        name: str = "hf",
        hub: str = "openai/whisper-base",
        revision: str = "main",
        checkpoint: str | None = None,
        window_seconds: Annotated[float, Ge(0.5), Le(86_400)] = 30.0,
        max_seconds: float | None = None,
        pad: bool = False,
        layer: int | str | None = None,
        layer_pooling: str = "concat",
        sample_rate: int | None = None,
    ):
        """Keeps the choices; nothing is read yet.

        Args:
            name: names the files; give each model its own.
            hub: repository of the model.
            revision: commit, branch or tag of it.
            checkpoint: instead of it: folder with config.json, preprocessor_config.json and the weights
                (model.safetensors, pytorch_model.bin or the former in several files with their index).
            window_seconds: how much of a track the model is given at once, if it takes so much.
            max_seconds: how much of a track is used, from its start; None = all.
            pad: zero-pad shorter tracks to `max_seconds`.
            layer: None = the output; 0 = what enters the first layer, 1 = the output of the first, ...; "all".
            layer_pooling: what "all" becomes: "concat" or "mean".
            sample_rate: Hz; None = the model's own, and no other is allowed.
        """
        weights = PublishedWeights(hub, revision, checkpoint, transformers_model.FILES, _LICENCE)
        super().__init__(name, weights, Clip(max_seconds, pad, sample_rate), Layer(layer, layer_pooling))
        self.window_seconds = window_seconds

    def settings(self) -> dict[str, Any]:
        """Returns those of `Pretrained` and the window; the rate is the one asked for, as the model's is read later."""
        return super().settings() | {"sample_rate": self.clip.sample_rate, "window_seconds": self.window_seconds}

    def load(self, device: str = "cpu", precision: str = "fp32") -> None:
        """Reads the weights and puts the model on a device."""
        weights = self.weights
        if weights.checkpoint is None:  # refused before gigabytes are fetched
            transformers_model.refuse_remote_code(huggingface.fetch(weights.hub, weights.revision, weights.files[:1]))
        super().load(device, precision)

    def build(self, path: Path) -> Built:
        """Returns the encoder of a checkpoint in the format of transformers."""
        folder = path if path.is_dir() else path.parent
        transformers_model.refuse_remote_code(folder)
        extractor = transformers_model.read_extractor(folder)
        rate = int(extractor.sampling_rate)
        asked = self.clip.sample_rate
        if asked not in (None, rate):
            raise MusicrecError(f"embedding.sample_rate={asked} is not the model's; allowed: {rate}, null")
        model, weights = transformers_model.read_model(path)
        net = encoder_of(model, extractor, self.window_seconds, weights)
        if self.layer.chosen is not None and not net.depth:
            raise MusicrecError(f"embedding.layer={self.layer.chosen} is not offered by this model; allowed: null")
        self.native_rate = rate
        return Built(net, weights, net.depth, net.min_samples)

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
        # Of a single layer there is one sum, and `pool` returns the last vector it is given.
        return self.layer.pool((total / count)[None] for total in sums).cpu().numpy()

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
        layer = self.layer.chosen
        wanted = [output] if layer is None else list(states) if layer == "all" else [states[int(layer)]]
        real = [
            self._net.real(len(window), one, output.shape[1]) for window, one in zip(windows, features, strict=True)
        ]
        return wanted, torch.stack(real).to(output.device)
