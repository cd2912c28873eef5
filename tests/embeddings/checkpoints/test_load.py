"""Checkpoint files and the hub, without network."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from huggingface_hub.errors import LocalEntryNotFoundError

from musicrec.embeddings.checkpoints import hub
from musicrec.embeddings.checkpoints import load as checkpoint
from musicrec.embeddings.mert import MERT
from musicrec.errors import MusicrecError
from tests.embeddings.golden_cases import DATA

TINY = DATA / "mert" / "v1_330m" / "checkpoint"
NEEDED = (("config.json",), ("model.safetensors", "pytorch_model.bin"))


class Malicious:
    """What a file may hold: something that runs when it is read."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("legacy", [False, True])
def test_objects_beside_the_tensors_are_left_out_and_not_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, legacy: bool
) -> None:
    weights = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.nn.Parameter(torch.ones(2))}
    content = {
        "state_dict": weights,
        "hyper_parameters": SimpleNamespace(rate=0.1),
        "callbacks": [Malicious(tmp_path / "ran"), {1, 2}],
        "epoch": 3,
    }
    torch.save(content, tmp_path / "model.pt", _use_new_zipfile_serialization=not legacy)
    with caplog.at_level(logging.INFO):
        found = checkpoint.read(tmp_path / "model.pt")
    assert not (tmp_path / "ran").exists()
    assert "holds objects besides its tensors" in caplog.text
    assert found["epoch"] == 3
    state = checkpoint.tensors(found, tmp_path / "model.pt")
    assert list(state) == list(weights)
    for name, value in weights.items():
        torch.testing.assert_close(state[name], value.detach())


@pytest.mark.parametrize("name", ["model.safetensors", "model.pt"])
@pytest.mark.parametrize("content", [b"", b"not a checkpoint at all", b"version https://git-lfs.github.com/spec/v1\n"])
def test_damaged_files_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(MusicrecError, match=f"{name} is damaged or not a checkpoint") as error:
        checkpoint.read(path)
    assert "\n" not in str(error.value)


def test_truncated_files_are_named(tmp_path: Path) -> None:
    whole = {"a": torch.zeros(1000)}
    torch.save(whole, tmp_path / "model.pt")
    safetensors.torch.save_file(whole, tmp_path / "model.safetensors")
    for path in (tmp_path / "model.pt", tmp_path / "model.safetensors"):
        path.write_bytes(path.read_bytes()[:2000])
        with pytest.raises(MusicrecError, match="is damaged"):
            checkpoint.read(path)


def test_what_is_no_state_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save([1, 2], path)
    with pytest.raises(MusicrecError, match="holds a list, not a dictionary"):
        checkpoint.read(path)
    with pytest.raises(MusicrecError, match="these are not tensors: epoch"):
        checkpoint.tensors({"a": torch.zeros(1), "epoch": 1}, path)
    with pytest.raises(MusicrecError, match="instead of tensors it has state_dict"):
        checkpoint.tensors({"state_dict": {}}, path)


@pytest.mark.parametrize("spelling", ["original", "old"])
@pytest.mark.parametrize("axis", [0, 2])
def test_weight_norms_are_multiplied_out(spelling: str, axis: int) -> None:
    layer = torch.nn.utils.parametrizations.weight_norm(torch.nn.Conv1d(4, 6, 5), dim=axis)
    with torch.no_grad():
        layer.parametrizations.weight.original0.uniform_(0.5, 2)
    state = {f"conv.{name}": value.detach() for name, value in layer.state_dict().items()}
    if spelling == "old":
        for number, old in (("0", "weight_g"), ("1", "weight_v")):
            state[f"conv.{old}"] = state.pop(f"conv.parametrizations.weight.original{number}")
    folded = checkpoint.fold_weight_norms(state)
    assert sorted(folded) == ["conv.bias", "conv.weight"]
    torch.testing.assert_close(folded["conv.weight"], layer.weight.detach())


def test_half_precision_checkpoints_become_float32() -> None:
    state = checkpoint.tensors({"a": torch.ones(2, dtype=torch.float16), "n": torch.tensor(3)}, Path("x"))
    assert (state["a"].dtype, state["n"].dtype) == (torch.float32, torch.int64)


def test_fill_names_what_does_not_fit() -> None:
    net = torch.nn.Linear(2, 3)
    with pytest.raises(MusicrecError) as error:
        checkpoint.fill(net, {"weight": torch.zeros(3, 4), "more": torch.zeros(1)}, Path("x.pt"))
    assert str(error.value) == (
        "x.pt does not fit this model: missing bias; unexpected more; wrong shapes: weight (3, 4) instead of (3, 2)"
    )
    many = torch.nn.Sequential(*(torch.nn.Linear(1, 1) for _ in range(10)))
    with pytest.raises(MusicrecError, match=r"missing 0.weight, 0.bias, .*, 3.bias and 12 more$"):
        checkpoint.fill(many, {}, Path("x.pt"))
    checkpoint.fill(
        net, {"weight": torch.ones(3, 2), "bias": torch.ones(3), "head.x": torch.ones(1)}, Path("x"), ["head."]
    )
    assert float(net(torch.ones(1, 2)).sum()) == 9.0
    assert not net.weight.requires_grad


def test_find_file(tmp_path: Path) -> None:
    for name in ("a_fma.pt", "a_msd.pt", "config.json"):
        (tmp_path / name).write_text("")
    assert checkpoint.find_file(tmp_path, "*.safetensors", "*.pt", prefer="msd").name == "a_msd.pt"
    assert checkpoint.find_file(tmp_path / "a_fma.pt", "config.json") == tmp_path / "config.json"
    with pytest.raises(MusicrecError, match=r"has several \*.pt \(a_fma.pt, a_msd.pt\); give one of them"):
        checkpoint.find_file(tmp_path, "*.pt", prefer="other")
    with pytest.raises(MusicrecError, match="has no model.safetensors or pytorch_model.bin, as the upstream"):
        checkpoint.find_file(tmp_path, "model.safetensors", "pytorch_model.bin")


def test_config(tmp_path: Path) -> None:
    assert checkpoint.read_config(tmp_path / "config.json") == {}
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(MusicrecError, match="must hold an object"):
        checkpoint.read_config(tmp_path / "config.json")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(MusicrecError, match="is not JSON"):
        checkpoint.read_config(tmp_path / "config.json")


class Hub:
    """Stands for huggingface_hub; counts what it is asked."""

    def __init__(self, root: Path, files: list[str], monkeypatch: pytest.MonkeyPatch, offline: bool = False):
        self.root, self.files = root, files
        self.asked: list[tuple[str, str]] = []
        monkeypatch.setattr(hub, "HfApi", lambda: self)
        monkeypatch.setattr(hub, "snapshot_download", self.snapshot)
        monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", offline)

    def snapshot(
        self, repository: str, revision: str, local_files_only: bool = False, allow_patterns: list[str] | None = None
    ) -> str:
        if not local_files_only:
            assert allow_patterns is not None
            for name in allow_patterns:
                self.download(name)
        elif not self.root.exists():
            raise LocalEntryNotFoundError("nothing there")
        return str(self.root)

    def model_info(self, repository: str, revision: str, timeout: float) -> Any:
        self.asked.append((repository, revision))
        if not self.files:
            raise ConnectionError("\n[Errno -2] Name or service not known\nmore")
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in self.files])

    def download(self, name: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((TINY / path.name).read_bytes() if (TINY / path.name).exists() else b"")


def test_hub_fetches_once_what_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = ["README.md", "config.json", "pytorch_model.bin", "model.safetensors"]
    fake = Hub(tmp_path / "cache", listed, monkeypatch)
    for _ in range(2):
        assert hub.fetch("m-a-p/MERT-v1-330M", "abc", NEEDED) == tmp_path / "cache"
    assert fake.asked == [("m-a-p/MERT-v1-330M", "abc")]
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["config.json", "model.safetensors"]
    loaded = MERT()
    loaded.load()
    assert loaded.embed([np.zeros(1000, dtype=np.float32)]).shape == (1, 48)


def test_hub_files_in_a_folder_and_files_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Hub(tmp_path / "cache", ["models/ec-ec-base.pt", "models/ec-ec-large.pt"], monkeypatch)
    assert hub.fetch("lpepino/encodecmae-v2", "main", (("ec-ec-base.pt",),)) == tmp_path / "cache" / "models"
    assert hub.fetch("lpepino/encodecmae-v2", "main", (("ec-ec-base.pt",),)) == tmp_path / "cache" / "models"
    with pytest.raises(MusicrecError, match="https://huggingface.co/lpepino/encodecmae-v2 has no ec-ec-tiny.pt"):
        hub.fetch("lpepino/encodecmae-v2", "main", (("ec-ec-tiny.pt",),))


@pytest.mark.parametrize(
    ("offline", "reason"), [(False, "[Errno -2] Name or service not known"), (True, "HF_HUB_OFFLINE is set")]
)
def test_without_network_one_line_tells_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: bool, reason: str
) -> None:
    fake = Hub(tmp_path / "cache", [], monkeypatch, offline)
    with pytest.raises(MusicrecError) as error:
        MERT(revision="abc").load()
    assert str(error.value) == (
        f"cannot fetch m-a-p/MERT-v1-330M from the Hugging Face hub ({reason}): where there is a network, run: "
        "hf download m-a-p/MERT-v1-330M --revision abc --include config.json --include model.safetensors "
        "--include pytorch_model.bin --local-dir MERT-v1-330M and here give "
        "embedding.checkpoint=/path/to/MERT-v1-330M"
    )
    assert len(fake.asked) == (0 if offline else 1)


def test_licence_is_shown_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MUSICREC_CACHE", str(tmp_path))
    for _ in range(2):
        with caplog.at_level(logging.INFO):
            MERT(checkpoint=str(TINY)).load()
    assert caplog.text.count("the weights of m-a-p/MERT-v1-330M are under CC BY-NC 4.0") == 1
