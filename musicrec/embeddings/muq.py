"""MuQ: a conformer trained to predict residual vector quantisations of masked mel spectra, 25 frames per second.

Zhu, Zhou, Zhang, et al.: "MuQ: Self-Supervised Music Representation Learning with Mel Residual Vector Quantization",
arXiv:2501.01108.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from musicrec.audio.clip import Clip
from musicrec.embeddings.base import one_of
from musicrec.embeddings.checkpoints import load as checkpoints
from musicrec.embeddings.checkpoints.published import PublishedWeights
from musicrec.embeddings.networks.muq import SAMPLE_RATE, UNUSED, front_end, muq_net
from musicrec.embeddings.networks.musicfm import N_FFT, MusicFMNet
from musicrec.embeddings.pretrained.base import Built, TimeMean
from musicrec.embeddings.pretrained.layer import Layer
from musicrec.errors import MusicrecError

FILES = (("config.json",), ("model.safetensors", "pytorch_model.bin"))
LICENCE = "CC BY-NC 4.0 (not for commercial use)"


class MuQ(TimeMean):
    """The time mean of a layer of MuQ, by default the last state after its normalisation: 1024-d.

    Zeros that pad a clip take part in attention and in the mean, as in the study.
    """

    native_rate = SAMPLE_RATE
    least_samples = N_FFT // 2 + 1  # what reflection at the edges needs
    _net: MusicFMNet

    def __init__(
        self,
        name: str = "muq",
        hub: str = "OpenMuQ/MuQ-large-msd-iter",
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
            checkpoint: instead of these: folder with config.json and model.safetensors or pytorch_model.bin.
            max_seconds: how much of a track is used, from its start; None = all.
            pad: zero-pad shorter tracks to `max_seconds`.
            layer: None = the last state; 0 = what enters the first layer, 1 = the output of the first, ...; "all".
            layer_pooling: what "all" becomes: "concat" or "mean".
            sample_rate: only 24000 (or None) makes sense for this model.
        """
        one_of("sample_rate", sample_rate or self.native_rate, (self.native_rate,))
        weights = PublishedWeights(hub, revision, checkpoint, FILES, LICENCE)
        super().__init__(name, weights, Clip(max_seconds, pad, sample_rate), Layer(layer, layer_pooling))

    def load(self, device: str = "cpu", precision: str = "fp32") -> None:
        """Reads the weights and puts the model on a device."""
        refuse_fp16(precision)
        super().load(device, precision)

    def build(self, path: Path) -> Built:
        """Returns the network of a checkpoint in the upstream's format."""
        weights = checkpoints.find_file(path, "model.safetensors", "pytorch_model.bin") if path.is_dir() else path
        source = checkpoints.find_file(path, "config.json")
        config = checkpoints.read_config(source)
        state = front_end(config, source)
        read = checkpoints.tensors(checkpoints.read(weights), weights)
        state |= {name.removeprefix("model."): value for name, value in read.items()}
        try:
            with torch.device("meta"):
                net = muq_net(state, config, source)
        except KeyError as error:
            raise MusicrecError(f"{weights} does not fit this model: missing {error.args[0]}") from None
        checkpoints.fill(net, state, weights, UNUSED)
        net.fuse()
        return Built(net, weights, len(net.conformer.layers), self.least_samples)

    def states(self, waves: Tensor) -> Iterator[Tensor]:
        """Yields what enters the first layer and what leaves each, (batch, frames, dim), for waves (batch, samples)."""
        with torch.autocast(waves.device.type, enabled=False):
            spectrum = self._net.spectrum(waves)
        return self._net(spectrum)


def refuse_fp16(precision: str) -> None:
    """Refuses the precision in which MuQ overflows."""
    if precision == "fp16":
        raise MusicrecError(
            "extract.precision=fp16 gives NaN with MuQ, as its authors warn; use extract.precision=fp32 (or bf16)"
        )
