"""Every pretrained model refuses every kind of bad checkpoint with one line that names what is wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from musicrec.embeddings.clap import CLAP
from musicrec.embeddings.hf import HuggingFace
from musicrec.embeddings.mule import MULE
from musicrec.embeddings.muq import MuQ
from musicrec.embeddings.muq_mulan import MuQMuLan
from musicrec.embeddings.pretrained.base import Pretrained
from musicrec.errors import MusicrecError
from tests.embeddings.golden_cases import DATA, edit
from tests.embeddings.tiny_models import save_clap, save_wavlm

Make = Callable[..., Pretrained]
# Class and a tensor that it needs.
MODELS: dict[str, tuple[Make, str]] = {
    "muq": (MuQ, "model.conformer.layers.1.ffn1.output_dense.weight"),
    "muq_mulan": (MuQMuLan, "mulan.audio.transformer.layers.0.0.to_q.weight"),
    "mule": (MULE, "backbone.slow_stages.2.blocks.5.se.fc2.weight"),
    "clap": (CLAP, "audio_projection.linear1.weight"),
    "hf": (HuggingFace, "encoder.layers.1.attention.k_proj.weight"),
}


@pytest.fixture(params=MODELS)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Make, Path, str]:
    """Returns a model's class, the folder of a good checkpoint, and a tensor that it needs."""
    make, tensor = MODELS[request.param]
    folder = tmp_path / "model" / "checkpoint"
    if request.param in ("clap", "hf"):
        folder.mkdir(parents=True)
        (save_clap if request.param == "clap" else save_wavlm)(folder)
    else:
        shutil.copytree(DATA / request.param, folder.parent)
    make(checkpoint=str(folder)).load()
    return make, folder, tensor


def complaint(make: Make, folder: Path) -> str:
    with pytest.raises(MusicrecError) as error:
        make(checkpoint=str(folder)).load()
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value)
    return str(error.value)


def plain(name: str) -> str:
    """Returns the end of a tensor's name that every model's message has."""
    return name.removeprefix("model.")


def test_a_missing_tensor_is_named(case: tuple[Make, Path, str]) -> None:
    make, folder, tensor = case
    edit(folder, {tensor: None})
    assert f"does not fit this model: missing {plain(tensor)}" in complaint(make, folder)


def test_wrong_sizes_are_named(case: tuple[Make, Path, str]) -> None:
    make, folder, tensor = case
    edit(folder, {tensor: torch.ones(3, 4, 1, 1)})
    message = complaint(make, folder)
    # MuQ-MuLan reads the size from this tensor, so the others do not fit it.
    wrong = plain(tensor) if make is not MuQMuLan else tensor.replace("to_q", "to_kv")
    assert "does not fit this model: wrong shapes: " in message and wrong in message


@pytest.mark.parametrize("other", ["mert/v1_330m/checkpoint", "muq/checkpoint"])
def test_another_model_s_file_is_refused(case: tuple[Make, Path, str], other: str) -> None:
    make, folder, _ = case
    if make is MuQ and other.startswith("muq"):
        other = "mule/checkpoint"
    shutil.copyfile(DATA / other / "model.safetensors", folder / "model.safetensors")
    assert "does not fit this model: " in complaint(make, folder)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.6, 0.99])
def test_a_truncated_download_is_called_damaged(case: tuple[Make, Path, str], share: float) -> None:
    make, folder, _ = case
    path = folder / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: round(share * len(content))])
    assert complaint(make, folder).endswith("fetch it again")
    state = {"encoder.weight": torch.ones(1000)}
    path.unlink()
    torch.save(state, folder / "pytorch_model.bin")
    cut = (folder / "pytorch_model.bin").read_bytes()
    (folder / "pytorch_model.bin").write_bytes(cut[: round(share * len(cut))])
    message = complaint(make, folder)
    assert message.endswith("fetch it again") or "has no model.safetensors" in message  # MULE has no other format


def test_without_network_the_command_is_named(case: tuple[Make, Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    make, *_ = case
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MusicrecError, match="cannot fetch nobody/model .*HF_HUB_OFFLINE is set.* hf download") as error:
        make(hub="nobody/model").load()
    assert "\n" not in str(error.value)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("musicrec.embeddings.checkpoints.hub.HfApi", Unreachable)
    with pytest.raises(MusicrecError, match=r"cannot fetch nobody/model .*\(no route to host\)") as error:
        make(hub="nobody/model").load()
    assert "\n" not in str(error.value)


class Unreachable:
    def model_info(self, *_: object, **__: object) -> None:
        raise OSError("no route to host\nand more")


def test_a_folder_without_weights_names_them(case: tuple[Make, Path, str]) -> None:
    make, folder, _ = case
    (folder / "model.safetensors").unlink()
    assert "has no model.safetensors" in complaint(make, folder)
    with pytest.raises(MusicrecError, match="does not exist; null = https://huggingface.co/"):
        make(checkpoint=str(folder / "nowhere")).load()


def test_the_tensors_are_those_of_the_files() -> None:
    for option in ("muq", "muq_mulan", "mule"):
        state = safetensors.torch.load_file(DATA / option / "checkpoint" / "model.safetensors")
        assert MODELS[option][1] in state
