"""EnCodec-MAE: a masked autoencoder on the frames of EnCodec that predicts its codes.

Pepino, Riera, Ferrer: "EnCodecMAE: Leveraging neural codecs for universal audio representation learning",
arXiv:2309.07391. The published models come in two formats, which differ in how they treat the end of a recording:

- v1, of March 2024, to which the name "base" belongs (`model.pt` with a `config.gin` beside it);
- v2, of July 2024 (one `.pt`, named `ec-ec-...`): other weights.
"""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from musicrec.audio.clip import Clip
from musicrec.embeddings.base import one_of
from musicrec.embeddings.checkpoints import load as checkpoints
from musicrec.embeddings.checkpoints.published import PublishedWeights
from musicrec.embeddings.networks.encodecmae import EncodecMAENet
from musicrec.embeddings.pretrained.base import Built, Pretrained
from musicrec.embeddings.pretrained.layer import Layer
from musicrec.errors import MusicrecError

_LICENCE = "unclear terms (no licence file is published; third parties say MIT), EnCodec's within them"
# Prefixes of names in the checkpoint -> in our network.
_V1 = {
    "wav_encoder.model.model.": "encoder.",
    "feat_projector.": "projection.",
    "positional_encoder.scale": "scale",
    "visible_encoder.encoder_layers.": "layers.",
    "visible_encoder.final_norm.": "final_norm.",
}
_V2 = {
    "wav_encoder.encoder.model.model.": "encoder.",
    "wav_encoder.post_net.": "projection.",
    "masker.positional_encoder.scale": "scale",
    "visible_encoder.encoder_layers.": "layers.",
    "visible_encoder.final_norm.": "final_norm.",
}
_HOP = 320  # samples per frame of EnCodec
_SUPPORTED: dict[str, Any] = {"norm_type": "ResiDual", "hop": _HOP, "sample_rate": 24_000, "layer_norm_eps": 1e-5}
_HEADS = 12  # of every published model
_CHUNK_V2S = 4
# v2 drops a last chunk of at most this many samples.
_DROPPED = 2048
# Chunks computed together: many to fill a GPU; on a CPU one, which stays in the cache.
_CHUNKS = {"cuda": 128, "cpu": 1}


class EncodecMAE(Pretrained):
    """The mean over all frames of a clip, by default of the output, 768-d (base).

    A clip is cut into independent chunks of 4 s; the last one is shorter, not padded. Layer 0 is
    what enters the transformer and layer k the first residual stream after layer k, except that v2's last layer is the
    output. "all" is every layer from 1 on, as upstream's `layer="all"`.
    """

    native_rate = 24_000
    least_samples = 1
    first_of_all = 1
    same_length = False

    def __init__(
        self,
        name: str = "encodecmae",
        hub: str = "lpepino/encodecmae-base",
        file: str = "model.pt",
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
            file: the weights in it; lpepino/encodecmae-v2 holds several.
            revision: commit, branch or tag of it.
            checkpoint: instead of the published weights: folder with one .pt (v1: and config.gin), or the .pt.
            max_seconds: how much of a track is used, from its start; None = all, in chunks of 4 s.
            pad: zero-pad shorter tracks to `max_seconds`.
            layer: None = the output; 0 = what enters the first layer, 1 = after the first, ...; "all" = from 1 on.
            layer_pooling: what "all" becomes: "concat" or "mean".
            sample_rate: only 24000 (or None) makes sense for this model.
        """
        one_of("sample_rate", sample_rate or self.native_rate, (self.native_rate,))
        weights = (str(Path(file).with_suffix(".safetensors")), file)
        files = (weights, ("config.gin",)) if file == "model.pt" else (weights,)
        super().__init__(
            name,
            PublishedWeights(hub, revision, checkpoint, files, _LICENCE),
            Clip(max_seconds, pad, sample_rate),
            Layer(layer, layer_pooling),
        )
        self.file = file

    def settings(self) -> dict[str, Any]:
        """Returns those of `Pretrained` and the file."""
        return super().settings() | {"file": self.file}

    def build(self, path: Path) -> Built:
        """Returns the network of a checkpoint of either version."""
        weights = (
            path if path.is_file() else checkpoints.find_file(path, *self.weights.files[0], "*.safetensors", "*.pt")
        )
        content = checkpoints.read(weights)
        state = checkpoints.tensors(content, weights)
        self._is_v2 = any(name.startswith(("wav_encoder.encoder.", "wav_encoder.post_net.")) for name in state)
        if self._is_v2 and "wav_encoder.encoder.model.model.0.conv.conv.bias" not in state:
            raise MusicrecError(f"{weights} takes mel spectra (mel256-...); supported is EnCodec as input (ec-ec-...)")
        text = str(content.get("config", ""))
        gin = weights.with_name("config.gin")
        if not text and gin.is_file():
            text = gin.read_text(encoding="utf-8")
        source = weights.with_name("config.json")
        config = checkpoints.read_config(source)
        checkpoints.check_config(config, source, **_SUPPORTED)
        heads = int(config.get("HEADS") or _number(text, "NUM_ENCODER_HEADS", _HEADS))
        seconds = _number(text, "MAX_AUDIO_DURATION", _CHUNK_V2S) if self._is_v2 else _CHUNK_V2S
        self._chunk = round(float(config.get("chunk_seconds", seconds)) * self.native_rate)
        names = _V2 if self._is_v2 else _V1
        state = _ours(state, names)
        try:
            with torch.device("meta"):
                net = EncodecMAENet(state, heads, ends_combined=self._is_v2 or self.layer.chosen is None)
        except KeyError as error:
            raise MusicrecError(f"{weights} does not fit this model: missing {_theirs(error.args[0], names)}") from None
        checkpoints.fill(net, state, weights, called=lambda name: _theirs(name, names))
        net.untangle_heads()
        return Built(net, weights, len(net.layers), _DROPPED + 1 if self._is_v2 else self.least_samples)

    @torch.inference_mode()
    def embed(self, waves: list[np.ndarray]) -> np.ndarray:
        """Returns the means over all frames of the clips, (batch, dim) float32; chunks of one length share a batch."""
        groups: dict[tuple[int, int | None], list[tuple[int, np.ndarray]]] = defaultdict(list)
        for clip, wave in enumerate(waves):
            for chunk, attended in self._chunks(wave):
                groups[len(chunk), attended].append((clip, chunk))
        at_once = _CHUNKS[self._device.type]
        sums: list[Any] = [0.0] * len(waves)
        frames = np.zeros(len(waves))
        for (samples, attended), group in groups.items():
            for first in range(0, len(group), at_once):
                part = group[first : first + at_once]
                pooled = self._pooled(np.stack([chunk for _, chunk in part]), attended)
                for (clip, _), vector in zip(part, pooled, strict=True):
                    length = -(-samples // _HOP)
                    sums[clip] = sums[clip] + length * vector
                    frames[clip] += length
        return (np.stack(sums) / frames[:, None]).astype(np.float32)

    @torch.inference_mode()
    def hidden_states(self, waves: list[np.ndarray]) -> np.ndarray:
        """Returns what the network yields for waves of one length, (layers + 1, batch, frames, dim) float32."""
        clips = []
        for wave in waves:
            chunks = []
            for chunk, attended in self._chunks(wave):
                with self._autocast():
                    states = self._net(torch.from_numpy(chunk[None]).to(self._device), attended)
                    chunks.append(torch.cat([state.float().cpu() for state in states]))  # (layers + 1, frames, dim)
            clips.append(torch.cat(chunks, dim=1))
        return torch.stack(clips, dim=1).numpy()

    def _pooled(self, chunks: np.ndarray, attended: int | None) -> np.ndarray:
        """Returns the time means of chunks of one length, (chunks, dim) float64."""
        with self._autocast():
            states = self._net(torch.from_numpy(chunks).to(self._device), attended)
            first = 1 if self.layer.chosen == "all" else 0
            means = (state.float().mean(dim=1) for state in itertools.islice(states, first, None))
            return self.layer.pool(means).double().cpu().numpy()

    def _chunks(self, wave: np.ndarray) -> list[tuple[np.ndarray, int | None]]:
        """Returns the chunks of a wave, and for each how many of its frames are attended to; None = all.

        A frame that is not full is not attended to, but takes part in the mean. v2 compares the length of the whole
        recording instead of the chunk's, so that only a recording of a single chunk has such a frame.
        """
        chunks = [wave[first : first + self._chunk] for first in range(0, len(wave), self._chunk)]
        if self._is_v2 and len(chunks) > 1:
            if len(chunks[-1]) <= _DROPPED:
                chunks.pop()
            return [(chunk, None) for chunk in chunks]
        # If even the first frame is not full it is the only one, and attends to itself all the same.
        return [(chunk, max(1, len(chunk) // _HOP) if len(chunk) % _HOP else None) for chunk in chunks]


def _ours(state: dict[str, Tensor], names: dict[str, str]) -> dict[str, Tensor]:
    """Returns the tensors that the network has, by its names; decoder, heads and targets served training only."""
    return {
        (ours + name.removeprefix(theirs)).replace(".conv.conv.", "."): value
        for name, value in state.items()
        for theirs, ours in names.items()
        if name.startswith(theirs)
    }


def _theirs(name: str, names: dict[str, str]) -> str:
    """Returns what a tensor of the network is called in the checkpoint."""
    theirs, ours = next(pair for pair in names.items() if name.startswith(pair[1]))
    module, _, kind = name.removeprefix(ours).rpartition(".")
    conv = ".conv.conv" if ours == "encoder." and not module.endswith("lstm") else ""
    return f"{theirs}{module}{conv}{'.' if module else ''}{kind}"


def _number(text: str, key: str, default: float) -> float:
    """Returns a number that a gin configuration binds to a name; nothing of it is executed."""
    found = re.search(rf"^\s*{key}\s*=\s*([0-9.]+)\s*$", text, flags=re.MULTILINE)
    return float(found[1]) if found else default
