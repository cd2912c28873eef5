"""docs/adding-an-embedding.md: its class and its YAML work as they stand there, against transformers."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import yaml
from hydra.utils import instantiate
from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining, Wav2Vec2Model

import tests.embeddings.golden_cases  # noqa: F401  (keeps the licence notes out of the user's cache)
from musicrec.config import config_dir


def blocks() -> dict[str, str]:
    """Returns the blocks of code in the document by language."""
    text = (config_dir().parent / "docs" / "adding-an-embedding.md").read_text(encoding="utf-8")
    return dict(re.findall(r"```(\w+)\n(.*?)```", text, flags=re.DOTALL))


@pytest.mark.parametrize("pretraining", [False, True])
def test_the_example_gives_transformers_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pretraining: bool
) -> None:
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, conv_dim=[16] * 7
    )
    saved = (Wav2Vec2ForPreTraining if pretraining else Wav2Vec2Model)(config).eval()
    saved.save_pretrained(tmp_path)
    net = saved.wav2vec2 if pretraining else saved

    module = ModuleType("musicrec.embeddings.wav2vec2_speech")
    exec(blocks()["python"], vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    settings = yaml.safe_load(blocks()["yaml"])
    assert {"checkpoint", "max_seconds", "pad", "layer", "sample_rate"} <= set(settings)
    embedding = instantiate(settings | {"checkpoint": str(tmp_path), "max_seconds": 1})
    embedding.load()
    waves = [embedding.prepare(np.random.default_rng(seed).uniform(-0.5, 0.5, 16_000)) for seed in range(2)]
    with torch.inference_mode():
        expected = net(torch.from_numpy(np.stack(waves))).last_hidden_state.mean(dim=1)
    np.testing.assert_allclose(embedding.embed(waves), expected.numpy(), rtol=0, atol=1e-5)
