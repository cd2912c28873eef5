"""Checkpoints in several files with an index, as the hub has them for large models."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import safetensors.torch
import torch
from transformers import WavLMConfig, WavLMModel

from musicrec.embeddings.checkpoints import hub, load, transformers_model
from musicrec.embeddings.checkpoints.shards import shard_files
from musicrec.errors import MusicrecError

NAMES = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
STATE = {"a": torch.ones(2), "b": torch.zeros(3), "c": torch.full((1,), 7.0)}


def write(folder: Path, state: dict[str, torch.Tensor]) -> Path:
    """Writes tensors in two files, and returns the index."""
    names = list(state)
    files = {NAMES[0]: names[:1], NAMES[1]: names[1:]}
    for file, some in files.items():
        safetensors.torch.save_file({name: state[name].contiguous() for name in some}, folder / file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: file for file, some in files.items() for name in some}}))
    return index


def test_all_files_are_read_and_hashed(tmp_path: Path) -> None:
    index = write(tmp_path, STATE)
    assert shard_files(index) == [tmp_path / name for name in NAMES]
    assert shard_files(tmp_path / NAMES[0]) == [tmp_path / NAMES[0]]
    read = load.read(index)
    assert read.keys() == STATE.keys()
    assert all(torch.equal(read[name], value) for name, value in STATE.items())
    first = load.sha256(index)
    write(tmp_path, STATE | {"c": torch.full((1,), 8.0)})
    assert load.sha256(index) != first


def test_a_model_of_transformers_in_several_files(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {
        "hidden_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 24,
    }
    config = WavLMConfig(**sizes, conv_dim=[8] * 7, num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2)
    model = WavLMModel(config).eval()
    config.save_pretrained(tmp_path)
    write(tmp_path, dict(model.state_dict()))
    read, weights = transformers_model.read_model(tmp_path)
    assert weights.name == "model.safetensors.index.json"
    found = read.state_dict()
    assert all(torch.equal(found[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    "content", ["", "[]", '{"weight_map": {}}', '{"weight_map": {"a": "../b"}}', '{"weight_map": 1}']
)
def test_damaged_indices_give_one_line(tmp_path: Path, content: str) -> None:
    index = write(tmp_path, STATE)
    index.write_text(content)
    with pytest.raises(MusicrecError, match="does not list the files of a checkpoint; fetch it again"):
        load.read(index)


def test_missing_files_are_named(tmp_path: Path) -> None:
    index = write(tmp_path, STATE)
    (tmp_path / NAMES[1]).unlink()
    with pytest.raises(MusicrecError, match="lists 2 files, but model-00002-of-00002.safetensors is missing"):
        load.read(index)


def test_the_hub_s_files_are_fetched_after_their_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote, local = tmp_path / "remote", tmp_path / "local"
    remote.mkdir()
    local.mkdir()
    write(remote, STATE)
    asked: list[list[str]] = []

    def snapshot_download(
        repository: str, revision: str, allow_patterns: list[str] | None = None, local_files_only: bool = False
    ) -> str:
        if local_files_only:
            return str(local)
        assert allow_patterns is not None
        asked.append(allow_patterns)
        for name in allow_patterns:
            (local / name).write_bytes((remote / name).read_bytes())
        return str(local)

    class Api:
        def model_info(self, *_: Any, **__: Any) -> SimpleNamespace:
            return SimpleNamespace(siblings=[SimpleNamespace(rfilename=file.name) for file in remote.iterdir()])

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(hub, "HfApi", Api)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    for _ in range(2):  # the second time everything is in the cache
        assert hub.fetch("somebody/model", "main", (transformers_model.WEIGHTS,)) == local
    assert asked == [["model.safetensors.index.json"], NAMES]
    (local / NAMES[1]).unlink()
    hub.fetch("somebody/model", "main", (transformers_model.WEIGHTS,))
    assert (local / NAMES[1]).is_file()
