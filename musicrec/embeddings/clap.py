"""CLAP: an audio encoder trained by contrast with descriptions of the audio in words, as transformers has it.

Wu, Chen, Zhang, Hui, Berg-Kirkpatrick, Dubnov: "Large-Scale Contrastive Language-Audio Pretraining with Feature Fusion
and Keyword-to-Caption Augmentation", ICASSP 2023.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musicrec.audio.clip import Clip
from musicrec.embeddings.checkpoints import load as checkpoints
from musicrec.embeddings.checkpoints import transformers_model
from musicrec.embeddings.checkpoints.published import PublishedWeights
from musicrec.embeddings.pretrained.base import Built, Pretrained
from musicrec.embeddings.pretrained.layer import Layer
from musicrec.errors import MusicrecError, demand

_LICENCE = "Apache-2.0"
# Windows that the network is given at once.
_WINDOWS_AT_ONCE = 8
# Tokens that the text side was trained on.
_LONGEST_TEXT = 77


class CLAP(Pretrained):
    """The mean of the unit vectors of the 10 s windows of a track: 512-d, not normalised again.

    The windows follow one another, and the last one ends with the track, so that it may overlap the one before it. The
    upstream takes one random window of a long track; here the same file gives the same vector.
    """

    native_rate = 48_000
    same_length = False
    least_samples = 1024  # one window of the Fourier transform
    _net: _AudioSide

    def __init__(
        self,
        name: str = "clap",
        hub: str = "laion/larger_clap_music",
        revision: str = "main",
        checkpoint: str | None = None,
        max_seconds: float | None = None,
        pad: bool = False,
        layer: int | str | None = None,
        layer_pooling: str = "concat",
        sample_rate: int | None = None,
    ):
        """Keeps the choices; nothing is read yet.

        Args:
            name: names the files.
            hub: repository of the published weights.
            revision: commit, branch or tag of it.
            checkpoint: instead of these: folder with config.json, preprocessor_config.json and model.safetensors or
                pytorch_model.bin.
            max_seconds: how much of a track is used, from its start; None = all.
            pad: zero-pad shorter tracks to `max_seconds`.
            layer: only None: the vector is in the space that audio and text share.
            layer_pooling: has no effect.
            sample_rate: Hz; None = 48000, and only the model's own is allowed.
        """
        demand("embedding.layer", layer, layer is None, f"null for {name}, whose vectors come after its layers")
        weights = PublishedWeights(hub, revision, checkpoint, transformers_model.FILES, _LICENCE)
        super().__init__(name, weights, Clip(max_seconds, pad, sample_rate), Layer(layer, layer_pooling))

    def build(self, path: Path) -> Built:
        """Returns the audio side of a checkpoint in the format of transformers."""
        folder = path if path.is_dir() else path.parent
        _check_kind(folder)
        self._extractor = transformers_model.read_extractor(folder)
        if self._extractor.sampling_rate != self.sample_rate:
            raise MusicrecError(
                f"embedding.sample_rate={self.sample_rate} is not the model's; allowed: {self._extractor.sampling_rate}"
            )
        self._window = int(self._extractor.nb_max_samples)
        model, weights = transformers_model.read_model(path)
        net = _AudioSide(model.get_submodule("audio_model"), model.get_submodule("audio_projection"))
        return Built(net, weights, 0, int(self._extractor.fft_window_size))

    @torch.inference_mode()
    def embed_texts(self, texts: list[str]) -> np.ndarray:
        """Returns the unit vectors of texts in the space of the tracks, (texts, dim) float32.

        The text side of the weights is read on the CPU for each call.

        Raises:
            MusicrecError: the weights or the tokenizer are missing or unreachable.
        """
        path = replace(self.weights, files=transformers_model.FILES + transformers_model.TOKENIZER).local()
        folder = path if path.is_dir() else path.parent
        _check_kind(folder)
        tokenizer = transformers_model.read_tokenizer(folder)
        model, weights = transformers_model.read_model(path)
        self._hash = checkpoints.sha256(weights)
        tokens = tokenizer(texts, padding=True, truncation=True, max_length=_LONGEST_TEXT, return_tensors="pt")
        pooled = model.get_submodule("text_model")(tokens["input_ids"], tokens["attention_mask"]).pooler_output
        return F.normalize(model.get_submodule("text_projection")(pooled), dim=-1).numpy()

    @torch.inference_mode()
    def embed(self, waves: list[np.ndarray]) -> np.ndarray:
        """Returns one vector per wave, (batch, dim) float32."""
        # Track by track, so that the numbers of a track never depend on the others, not even by rounding.
        return np.stack([self.window_vectors(wave).mean(axis=0) for wave in waves])

    @torch.inference_mode()
    def window_vectors(self, wave: np.ndarray) -> np.ndarray:
        """Returns the unit vectors of the windows of a track, (windows, dim) float32."""
        starts = window_starts(len(wave), self._window)
        vectors = []
        for first in range(0, len(starts), _WINDOWS_AT_ONCE):
            some = [self._features(wave[start : start + self._window]) for start in starts[first:][:_WINDOWS_AT_ONCE]]
            inputs = [torch.cat(tensors).to(self._device) for tensors in zip(*some, strict=True)]
            with self._autocast():
                vectors.append(self._net(*inputs).cpu().numpy())
        return np.concatenate(vectors)

    def _features(self, window: np.ndarray) -> tuple[Tensor, Tensor]:
        """Returns the log-mel spectra of a window and whether it was cut, each with a batch axis of 1."""
        # One by one: of several, the extractor marks a random one as cut if the model fuses several views of a clip.
        features = self._extractor(window, sampling_rate=self.sample_rate, return_tensors="pt")
        return features["input_features"].float(), features["is_longer"]


def _check_kind(folder: Path) -> None:
    """Refuses another model's folder."""
    source = folder / "config.json"
    checkpoints.check_config(checkpoints.read_config(source), source, model_type="clap")


class _AudioSide(nn.Module):
    """The encoder of audio and its projection into the joint space."""

    def __init__(self, encoder: nn.Module, projection: nn.Module):
        super().__init__()
        self.encoder = encoder
        self.projection = projection

    def forward(self, features: Tensor, is_longer: Tensor) -> Tensor:
        pooled = self.encoder(input_features=features, is_longer=is_longer).pooler_output
        return F.normalize(self.projection(pooled).float(), dim=-1)


def window_starts(samples: int, window: int) -> list[int]:
    """Returns where the windows of a track begin; the last one ends with the track.

    >>> window_starts(25, 10), window_starts(20, 10), window_starts(7, 10)
    ([0, 10, 15], [0, 10], [0])
    """
    starts = list(range(0, max(samples - window, 0) + 1, window))
    if starts[-1] + window < samples:
        starts.append(samples - window)
    return starts
