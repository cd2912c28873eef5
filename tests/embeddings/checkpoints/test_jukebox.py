"""The upstream's files: both formats read without running anything, a part at a time, and converted once."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from musicrec.embeddings.checkpoints import jukebox as checkpoint
from musicrec.embeddings.checkpoints.jukebox import ModelFile
from musicrec.embeddings.jukemir import JukeMIR
from musicrec.errors import MusicrecError

DATA = Path(__file__).parents[2] / "golden" / "jukebox"
FORMATS = ["zip", "legacy"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MUSICREC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "jukebox"


def save(content: object, path: Path, kind: str) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    return path


def tensors() -> dict[str, torch.Tensor]:
    return torch.load(DATA / "prior_level_2.pth.tar", weights_only=True)["model"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Returns a copy of the tiny checkpoint that a test may change."""
    made = tmp_path / "folder"
    made.mkdir()
    for name in ("vqvae.pth.tar", "prior_level_2.pth.tar", "config.json"):
        shutil.copyfile(DATA / name, made / name)
    return made


class Foreign:
    """Stands for a class of the upstream that is not there when the file is read."""

    def __init__(self) -> None:
        self.depth = 72


class Evil:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


class Attributes(dict):
    """The upstream keeps its hyper-parameters in such a class."""


@pytest.mark.parametrize("kind", FORMATS)
def test_tensors_are_those_of_torch_load(kind: str, tmp_path: Path) -> None:
    expected = tensors()
    file = ModelFile(save({"model": expected, "step": 3}, tmp_path / "file", kind))
    assert set(file.entries) == set(expected)
    for name in expected:
        found = file.read(name)
        assert found.dtype == expected[name].dtype
        assert torch.equal(found, expected[name])


@pytest.mark.parametrize("kind", FORMATS)
def test_shared_storages_parameters_and_prefixes(kind: str, tmp_path: Path) -> None:
    whole = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    model = {
        "module.part": whole[1:3],
        "module.whole": torch.nn.Parameter(whole),
        "turned": whole.T,
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0, 3),
    }
    file = ModelFile(save({"model": model}, tmp_path / "file", kind))
    assert set(file.entries) == {"part", "whole", "scalar", "empty"}  # what is not contiguous is not offered
    assert torch.equal(file.read("part"), whole[1:3])
    assert torch.equal(file.read("whole"), whole)
    assert file.read("scalar").item() == 7
    assert file.read("empty").shape == (0, 3)


@pytest.mark.parametrize("kind", FORMATS)
def test_foreign_classes_are_never_made_and_code_never_runs(kind: str, tmp_path: Path) -> None:
    struck = tmp_path / "struck"
    foreign = {"hps": Attributes(lr=0.1), "opt": [Foreign(), {1, 2}], "evil": Evil(struck), "array": np.arange(3)}
    path = save({**foreign, "model": {"w": torch.ones(2)}}, tmp_path / "file", kind)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    assert ModelFile(path).read("w").tolist() == [1, 1]
    assert not struck.exists()


@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_files_give_one_line(kind: str, tmp_path: Path) -> None:
    content = save({"model": {"w": torch.ones(5000)}}, tmp_path / "whole", kind).read_bytes()
    path = tmp_path / "damaged.pth.tar"
    for cut in (0, 1, 10, 60, 200, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:cut])
        with pytest.raises(MusicrecError, match=r"damaged\.pth\.tar is damaged or not a checkpoint of torch\.save"):
            ModelFile(path).read("w")


def test_flipped_bits_in_a_zip_are_found(tmp_path: Path) -> None:
    path = save({"model": {"w": torch.ones(5000)}}, tmp_path / "file", "zip")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(MusicrecError, match="Bad CRC-32"):
        ModelFile(path).read("w")


@pytest.mark.parametrize("content", [b"<html>not found</html>", b"PK\x03\x04", pickle.dumps({"model": {}})])
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(MusicrecError, match="is damaged or not a checkpoint of torch.save"):
        ModelFile(tmp_path / "file")


def test_other_zips_and_other_dictionaries_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "file", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(MusicrecError, match="is damaged or not a checkpoint of torch.save"):
        ModelFile(tmp_path / "file")
    with pytest.raises(MusicrecError, match="has no entry 'model'"):
        ModelFile(save({"weights": {}}, tmp_path / "other", "zip"))


@pytest.mark.parametrize("kind", FORMATS)
def test_same_vectors_from_both_formats(kind: str, folder: Path) -> None:
    save({"model": tensors()}, folder / "prior_level_2.pth.tar", kind)
    extractor = JukeMIR(checkpoint=str(folder))
    extractor.load()
    with np.load(DATA / "odd.npz") as golden:
        np.testing.assert_allclose(extractor.embed([golden["audio_raw"]])[0], golden["mean"], atol=5e-5)


@pytest.mark.parametrize("kind", FORMATS)
def test_layers_that_are_not_needed_are_not_read(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save({"model": tensors()}, folder / "prior_level_2.pth.tar", kind)
    read = []
    copy = ModelFile.copy

    def counted(file: ModelFile, name: str, target: io.BytesIO) -> None:
        read.append(name)
        copy(file, name, target)

    monkeypatch.setattr(ModelFile, "copy", counted)
    found = checkpoint.open_weights(folder, 2, 6)
    assert found.names == sorted(read)
    layers = {name.split(".")[3] for name in read if "_attn_mods" in name}
    assert layers == set("012345")
    assert not [name for name in read if "x_out" in name or "decoders" in name or "encoders.1" in name]


@pytest.mark.parametrize("kind", FORMATS)
def test_conversion_holds_a_piece_at_a_time(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("musicrec.embeddings.checkpoints.torch_file._PIECE", 1 << 16)
    model = {f"prior.transformer._attn_mods.{number}.ln_0.weight": torch.rand(1 << 18) for number in range(24)}
    path = save({"model": model}, tmp_path / "file", kind)
    del model
    tracemalloc.start()
    checkpoint.convert([path], tmp_path / "converted", level=2, layers=12)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 12 * 2**20 < (tmp_path / "converted").stat().st_size < 12.1 * 2**20
    assert peak < 2**20  # a single tensor has that size


def test_converted_once_by_content(folder: Path, cache: Path, tmp_path: Path) -> None:
    def conversions() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in cache.glob("*.safetensors")}

    before = sorted(folder.iterdir())
    identity = checkpoint.open_weights(folder, 2, 6).identity
    first = conversions()
    assert list(first) == [f"{identity[:16]}-6-layers.safetensors"]
    copied = shutil.copytree(folder, tmp_path / "elsewhere")
    fewer = checkpoint.open_weights(copied, 2, 4)  # they are part of it
    assert fewer.identity == identity
    assert conversions() == first
    assert not [name for name in fewer.names if "_attn_mods.4." in name]
    assert checkpoint.open_weights(folder, 2, 7).identity == identity
    assert len(conversions()) == 2
    changed = tensors()
    changed["prior.x_emb.weight"][0, 0] += 1
    save({"model": changed}, folder / "prior_level_2.pth.tar", "zip")
    other = checkpoint.open_weights(folder, 2, 6)
    assert other.identity != identity
    assert torch.equal(other.read("prior.x_emb.weight"), changed["prior.x_emb.weight"])
    assert sorted(folder.iterdir()) == before  # nothing is written beside the source


def test_hash_identifies_weights_and_sizes(folder: Path) -> None:
    def found() -> str:
        extractor = JukeMIR(checkpoint=str(folder))
        extractor.load()
        return extractor.checkpoint_hash()

    original = JukeMIR(checkpoint=str(DATA))
    original.load()
    assert found() == original.checkpoint_hash()
    assert len(found()) == 64
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"layer": 6', '"layer": 5'))
    assert found() != original.checkpoint_hash()


@pytest.mark.parametrize("mapped", [False, True])
def test_without_a_cache_the_files_are_read_themselves(
    mapped: bool, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = checkpoint.open_weights(folder, 2, 6, mapped)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MUSICREC_CACHE", str(tmp_path / "file" / "cache"))
    found = checkpoint.open_weights(folder, 2, 6, mapped)
    assert found.identity == expected.identity
    assert "cannot hold the converted weights" in caplog.text
    assert found.names == expected.names
    assert all(torch.equal(found.read(name), expected.read(name)) for name in expected.names)


def test_full_disk_leaves_nothing_behind(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*unused: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ModelFile, "copy", full)
    assert len(checkpoint.open_weights(folder, 2, 6).names) > 60
    assert not list(cache.glob("*safetensors*"))
