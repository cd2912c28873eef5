"""Audio models of transformers as this project uses them: a window of a wave in, states and their real frames out."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from musicrec.errors import MusicrecError

# What a configuration may call the number of its encoder's layers.
_DEPTHS = ("encoder_layers", "encoder_num_hidden_layers", "num_hidden_layers")
_AUDIO_INPUTS = ("input_values", "input_features")
# Seconds that are enough for a frame of every published model.
_SHORTEST = 0.1
# Kaldi's frames, on which spectrogram transformers are trained: 25 ms every 10 ms.
_KALDI_FRAME, _KALDI_HOP = 0.025, 0.010


class TransformersEncoder(nn.Module, ABC):
    """A model of transformers with its feature extractor.

    Attributes:
        sample_rate: Hz of the waves.
        window: the most samples that the model takes at once.
        min_samples: the fewest samples that give a frame.
        depth: number of layers; 0 if the model offers none.
    """

    def __init__(self, model: nn.Module, extractor: Any, window: int, min_samples: int, depth: int):
        super().__init__()
        self.model = model
        self.extractor = extractor
        self.sample_rate = int(extractor.sampling_rate)
        self.window = window
        self.min_samples = min_samples
        self.depth = depth

    @abstractmethod
    def features(self, wave: np.ndarray) -> dict[str, Tensor]:
        """Returns what the model takes for a window, (samples,) float32; each tensor has a batch axis of 1."""

    @abstractmethod
    def forward(self, features: dict[str, Tensor]) -> tuple[Sequence[Tensor], Tensor]:
        """Returns the states (what enters the first layer, what leaves each) and the output, (batch, frames, dim)."""

    @abstractmethod
    def real(self, samples: int, features: dict[str, Tensor], frames: int) -> Tensor:
        """Returns which of the frames of a window stem from its samples, not from padding; (frames,) bool.

        Args:
            samples: in the window.
            features: of the window.
            frames: what `forward` gave for it.
        """


class SequenceEncoder(TransformersEncoder):
    """A transformer over frames of the wave or of its spectra: Whisper, wav2vec 2.0, HuBERT, WavLM, data2vec, ..."""

    def __init__(self, model: nn.Module, config: Any, extractor: Any, window: int):
        # Whisper's extractor pads everything to this length, and its encoder takes no other.
        window = min(window, int(getattr(extractor, "n_samples", window)))
        super().__init__(model, extractor, window, round(_SHORTEST * extractor.sampling_rate), _depth(config))
        self._taken = set(inspect.signature(model.forward).parameters)
        self._options: dict[str, Any] = {}
        if "return_attention_mask" in inspect.signature(extractor.__call__).parameters:
            self._options = {"return_attention_mask": True}

    def features(self, wave: np.ndarray) -> dict[str, Tensor]:
        """Returns the extractor's tensors for a window; the attention mask only if something is padded."""
        given = self.extractor(wave, sampling_rate=self.sample_rate, return_tensors="pt", **self._options)
        found = {name: torch.as_tensor(value) for name, value in given.items()}
        mask = found.get("attention_mask")
        if mask is not None and bool(mask.all()):
            del found["attention_mask"]
        return found

    def forward(self, features: dict[str, Tensor]) -> tuple[Sequence[Tensor], Tensor]:
        """Returns the hidden states and the last one after what may follow the layers."""
        taken = {name: value for name, value in features.items() if name in self._taken}
        output = self.model(**taken, output_hidden_states=self.depth > 0)
        return output.hidden_states or (), output.last_hidden_state

    def real(self, samples: int, features: dict[str, Tensor], frames: int) -> Tensor:
        """Returns the attention mask, brought to the number of frames."""
        real = torch.ones(frames, dtype=torch.bool)
        mask = features.get("attention_mask")
        if mask is not None:
            thinned = mask[0, :: -(-mask.shape[1] // frames)].bool()[:frames]
            real[: len(thinned)] = thinned
            real[len(thinned) :] = False
        return real


class PatchEncoder(SequenceEncoder):
    """A transformer over patches of a spectrogram of fixed length, after some tokens that belong to no patch: AST."""

    def __init__(self, model: nn.Module, config: Any, extractor: Any, window: int):
        rate = extractor.sampling_rate
        self._frame, self._hop = round(_KALDI_FRAME * rate), round(_KALDI_HOP * rate)
        longest = (extractor.max_length - 1) * self._hop + self._frame
        super().__init__(model, config, extractor, min(window, longest))
        self.min_samples = self._frame
        self._stride = config.time_stride
        self._rows = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
        self._columns = (config.max_length - config.patch_size) // config.time_stride + 1

    def real(self, samples: int, features: dict[str, Tensor], frames: int) -> Tensor:
        """Returns the patches that begin within the sound."""
        spectra = 1 + (samples - self._frame) // self._hop
        columns = torch.arange(self._columns) * self._stride < spectra
        patches = columns.repeat(self._rows)  # all columns of the lowest frequencies come first
        return torch.cat([torch.zeros(frames - len(patches), dtype=torch.bool), patches])


class CodecEncoder(TransformersEncoder):
    """The latents of a neural codec before they are quantised: EnCodec, DAC, Mimi."""

    def __init__(self, model: nn.Module, config: Any, extractor: Any, window: int):
        chunk = getattr(config, "chunk_length", None)  # EnCodec at 48 kHz is applied to seconds
        shortest = getattr(config, "hop_length", None) or round(_SHORTEST * extractor.sampling_rate)
        super().__init__(model, extractor, min(window, chunk or window), int(shortest), depth=0)
        self._channels = getattr(config, "audio_channels", 1)
        self._normalise = bool(getattr(config, "normalize", False))

    def features(self, wave: np.ndarray) -> dict[str, Tensor]:
        """Returns the window in as many channels as the codec has, (1, channels, samples)."""
        samples = torch.from_numpy(np.ascontiguousarray(wave))
        return {"input_values": samples.expand(1, self._channels, -1)}

    def forward(self, features: dict[str, Tensor]) -> tuple[Sequence[Tensor], Tensor]:
        """Returns no states, and the latents."""
        waves = features["input_values"]
        if self._normalise:
            waves = waves / (waves.mean(dim=1, keepdim=True).square().mean(dim=2, keepdim=True).sqrt() + 1e-8)
        parts = dict(self.model.named_children())
        latents = parts["encoder"](waves)
        if "encoder_transformer" in parts:
            latents = parts["encoder_transformer"](latents.transpose(1, 2)).last_hidden_state.transpose(1, 2)
        if "downsample" in parts:
            latents = parts["downsample"](latents)
        return (), latents.transpose(1, 2)

    def real(self, samples: int, features: dict[str, Tensor], frames: int) -> Tensor:
        """Returns all frames: nothing is padded."""
        return torch.ones(frames, dtype=torch.bool)


def encoder_of(model: Any, extractor: Any, window_seconds: float, source: Path) -> TransformersEncoder:
    """Returns a model as this project uses it, chosen by what the model has.

    Args:
        model: of transformers.
        extractor: its feature extractor.
        window_seconds: how much of a track it is given at once, if it takes so much.
        source: where the model was read from.

    Raises:
        MusicrecError: it takes no audio.
    """
    config = model.config
    window = round(window_seconds * extractor.sampling_rate)
    if hasattr(model, "quantizer") and hasattr(model, "encoder"):
        return CodecEncoder(model, config, extractor, window)
    encoder = model.get_encoder() if getattr(config, "is_encoder_decoder", False) else model
    if encoder.main_input_name not in _AUDIO_INPUTS:
        raise MusicrecError(f"{source}: {type(encoder).__name__} takes {encoder.main_input_name}, not audio")
    spectrogram = all(hasattr(config, name) for name in ("time_stride", "frequency_stride", "patch_size"))
    return (PatchEncoder if spectrogram else SequenceEncoder)(encoder, config, extractor, window)


def _depth(config: Any) -> int:
    return next((int(getattr(config, name)) for name in _DEPTHS if getattr(config, name, None)), 0)
