"""Music2Vec: data2vec-audio trained on music instead of speech.

Li, Yuan, Zhang, Ma, Lin, Chen, Ragni, Benetos, et al.: "MAP-Music2Vec: A Simple and Effective Baseline for
Self-Supervised Music Audio Representation Learning", ISMIR late-breaking demo 2022; Baevski, Hsu, Xu, Babu, Gu, Auli:
"data2vec", ICML 2022.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from musicrec.embeddings.checkpoints.load import demand
from musicrec.embeddings.networks.wav2vec2 import StackedPositions, Wav2Vec2
from musicrec.embeddings.pretrained.wav2vec2 import Wav2Vec2Embedding

_SUPPORTED: dict[str, Any] = {
    "model_type": "data2vec-audio",
    "add_adapter": False,
    "feat_extract_activation": "gelu",
    "hidden_act": "gelu",
}
# Of transformers' class, and of the model published as facebook/data2vec-audio-base.
_POSITION_KERNEL = 19


class Music2Vec(Wav2Vec2Embedding):
    """The time mean of a layer of Music2Vec, by default the last state, 768-d.

    The model was trained at 16 kHz. The study of 2024 fed it audio at 24 kHz: `sample_rate=24000` does so too.
    """

    native_rate = 16_000
    licence = "CC BY-NC 4.0 (not for commercial use)"

    def __init__(self, name: str = "music2vec", hub: str = "m-a-p/music2vec-v1", **common: Any):
        """
        Args:
            name: names the files.
            hub: repository of the published weights.
            common: the keys of every `Wav2Vec2Embedding`.
        """
        super().__init__(name, hub, **common)

    def network(self, config: dict[str, Any], source: Path) -> Wav2Vec2:
        demand(config, source, **_SUPPORTED)
        positions = StackedPositions(
            config["hidden_size"],
            config.get("conv_pos_kernel_size", _POSITION_KERNEL),
            config["num_conv_pos_embedding_groups"],
            depth=config["num_conv_pos_embeddings"],
        )
        # data2vec normalises after every convolution and layer, whatever its config.json has inherited.
        inherited = {"feat_extract_norm": "layer", "feat_proj_layer_norm": True}
        return Wav2Vec2(config | inherited, positions, norm_first=False)
