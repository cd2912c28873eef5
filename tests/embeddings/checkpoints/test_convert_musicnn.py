"""The checkpoint reader on small checkpoints written here by what the format's documents say."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load

from musicrec.embeddings.checkpoints import convert_musicnn
from musicrec.embeddings.checkpoints.convert_musicnn import convert, crc32c, masked_crc32c, read_checkpoint
from musicrec.embeddings.musicnn import MusicNN
from musicrec.errors import MusicrecError


def varint(number: int) -> bytes:
    content = b""
    while number > 0x7F:
        content += bytes([number & 0x7F | 0x80])
        number >>= 7
    return content + bytes([number])


def block(entries: list[tuple[bytes, bytes]], share: bool = True) -> bytes:
    """Returns a LevelDB block with its trailer; keys share prefixes as the real writer's do."""
    content, previous = b"", b""
    for key, value in entries:
        shared = 0
        while share and shared < min(len(key), len(previous)) and key[shared] == previous[shared]:
            shared += 1
        content += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        previous = key
    content += struct.pack("<II", 0, 1) + b"\0"
    return content + struct.pack("<I", masked_crc32c(content))


def entry(shape: tuple[int, ...], offset: int, raw: bytes, dtype: int = 1) -> bytes:
    dims = b"".join(b"\x12" + varint(len(varint(size)) + 1) + b"\x08" + varint(size) for size in shape)
    message = b"\x08" + varint(dtype) + b"\x12" + varint(len(dims)) + dims
    if offset:  # zero is not stored
        message += b"\x20" + varint(offset)
    return message + b"\x28" + varint(len(raw)) + b"\x35" + struct.pack("<I", masked_crc32c(raw))


def checkpoint(variables: dict[str, np.ndarray], header: bytes = b"\x08\x01") -> tuple[bytes, bytes]:
    """Returns the index and the data of a checkpoint; the index has two data blocks."""
    data = b""
    entries = [(b"", header)]
    for name in sorted(variables):
        raw = variables[name].astype("<f4").tobytes()
        entries.append((name.encode(), entry(variables[name].shape, len(data), raw)))
        data += raw
    index, handles = b"", []
    for part in (entries[: len(entries) // 2], entries[len(entries) // 2 :]):
        if part:
            content = block(part)
            handles.append((part[-1][0], varint(len(index)) + varint(len(content) - 5)))
            index += content
    footer = b""
    for content in (block([]), block(handles, share=False)):
        footer += varint(len(index)) + varint(len(content) - 5)
        index += content
    return index + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57), data


def tiny_musicnn() -> dict[str, np.ndarray]:
    """Returns the variables of a MusicNN with two filters a branch, by TensorFlow's names, and an optimiser slot."""
    rng = np.random.default_rng(0)
    shapes = {
        "": (7, 38, 1, 2),
        "_1": (7, 67, 1, 2),
        "_2": (128, 1, 1, 2),
        "_3": (64, 1, 1, 2),
        "_4": (32, 1, 1, 2),
        "_5": (7, 10, 1, 3),
        "_6": (7, 3, 1, 3),
        "_7": (7, 3, 1, 3),
    }
    variables: dict[str, np.ndarray] = {}
    norms = [1, 2, 2, 2, 2, 2, 3, 3, 3, 38, 4]
    for suffix, shape in shapes.items():
        variables[f"conv2d{suffix}/kernel"] = rng.standard_normal(shape)
        variables[f"conv2d{suffix}/bias"] = rng.standard_normal(shape[-1])
    for number, size in enumerate(norms):
        for part in ("gamma", "beta", "moving_mean", "moving_variance"):
            name = f"batch_normalization{f'_{number}' if number else ''}/{part}"
            variables[name] = rng.uniform(0.5, 1.5, size)
    for suffix, inputs, outputs in (("", 38, 4), ("_1", 4, 5)):
        variables[f"dense{suffix}/kernel"] = rng.standard_normal((inputs, outputs))
        variables[f"dense{suffix}/bias"] = rng.standard_normal(outputs)
    variables["conv2d/kernel/Adam"] = rng.standard_normal((7, 38, 1, 2))
    variables["beta1_power"] = np.array(0.9)
    return variables


def write_folder(folder: Path, variables: dict[str, np.ndarray]) -> Path:
    index, data = checkpoint(variables)
    folder.mkdir(parents=True)
    (folder / ".index").write_bytes(index)
    (folder / ".data-00000-of-00001").write_bytes(data)
    return folder


def test_crc32c_known_answers() -> None:
    # RFC 3720, B.4, and the check value of the CRC catalogue.
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43


def test_variables_come_back_bit_by_bit() -> None:
    variables = {
        "dense/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
        "dense/bias": np.array([1.5, -0.0, np.float32(1e-40)], dtype=np.float32),
        "conv2d_4/bias": np.ones(300, dtype=np.float32),
    }
    read = read_checkpoint(*checkpoint(variables))
    assert set(read) == set(variables)
    for name, values in variables.items():
        assert read[name].tobytes() == values.tobytes()
        assert read[name].shape == values.shape


def test_conversion_renames_and_transposes(tmp_path: Path) -> None:
    variables = tiny_musicnn()
    tensors = load(convert(write_folder(tmp_path / "MSD_musicnn", variables), "msd"))
    assert len(tensors) == 64
    kernels = {
        "frontend.timbral1.conv.weight": variables["conv2d/kernel"].transpose(3, 2, 0, 1),
        "frontend.temporal3.conv.weight": variables["conv2d_4/kernel"].transpose(3, 2, 0, 1),
        "midend.layer1.conv.weight": variables["conv2d_5/kernel"][:, :, 0].transpose(2, 1, 0),
        "backend.dense.weight": variables["dense/kernel"].T,
        "backend.output.weight": variables["dense_1/kernel"].T,
        "input_norm.running_var": variables["batch_normalization/moving_variance"],
        "midend.layer3.norm.weight": variables["batch_normalization_8/gamma"],
        "backend.pool_norm.bias": variables["batch_normalization_9/beta"],
        "backend.dense_norm.running_mean": variables["batch_normalization_10/moving_mean"],
    }
    for name, values in kernels.items():
        np.testing.assert_array_equal(tensors[name], values.astype(np.float32), err_msg=name)


def test_wheel_folder_and_model_folder_give_the_same_bytes(tmp_path: Path) -> None:
    model = write_folder(tmp_path / "musicnn" / "MTT_musicnn", tiny_musicnn())
    wheel = tmp_path / "musicnn-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for file in model.iterdir():
            archive.write(file, f"musicnn/MTT_musicnn/{file.name}")
    contents = {convert(source, "mtt") for source in (wheel, tmp_path, tmp_path / "musicnn", model)}
    assert len(contents) == 1


def test_upstream_checkpoint_as_embedding_checkpoint(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "MSD_musicnn", tiny_musicnn())
    embedding = MusicNN(checkpoint=str(folder))
    embedding.load()
    [vector] = embedding.embed([np.random.default_rng(0).standard_normal(48_000).astype(np.float32)])
    assert vector.shape == (4,)  # the sizes are those of the tensors
    assert np.isfinite(vector).all()


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("MSD_musicnn", "MTT_musicnn"):
        write_folder(tmp_path / name, tiny_musicnn())
    convert_musicnn.main([str(tmp_path), str(tmp_path / "out")])
    content = (tmp_path / "out" / "musicnn_mtt.safetensors").read_bytes()
    assert content == convert(tmp_path, "mtt")
    assert "musicnn_msd.safetensors  sha256" in capsys.readouterr().out
    length = struct.unpack_from("<Q", content)[0]
    assert json.loads(content[8 : 8 + length])["__metadata__"]["source"] == "PyPI musicnn 0.1.0, MTT_musicnn checkpoint"
    with pytest.raises(SystemExit, match="holds no checkpoint of MSD_musicnn"):
        convert_musicnn.main([str(tmp_path / "out"), str(tmp_path)])


def test_damage_is_found() -> None:
    index, data = checkpoint({"dense/bias": np.ones(4)})
    with pytest.raises(MusicrecError, match="checksum of variable dense/bias is wrong"):
        read_checkpoint(index, b"\x01" + data[1:])
    with pytest.raises(MusicrecError, match="variable dense/bias is incomplete"):
        read_checkpoint(index, data[:-1])
    with pytest.raises(MusicrecError, match="checksum of the index is wrong"):
        read_checkpoint(b"\x01" + index[1:], data)
    with pytest.raises(MusicrecError, match="not a TensorFlow V2 checkpoint index"):
        read_checkpoint(index[:-1], data)
    with pytest.raises(MusicrecError, match="not a TensorFlow V2 checkpoint index"):
        read_checkpoint(b"", data)


def test_features_these_files_do_not_use_are_refused() -> None:
    with pytest.raises(MusicrecError, match="only one little-endian shard"):
        read_checkpoint(*checkpoint({"dense/bias": np.ones(4)}, header=b"\x08\x02"))


def test_another_model_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "MSD_musicnn", {"dense/bias": np.ones(4)})
    with pytest.raises(MusicrecError, match="not a MusicNN checkpoint, 1 of its 64 variables found"):
        convert(folder, "msd")
