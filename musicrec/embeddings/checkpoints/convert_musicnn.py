"""Converts MusicNN's TensorFlow checkpoints to safetensors without TensorFlow.

    python -m musicrec.embeddings.checkpoints.convert_musicnn musicnn-0.1.0-py3-none-any.whl weights/

The wheel (`pip download musicnn==0.1.0 --no-deps`) or a folder unpacked from it holds one folder per model with a
checkpoint in TensorFlow's V2 ("tensor bundle") format: `.index`, a LevelDB table of protobuf messages, and
`.data-00000-of-00001`, the raw tensors. Both are read here according to the formats' definitions; every checksum is
verified.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import re
import struct
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from musicrec.embeddings.checkpoints.safetensors_header import safetensors_header
from musicrec.errors import MusicrecError
from musicrec.files import atomic_path

VARIANTS = {"msd": "MSD_musicnn", "mtt": "MTT_musicnn"}
# The order in which the shipped files happen to hold their metadata, so that their hashes come out the same.
_ORIGIN_ORDER = {"msd": ("source", "license", "layout"), "mtt": ("layout", "source", "license")}

_TABLE_MAGIC = 0xDB4775248B80FB57
_FOOTER = 48
_TRAILER = 5  # compression type and checksum after each block
_FLOAT32 = 1

_NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
_BRANCHES = ("timbral1", "timbral2", "temporal1", "temporal2", "temporal3")
# TensorFlow numbers its layers in the order of creation; the first of a kind has no number.
_CONVOLUTIONS = [f"frontend.{name}" for name in _BRANCHES] + [f"midend.layer{number}" for number in (1, 2, 3)]
_NORMS = [
    *("input_norm", *(f"{layer}.norm" for layer in _CONVOLUTIONS)),
    *("backend.pool_norm", "backend.dense_norm"),
]
_DENSES = ["backend.dense", "backend.output"]


def convert(source: str | Path, variant: str) -> bytes:
    """Returns the content of `musicnn_{variant}.safetensors`: 64 float32 tensors in PyTorch's layout.

    Args:
        source: the wheel, a folder unpacked from it, or the model's own folder.
        variant: "msd" or "mtt".

    Raises:
        MusicrecError: no such model there, or the checkpoint is damaged.
    """
    index, data = _find(Path(source), variant)
    variables = read_checkpoint(index, data)
    tensors: dict[str, np.ndarray] = {}
    for name, values in variables.items():
        renamed = _rename(name)
        if renamed is not None:
            tensors[renamed] = np.ascontiguousarray(_to_torch_layout(name, values))
    expected = 2 * (len(_CONVOLUTIONS) + len(_DENSES)) + 4 * len(_NORMS)
    if len(tensors) != expected:
        raise MusicrecError(f"{source}: not a MusicNN checkpoint, {len(tensors)} of its {expected} variables found")
    origin = {"source": f"PyPI musicnn 0.1.0, {VARIANTS[variant]} checkpoint", "license": "ISC", "layout": "pytorch"}
    return _safetensors(dict(sorted(tensors.items())), {key: origin[key] for key in _ORIGIN_ORDER[variant]})


def read_checkpoint(index: bytes, data: bytes) -> dict[str, np.ndarray]:
    """Returns variable name -> array of a TensorFlow V2 checkpoint in one shard.

    Args:
        index: content of the `.index` file.
        data: content of the `.data-00000-of-00001` file.

    Raises:
        MusicrecError: not such a checkpoint, a wrong checksum, or a feature these files do not use.
    """
    variables = {}
    try:
        for key, value in _table(index):
            message = _Message.parse(value)
            if not key:  # the bundle's header
                if message.number(1) != 1 or message.number(2) != 0:
                    raise MusicrecError("checkpoint: only one little-endian shard is supported")
                continue
            name = key.decode()
            if message.number(1) != _FLOAT32:
                continue
            shape = tuple(_Message.parse(size).number(1) for size in _Message.parse(message.content(2)).repeated(2))
            offset, size = message.number(4), message.number(5)
            raw = data[offset : offset + size]
            if len(raw) != size or size != 4 * math.prod(shape):
                raise MusicrecError(f"checkpoint: variable {name} is incomplete")
            if _rename(name) is None:  # the optimiser's
                continue
            _check(raw, message.number(6), f"variable {name}")
            variables[name] = np.frombuffer(raw, dtype="<f4").reshape(shape)
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise MusicrecError(f"checkpoint: damaged or not a TensorFlow V2 checkpoint ({error})") from None
    return variables


def main(arguments: list[str] | None = None) -> None:
    """Converts both models from the command line."""
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(
        prog="python -m musicrec.embeddings.checkpoints.convert_musicnn", description=summary
    )
    parser.add_argument("source", type=Path, help="the wheel of musicnn 0.1.0 or a folder unpacked from it")
    parser.add_argument("output", type=Path, help="folder for musicnn_msd.safetensors and musicnn_mtt.safetensors")
    options = parser.parse_args(arguments)
    try:
        for variant in VARIANTS:
            content = convert(options.source, variant)
            target = options.output / f"musicnn_{variant}.safetensors"
            with atomic_path(target) as temporary:
                temporary.write_bytes(content)
            print(f"{target}  sha256 {hashlib.sha256(content).hexdigest()}")
    except MusicrecError as error:
        sys.exit(f"error: {error}")


def _safetensors(tensors: dict[str, np.ndarray], origin: dict[str, str]) -> bytes:
    """Returns float32 tensors in the safetensors format; the same checkpoint always gives the same bytes."""
    header = safetensors_header(
        ((name, "F32", values.shape, values.nbytes) for name, values in tensors.items()), origin
    )
    return b"".join([header, *(values.astype("<f4").tobytes() for values in tensors.values())])


def _find(source: Path, variant: str) -> tuple[bytes, bytes]:
    """Returns the contents of the index and data files. They are dot files: their prefix is an empty name."""
    names = (".index", ".data-00000-of-00001")
    model = VARIANTS[variant]
    if source.is_file() and zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            members = [f"musicnn/{model}/{name}" for name in names]
            if set(members) <= set(archive.namelist()):
                return archive.read(members[0]), archive.read(members[1])
    for folder in (source, source / model, source / "musicnn" / model):
        if all((folder / name).is_file() for name in names):
            return (folder / names[0]).read_bytes(), (folder / names[1]).read_bytes()
    raise MusicrecError(
        f"{source} holds no checkpoint of {model} (the files .index and .data-00000-of-00001); give the wheel of "
        "musicnn 0.1.0 (pip download musicnn==0.1.0 --no-deps) or a folder unpacked from it"
    )


def _numbered(kind: str, name: str) -> int | None:
    """Returns the number of a layer of a kind: 0 for "conv2d", 3 for "conv2d_3", None for another kind."""
    match = re.fullmatch(rf"{kind}(?:_(\d+))?", name)
    return int(match[1] or 0) if match else None


def _rename(variable: str) -> str | None:
    """Returns our name of a TensorFlow variable; None for the optimiser's."""
    layer, _, part = variable.partition("/")
    parts = {"kernel": "weight", "bias": "bias"}
    for kind, ours, suffix, names in (
        ("conv2d", _CONVOLUTIONS, ".conv", parts),
        ("dense", _DENSES, "", parts),
        ("batch_normalization", _NORMS, "", _NORM),
    ):
        number = _numbered(kind, layer)
        if number is not None and number < len(ours) and part in names:
            return f"{ours[number]}{suffix}.{names[part]}"
    return None


def _to_torch_layout(variable: str, values: np.ndarray) -> np.ndarray:
    """Returns a kernel with PyTorch's order of axes: filters first."""
    layer, _, part = variable.partition("/")
    if part != "kernel":
        return values
    number = _numbered("conv2d", layer)
    if number is None:
        return values.T
    if number < len(_BRANCHES):
        return values.transpose(3, 2, 0, 1)
    return values[:, :, 0].transpose(2, 1, 0)  # spans the whole feature axis: one-dimensional over time


def _table(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields the keys and values of a LevelDB-style sorted table."""
    footer = content[-_FOOTER:]
    if len(footer) < _FOOTER or struct.unpack_from("<Q", footer, 40)[0] != _TABLE_MAGIC:
        raise MusicrecError("checkpoint: the index is not a TensorFlow V2 checkpoint index")
    at = 0
    handle = []
    for _ in range(4):  # offset and size of the meta index, then of the index
        number, at = _varint(footer, at)
        handle.append(number)
    for _, location in _block(content, handle[2], handle[3]):
        offset, at = _varint(location, 0)
        size, _ = _varint(location, at)
        yield from _block(content, offset, size)


def _block(content: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yields the entries of a block; a key is stored as what differs from the key before it."""
    block = content[offset : offset + size]
    kind, checksum = struct.unpack_from("<BI", content, offset + size)
    if kind != 0:
        raise MusicrecError("checkpoint: compressed index blocks are not supported")
    _check(content[offset : offset + size + 1], checksum, "the index")
    restarts = struct.unpack_from("<I", block, size - 4)[0]
    end = size - 4 * (restarts + 1)
    at = 0
    key = b""
    while at < end:
        shared, at = _varint(block, at)
        unshared, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + unshared]
        at += unshared
        yield key, block[at : at + length]
        at += length


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """Returns an unsigned LEB128 number and the position after it."""
    number = shift = 0
    while True:
        byte = content[at]
        number |= (byte & 0x7F) << shift
        at += 1
        shift += 7
        if byte < 0x80:
            return number, at


@dataclass
class _Message:
    """A protobuf message, fields by number. Fields with the value zero are not stored."""

    fields: dict[int, list[int | bytes]] = field(default_factory=dict)

    @classmethod
    def parse(cls, content: bytes) -> _Message:
        message = cls()
        at = 0
        while at < len(content):
            tag, at = _varint(content, at)
            number, wire = tag >> 3, tag & 7
            value: int | bytes
            if wire == 0:
                value, at = _varint(content, at)
            elif wire == 2:
                length, at = _varint(content, at)
                value, at = content[at : at + length], at + length
            elif wire == 5:
                value, at = struct.unpack_from("<I", content, at)[0], at + 4
            elif wire == 1:
                value, at = struct.unpack_from("<Q", content, at)[0], at + 8
            else:
                raise MusicrecError(f"checkpoint: protobuf wire type {wire} is not supported")
            message.fields.setdefault(number, []).append(value)
        return message

    def number(self, field_number: int) -> int:
        value = self.fields.get(field_number, [0])[0]
        return value if isinstance(value, int) else 0

    def content(self, field_number: int) -> bytes:
        value = self.fields.get(field_number, [b""])[0]
        return value if isinstance(value, bytes) else b""

    def repeated(self, field_number: int) -> list[bytes]:
        return [value for value in self.fields.get(field_number, []) if isinstance(value, bytes)]


def _crc_table() -> list[int]:
    """Returns the table of CRC-32C (Castagnoli, reflected polynomial 0x82F63B78)."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_CRC = _crc_table()


def crc32c(content: bytes) -> int:
    """Returns the CRC-32C of `content`."""
    table = _CRC
    crc = 0xFFFFFFFF
    for byte in content:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def masked_crc32c(content: bytes) -> int:
    """Returns the checksum as TensorFlow and LevelDB store it: rotated by 15 bits, plus a constant."""
    crc = crc32c(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _check(content: bytes, stored: int, what: str) -> None:
    if masked_crc32c(content) != stored:
        raise MusicrecError(f"checkpoint: the checksum of {what} is wrong, the file is damaged")


if __name__ == "__main__":
    main()
