from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from musicrec.embeddings.checkpoints.safetensors_header import safetensors_header


@pytest.mark.parametrize("multiple", [8, 64])
def test_the_package_reads_what_it_describes(tmp_path: Path, multiple: int) -> None:
    tensors = {"b": torch.arange(6.0).view(2, 3), "a": torch.ones(3, dtype=torch.float16)}
    kinds = {torch.float32: "F32", torch.float16: "F16"}
    entries = [(name, kinds[value.dtype], value.shape, value.nbytes) for name, value in tensors.items()]
    header = safetensors_header(entries, {"source": "here"}, multiple)
    assert len(header) % multiple == 0
    path = tmp_path / "model.safetensors"
    path.write_bytes(header + b"".join(value.numpy().tobytes() for value in tensors.values()))
    read = safetensors.torch.load_file(path)
    assert sorted(read) == ["a", "b"]
    for name, value in tensors.items():
        assert torch.equal(read[name], value)
    with safe_open(path, framework="pt") as content:
        assert content.metadata() == {"source": "here"}
