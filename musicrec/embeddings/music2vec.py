"""Music2Vec: data2vec-audio trained on music instead of speech.

Li, Yuan, Zhang, Ma, Lin, Chen, Ragni, Benetos, et al.: "MAP-Music2Vec: A Simple and Effective Baseline for
Self-Supervised Music Audio Representation Learning", ISMIR late-breaking demo 2022; Baevski, Hsu, Xu, Babu, Gu, Auli:
"data2vec", ICML 2022.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from musicrec.audio.clip import Clip
from musicrec.embeddings.checkpoints.load import check_config
from musicrec.embeddings.checkpoints.published import PublishedWeights
from musicrec.embeddings.networks.wav2vec2 import StackedPositions, Wav2Vec2
from musicrec.embeddings.pretrained import wav2vec2
from musicrec.embeddings.pretrained.base import Built, TimeMean
from musicrec.embeddings.pretrained.layer import Layer

_LICENCE = "CC BY-NC 4.0 (not for commercial use)"
_SUPPORTED: dict[str, Any] = {
    "model_type": "data2vec-audio",
    "add_adapter": False,
    "feat_extract_activation": "gelu",
    "hidden_act": "gelu",
}
# Of transformers' class, and of the model published as facebook/data2vec-audio-base.
_POSITION_KERNEL = 19


class Music2Vec(TimeMean):
    """The time mean of a layer of Music2Vec, by default the last state, 768-d.

    The model was trained at 16 kHz. The study of 2024 fed it audio at 24 kHz: `sample_rate=24000` does so too.
    """

    native_rate = 16_000
    least_samples = wav2vec2.LEAST_SAMPLES

    def __init__(
        self,
        name: str = "music2vec",
        hub: str = "m-a-p/music2vec-v1",
        revision: str = "main",
        checkpoint: str | None = None,
        max_seconds: float | None = None,
        pad: bool = False,
        layer: int | str | None = None,
        layer_pooling: str = "concat",
        normalize: bool = False,
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
            normalize: give each clip mean 0 and variance 1, as the model card does (and the study did not).
            sample_rate: Hz at which the audio is given to the model; None = 16000.
        """
        weights = PublishedWeights(hub, revision, checkpoint, wav2vec2.FILES, _LICENCE)
        clip, chosen = Clip(max_seconds, pad, sample_rate), Layer(layer, layer_pooling)
        super().__init__(name, weights, clip, chosen, normalize)

    def build(self, path: Path) -> Built:
        """Returns the network of a checkpoint in the format of transformers."""
        return wav2vec2.build(path, _network)


def _network(config: dict[str, Any], source: Path) -> Wav2Vec2:
    check_config(config, source, **_SUPPORTED)
    positions = StackedPositions(
        config["hidden_size"],
        config.get("conv_pos_kernel_size", _POSITION_KERNEL),
        config["num_conv_pos_embedding_groups"],
        depth=config["num_conv_pos_embeddings"],
    )
    # data2vec normalises after every convolution and layer, whatever its config.json has inherited.
    inherited = {"feat_extract_norm": "layer", "feat_proj_layer_norm": True}
    return Wav2Vec2(config | inherited, positions, norm_first=False)
