"""Comparison of wav2vec 2.0-like embeddings with reference outputs, through the code that extract.py uses."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from musicrec.embeddings.networks.wav2vec2 import Wav2Vec2
from musicrec.embeddings.pretrained.base import TimeMean

# Which licences were shown is noted there, not in the cache of whoever runs the tests.
os.environ["MUSICREC_CACHE"] = tempfile.mkdtemp(prefix="musicrec-tests-")
DATA = Path(__file__).parents[1] / "golden"


def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


def distance(one: np.ndarray, other: np.ndarray) -> float:
    assert one.shape == other.shape
    return float(np.abs(one - other).max())


def batch(inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Returns a, b and c, zero-padded to the longest."""
    length = max(len(inputs[case]) for case in "abc")
    return [np.pad(inputs[case], (0, length - len(inputs[case]))) for case in "abc"]


def edit(checkpoint: Path, change: dict[str, torch.Tensor | None]) -> None:
    """Replaces, adds or (None) removes tensors of a folder's `model.safetensors`."""
    path = checkpoint / "model.safetensors"
    state = safetensors.torch.load_file(path) | change
    safetensors.torch.save_file({name: value for name, value in state.items() if value is not None}, path)


def masked_states(model: TimeMean, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Returns the states of `batch` when padding is not attended to, (layers + 1, batch, frames, dim)."""
    assert isinstance(model._net, Wav2Vec2)
    with torch.inference_mode():
        features = model._net.features(torch.from_numpy(np.stack(batch(inputs))))
        frames = torch.tensor([(len(inputs[case]) - 400) // 320 + 1 for case in "abc"])
        attended = torch.arange(features.shape[1]) < frames[:, None]
        return torch.stack(list(model._net.encode(features, attended))).numpy()
