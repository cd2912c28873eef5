"""MuQ-MuLan: a space that music and text share; the audio side, MuQ with a small transformer on top.

Zhu, Zhou, Zhang, et al.: "MuQ: Self-Supervised Music Representation Learning with Mel Residual Vector Quantization",
arXiv:2501.01108, section on MuQ-MuLan.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from musicrec.audio.clip import Clip
from musicrec.embeddings.base import one_of
from musicrec.embeddings.checkpoints import hub as huggingface
from musicrec.embeddings.checkpoints import load as checkpoints
from musicrec.embeddings.checkpoints.published import PublishedWeights
from musicrec.embeddings.muq import FILES, LICENCE, refuse_fp16
from musicrec.embeddings.networks.muq import SAMPLE_RATE, UNUSED, front_end, muq_net
from musicrec.embeddings.networks.muq_mulan import AudioTower
from musicrec.embeddings.networks.musicfm import N_FFT
from musicrec.embeddings.pretrained.base import Built, Pretrained
from musicrec.embeddings.pretrained.layer import Layer
from musicrec.errors import MusicrecError, demand

# Where the configuration of the MuQ within may lie, seen from the folder of the checkpoint.
_INNER = ("inner_muq_config/config.json", "muq_config.json")
# Of the text side and of training.
_NOT_AUDIO = ("mulan.text.", "mulan.text_to_latents.", "mulan.contrast.", "mulan.audio.aggregator.")
# Clips of one track that the network is given at once.
_CLIPS_AT_ONCE = 8


class MuQMuLan(Pretrained):
    """The mean of the unit vectors of the 10 s clips that a track is cut into: 512-d, not normalised again.

    The last clip is completed with the start of the track. The study's script for this model cannot have run as
    published; this is what the upstream's package returns, and what the size of the study's vectors says.
    """

    native_rate = SAMPLE_RATE
    same_length = False
    least_samples = N_FFT // 4 + 1  # the track twice over must be more than half a window, for the reflection
    _net: AudioTower

    def __init__(
        self,
        name: str = "muq_mulan",
        hub: str = "OpenMuQ/MuQ-MuLan-large",
        revision: str = "main",
        checkpoint: str | None = None,
        muq_config: str | None = None,
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
            muq_config: file with the configuration of the MuQ inside; None = beside the checkpoint, else from the hub
                repository that the checkpoint's own configuration names.
            max_seconds: how much of a track is used, from its start; None = all.
            pad: zero-pad shorter tracks to `max_seconds`.
            layer: only None: the vector is in the space that music and text share.
            layer_pooling: has no effect.
            sample_rate: only 24000 (or None) makes sense for this model.
        """
        one_of("sample_rate", sample_rate or self.native_rate, (self.native_rate,))
        demand("embedding.layer", layer, layer is None, f"null for {name}, whose vectors come after its layers")
        weights = PublishedWeights(hub, revision, checkpoint, FILES, LICENCE)
        super().__init__(name, weights, Clip(max_seconds, pad, sample_rate), Layer(layer, layer_pooling))
        self.muq_config = muq_config
        self._clip_samples = 10 * SAMPLE_RATE  # of the published model

    def load(self, device: str = "cpu", precision: str = "fp32") -> None:
        """Reads the weights and puts the model on a device."""
        refuse_fp16(precision)
        super().load(device, precision)

    def build(self, path: Path) -> Built:
        """Returns the network of a checkpoint in the upstream's format."""
        weights = checkpoints.find_file(path, "model.safetensors", "pytorch_model.bin") if path.is_dir() else path
        source = checkpoints.find_file(path, "config.json")
        config = checkpoints.read_config(source)
        checkpoints.check_config(config, source, ("mulan", "audio_model"))
        checkpoints.check_config(config["mulan"], source, ("clip_secs",), sr=SAMPLE_RATE)
        checkpoints.check_config(config["audio_model"], source, ("name",))
        inner = self._inner_config(source.parent, config["audio_model"]["name"])
        muq = checkpoints.read_config(inner)
        read = checkpoints.tensors(checkpoints.read(weights), weights)
        strange = next((name for name in read if not name.startswith("mulan.")), None)
        if strange:
            raise MusicrecError(f"{weights} does not fit this model: unexpected {strange}")
        state = {f"model.{name}": value for name, value in front_end(muq, inner).items()}
        for name, value in read.items():
            if not name.startswith(_NOT_AUDIO):
                state[_ours(name)] = value
        try:
            layers = {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}
            shapes = {name: value.shape for name, value in state.items()}
            with torch.device("meta"):
                model = muq_net(layers, muq, inner)
                net = AudioTower(model, shapes, config["audio_model"].get("use_layer_idx", -1))
        except KeyError as error:
            missing = _theirs(error.args[0])
            raise MusicrecError(f"{weights} does not fit this model: missing {missing}") from None
        told = config.get("audio_transformer", {}).get("tf_depth", net.depth)
        if told != net.depth:
            raise MusicrecError(f"{source}: tf_depth={told}, but the weights have {net.depth} layers")
        depth = len(model.conformer.layers)
        checkpoints.check_config(config["audio_model"], source, use_layer_idx=tuple(range(-depth - 1, depth + 1)))
        checkpoints.fill(net, state, weights, [f"model.{name}" for name in UNUSED], called=_theirs)
        model.fuse()
        self._clip_samples = int(config["mulan"]["clip_secs"] * SAMPLE_RATE)
        return Built(net, weights, 0, self.least_samples)

    def _inner_config(self, folder: Path, hub: str) -> Path:
        """Returns the file with the configuration of the MuQ within.

        Args:
            folder: of the checkpoint.
            hub: the repository that the upstream takes it from.
        """
        if self.muq_config is not None:
            given = Path(self.muq_config).expanduser()
            file = given / "config.json" if given.is_dir() else given
            if not file.is_file():
                raise MusicrecError(f"embedding.muq_config: {file} does not exist; it is the config.json of {hub}")
            return file
        beside = (*_INNER, f"{hub.split('/')[-1]}/config.json")
        for place in (folder, folder.parent):
            for name in beside:
                if (place / name).is_file():
                    return place / name
        try:
            return huggingface.fetch(hub, "main", (("config.json",),)) / "config.json"
        except MusicrecError as error:
            raise MusicrecError(
                f"{folder} lacks the configuration of the MuQ within: put the config.json of {hub} there as "
                f"muq_config.json or give embedding.muq_config=FILE ({error})"
            ) from None

    @torch.inference_mode()
    def embed(self, waves: list[np.ndarray]) -> np.ndarray:
        """Returns one vector per wave, (batch, dim) float32."""
        # Track by track, so that the numbers of a track never depend on the others.
        return np.stack([self.clip_vectors(wave).mean(axis=0) for wave in waves])

    @torch.inference_mode()
    def clip_vectors(self, wave: np.ndarray) -> np.ndarray:
        """Returns the unit vectors of the clips of a track, (clips, dim) float32."""
        clips = torch.from_numpy(cut(wave, self._clip_samples))
        vectors = []
        for some in clips.split(_CLIPS_AT_ONCE):
            spectrum = self._net.spectrum(some.to(self._device))
            with self._autocast():
                vectors.append(self._net(spectrum).float().cpu().numpy())
        return np.concatenate(vectors)


def cut(wave: np.ndarray, samples: int) -> np.ndarray:
    """Returns a track cut into clips, (clips, samples); what the last one lacks is taken from the start of the track.

    A track shorter than half a clip cannot complete it so: its only clip is the track twice over, and shorter.

    >>> cut(np.arange(5), 3).tolist(), cut(np.arange(2), 5).tolist()
    ([[0, 1, 2], [3, 4, 0]], [[0, 1, 0, 1]])
    """
    missing = -len(wave) % samples
    whole = np.concatenate([wave, wave[:missing]])
    return whole.reshape(-1, min(samples, len(whole)))


def _ours(name: str) -> str:
    """Returns the name in our network of a tensor of the checkpoint; unchanged if it is not one of MuQ-MuLan's."""
    if name.startswith("mulan."):
        return name.removeprefix("mulan.").removeprefix("audio.").removeprefix("model.")
    return name


def _theirs(name: str) -> str:
    """Returns the name in the checkpoint of a tensor of our network, or, without `model.`, of the MuQ in it."""
    if name.startswith("audio_to_latents."):
        return f"mulan.{name}"
    if name.startswith(("conv.", "conformer.")):
        return f"mulan.audio.model.model.{name}"
    return f"mulan.audio.{'model.' if name.startswith('model.') else ''}{name}"
