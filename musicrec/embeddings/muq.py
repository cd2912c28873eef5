"""MuQ: a conformer trained to predict residual vector quantisations of masked mel spectra, 25 frames per second.

Zhu, Zhou, Zhang, et al.: "MuQ: Self-Supervised Music Representation Learning with Mel Residual Vector Quantization",
arXiv:2501.01108.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from musicrec.embeddings.checkpoints import load as checkpoints
from musicrec.embeddings.networks.muq import SAMPLE_RATE, UNUSED, front_end, muq_net
from musicrec.embeddings.networks.musicfm import N_FFT, MusicFMNet
from musicrec.embeddings.pretrained.base import TimeMean
from musicrec.errors import MusicrecError


class MuQ(TimeMean):
    """The time mean of a layer of MuQ, by default the last state after its normalisation: 1024-d.

    Zeros that pad a clip take part in attention and in the mean, as in the study.
    """

    native_rate = SAMPLE_RATE
    licence = "CC BY-NC 4.0 (not for commercial use)"
    files = (("config.json",), ("model.safetensors", "pytorch_model.bin"))
    _net: MusicFMNet

    def __init__(self, name: str = "muq", hub: str = "OpenMuQ/MuQ-large-msd-iter", **common: Any):
        """Checks the options; nothing is read.

        Args:
            name: names the files.
            hub: repository of the published weights on the Hugging Face hub.
            common: the keys of every `TimeMean`.
        """
        super().__init__(name, hub, **common)
        only_native_rate(self.sample_rate)

    @property
    def min_samples(self) -> int:
        """Returns the shortest wave the model can take, in samples."""
        return N_FFT // 2 + 1  # reflection at the edges needs more than half a window

    def load(self, device: str = "cpu", precision: str = "fp32") -> None:
        """Reads the weights and puts the model on a device."""
        refuse_fp16(precision)
        super().load(device, precision)

    def build(self, path: Path) -> tuple[nn.Module, Path, int]:
        """Returns the network on the CPU, the file its weights were read from, and the number of its layers."""
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
        return net, weights, len(net.conformer.layers)

    def states(self, waves: Tensor) -> Iterator[Tensor]:
        """Yields what enters the first layer and what leaves each, (batch, frames, dim), for waves (batch, samples)."""
        with torch.autocast(waves.device.type, enabled=False):
            spectrum = self._net.spectrum(waves)
        return self._net(spectrum)


def only_native_rate(sample_rate: int) -> None:
    """Refuses any rate but MuQ's."""
    if sample_rate != SAMPLE_RATE:
        raise MusicrecError(f"embedding.sample_rate={sample_rate} is not supported; allowed: {SAMPLE_RATE}")


def refuse_fp16(precision: str) -> None:
    """Refuses the precision in which MuQ overflows."""
    if precision == "fp16":
        raise MusicrecError(
            "extract.precision=fp16 gives NaN with MuQ, as its authors warn; use extract.precision=fp32 (or bf16)"
        )
