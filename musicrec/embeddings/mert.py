"""MERT: a HuBERT of music, trained to predict codes of EnCodec and constant-Q spectra at masked places.

Li, Yuan, Zhang, Ma, et al.: "MERT: Acoustic Music Understanding Model with Large-Scale Self-supervised Training",
ICLR 2024. The published code adds nothing to HuBERT in the published configurations (deepnorm and the constant-Q input
are off), so the network is that of `wav2vec2_net`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from musicrec.embeddings.checkpoints.load import demand
from musicrec.embeddings.networks.wav2vec2 import ConvolutionalPositions, Wav2Vec2
from musicrec.embeddings.pretrained.wav2vec2 import Wav2Vec2Embedding

# What other values would need further tensors or other formulas; the rest of config.json is sizes or training only.
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


class MERT(Wav2Vec2Embedding):
    """The time mean of a layer of MERT, by default the last state: 1024-d (330M) or 768-d (95M).

    The first convolution is normalised over the whole clip, padding included, so padding changes every frame: pad to
    `max_seconds`, as the study did.
    """

    native_rate = 24_000
    licence = "CC BY-NC 4.0 (not for commercial use)"

    def __init__(self, name: str = "mert", hub: str = "m-a-p/MERT-v1-330M", **common: Any):
        """
        Args:
            name: names the files.
            hub: repository of the published weights; m-a-p/MERT-v1-95M is the smaller one.
            common: the keys of every `Wav2Vec2Embedding`.
        """
        super().__init__(name, hub, **common)

    def network(self, config: dict[str, Any], source: Path) -> Wav2Vec2:
        demand(config, source, ("do_stable_layer_norm", "feat_extract_norm"), **_SUPPORTED)
        kernel, groups = config["num_conv_pos_embeddings"], config["num_conv_pos_embedding_groups"]
        positions = ConvolutionalPositions(config["hidden_size"], kernel, groups)
        # Both values load the same tensors without complaint; 330M has true, 95M false.
        return Wav2Vec2(config, positions, norm_first=config["do_stable_layer_norm"])
