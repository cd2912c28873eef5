"""Tiny random models of transformers in the files of the hub."""

from __future__ import annotations

from pathlib import Path

import transformers as tf


def save_clap(folder: Path) -> None:
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    audio = {"patch_embeds_hidden_size": 16, "depths": [1, 1], "num_attention_heads": [2, 2], "spec_size": 64}
    audio |= {"hidden_size": 32, "num_mel_bins": 16, "window_size": 4}
    config = tf.ClapConfig(text_config=text | {"vocab_size": 30}, audio_config=audio, projection_dim=12)
    tf.ClapModel(config).save_pretrained(folder)
    tf.ClapFeatureExtractor(feature_size=16, max_length_s=2, truncation="rand_trunc").save_pretrained(folder)


def save_wavlm(folder: Path) -> None:
    config = tf.WavLMConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        conv_dim=[8] * 7,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
    )
    tf.WavLMModel(config).save_pretrained(folder)
    tf.Wav2Vec2FeatureExtractor().save_pretrained(folder)
