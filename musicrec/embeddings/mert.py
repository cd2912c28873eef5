"""MERT: a HuBERT for music, trained to predict codes of EnCodec and constant-Q spectra at masked positions.

Li, Yuan, Zhang, Ma, et al.: "MERT: Acoustic Music Understanding Model with Large-Scale Self-supervised Training",
ICLR 2024. The published code adds nothing to HuBERT in the published configurations (deepnorm and the constant-Q input
are off), so the network is that of `networks/wav2vec2.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from musicrec.audio.clip import Clip
from musicrec.embeddings.checkpoints.load import check_config
from musicrec.embeddings.checkpoints.published import PublishedWeights
from musicrec.embeddings.networks.wav2vec2 import ConvolutionalPositions, Wav2Vec2
from musicrec.embeddings.pretrained import wav2vec2
from musicrec.embeddings.pretrained.base import Built, TimeMean
from musicrec.embeddings.pretrained.layer import Layer

_LICENCE = "CC BY-NC 4.0 (not for commercial use)"
# Other values would need further tensors or other formulas; the rest of config.json is sizes or training only.
_SUPPORTED: dict[str, Any] = {
    "model_type": ("mert_model", "hubert"),
    "deepnorm": False,
    "feature_extractor_cqt": False,
    "conv_pos_batch_norm": False,
    "feat_extract_norm": ("group", "layer"),
    "feat_extract_activation": "gelu",
    "hidden_act": "gelu",
    "adapter_attn_dim": None,
}


class MERT(TimeMean):
    """The time mean of a layer of MERT, by default the last state: 1024-d (330M) or 768-d (95M).

    The first convolution is normalised over the whole clip, padding included, so padding changes every frame: pad to
    `max_seconds`, as the study did.
    """

    native_rate = 24_000
    least_samples = wav2vec2.LEAST_SAMPLES

    def __init__(
        self,
        name: str = "mert",
        hub: str = "m-a-p/MERT-v1-330M",
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
            hub: repository of the published weights; m-a-p/MERT-v1-95M is the smaller model.
            revision: commit, branch or tag of it.
            checkpoint: instead of these: folder with config.json and model.safetensors or pytorch_model.bin.
            max_seconds: how much of a track is used, from its start; None = all.
            pad: zero-pad shorter tracks to `max_seconds`.
            layer: None = the last state; 0 = what enters the first layer, 1 = the output of the first, ...; "all".
            layer_pooling: what "all" becomes: "concat" or "mean".
            normalize: give each clip mean 0 and variance 1, as the hub's processor does (and the study did not).
            sample_rate: Hz at which the audio is given to the model; None = 24000.
        """
        weights = PublishedWeights(hub, revision, checkpoint, wav2vec2.FILES, _LICENCE)
        clip, chosen = Clip(max_seconds, pad, sample_rate), Layer(layer, layer_pooling)
        super().__init__(name, weights, clip, chosen, normalize)

    def build(self, path: Path) -> Built:
        """Returns the network of a checkpoint in the format of transformers."""
        return wav2vec2.build(path, _network)


def _network(config: dict[str, Any], source: Path) -> Wav2Vec2:
    check_config(config, source, ("do_stable_layer_norm", "feat_extract_norm"), **_SUPPORTED)
    kernel, groups = config["num_conv_pos_embeddings"], config["num_conv_pos_embedding_groups"]
    positions = ConvolutionalPositions(config["hidden_size"], kernel, groups)
    # Both values load the same tensors without complaint; 330M has true, 95M false.
    return Wav2Vec2(config, positions, norm_first=config["do_stable_layer_norm"])
