"""TorchFile: the tensors of a file written by `torch.save`, one at a time, without running anything it names.

`torch.load` cannot do this for files from before torch 1.6: it reads them whole. Both formats are a pickle that
describes the tensors, and their bytes beside it: as members of a zip archive (since 1.6), or one after the other after
the pickle. The pickle is read by an unpickler for which every class and function of the file is an empty shell.
"""

from __future__ import annotations

import collections
import os
import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from musicrec.errors import MusicrecError, first_line

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
# Names of the storages in the pickle -> type in the safetensors format and bytes per element.
_TYPES = {
    "HalfStorage": ("F16", 2),
    "BFloat16Storage": ("BF16", 2),
    "FloatStorage": ("F32", 4),
    "DoubleStorage": ("F64", 8),
    "LongStorage": ("I64", 8),
    "IntStorage": ("I32", 4),
}
_PIECE = 1 << 24  # bytes held in memory at a time while copying
_DAMAGE = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    EOFError,
    OSError,
    ValueError,
    KeyError,
    IndexError,
    AttributeError,
    TypeError,
    OverflowError,
    RuntimeError,
)


@dataclass(frozen=True)
class Entry:
    """Where a tensor is stored.

    Attributes:
        kind: type of the elements in the safetensors format, "F16".
        shape: of the tensor.
        storage: key of the storage in the file.
        begin: bytes before the tensor in its storage.
        size: bytes of the tensor.
    """

    kind: str
    shape: tuple[int, ...]
    storage: str
    begin: int
    size: int


class _Shell(dict[Any, Any]):
    """Stands for any object of an unknown class: accepts whatever the pickle gives it."""

    def __new__(cls, *arguments: Any, **named: Any) -> _Shell:
        return super().__new__(cls)

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        pass

    def extend(self, items: Any) -> None:
        pass

    def add(self, item: Any) -> None:
        pass


def _tensor(
    storage: tuple[str, str, int], offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *unused: Any
) -> Entry | _Shell:
    """Stands for `torch._utils._rebuild_tensor_v2`."""
    name, key, available = storage
    if name not in _TYPES:
        return _Shell()
    kind, width = _TYPES[name]
    elements, expected = 1, []
    for length in reversed(shape):
        expected.append(elements)
        elements *= length
    if any(length > 1 and step != wanted for length, step, wanted in zip(shape, stride, expected[::-1], strict=True)):
        return _Shell()  # not contiguous: nothing that is wanted here
    if offset < 0 or offset + elements > available:
        raise pickle.UnpicklingError("a tensor exceeds its storage")
    return Entry(kind, tuple(shape), key, offset * width, elements * width)


def _parameter(data: Any, *unused: Any) -> Any:
    """Stands for `torch._utils._rebuild_parameter`."""
    return data


class _Unpickler(pickle.Unpickler):
    """Gives entries for tensors, plain Python containers, and shells for everything else."""

    def __init__(self, file: IO[bytes]):
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, tuple[str, int]] = {}  # key -> name, elements

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch._utils" and name == "_rebuild_parameter":
            return _parameter
        return type(name, (_Shell,), {"__module__": module})

    def persistent_load(self, pid: Any) -> tuple[str, str, int]:
        if pid[0] != "storage":
            raise pickle.UnpicklingError(f"unknown kind of reference {pid[0]!r}")
        name, key, elements = getattr(pid[1], "__name__", str(pid[1])), str(pid[2]), int(pid[4])
        if len(pid) > 5 and pid[5] is not None:
            raise pickle.UnpicklingError("views of storages, as torch wrote them before 0.4, are not supported")
        self.storages[key] = (name, elements)
        return name, key, elements


class TorchFile:
    """What is in a file of `torch.save`, read without running anything that the file names.

    Attributes:
        content: the object, with an `Entry` instead of each tensor and shells for objects of unknown classes.

    Raises:
        MusicrecError: unreadable, damaged or not such a file.
    """

    def __init__(self, path: Path):
        self.path = path
        self._offsets: dict[str, int] = {}  # legacy format: storage -> its first byte in the file
        self._members: dict[str, str] = {}  # zip format: storage -> member of the archive
        try:
            self.content = self._read_zip() if zipfile.is_zipfile(path) else self._read_legacy()
        except _DAMAGE as error:
            raise self._damaged(error) from None

    def write(self, entry: Entry, target: IO[bytes]) -> None:
        """Writes the bytes of a tensor to `target`, a piece at a time."""
        for piece in self._pieces(entry):
            target.write(piece)

    def tensor(self, entry: Entry) -> Tensor:
        """Returns a tensor, in memory of its own and in the type it is stored in."""
        types = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}
        types |= {"I64": torch.int64, "I32": torch.int32}
        tensor = torch.empty(entry.size, dtype=torch.uint8)
        done = 0
        for piece in self._pieces(entry):
            tensor[done : done + len(piece)] = torch.frombuffer(piece, dtype=torch.uint8)
            done += len(piece)
        return tensor.view(types[entry.kind]).view(entry.shape)

    def filled(self, content: Any) -> Any:
        """Returns `content`, or a part of it, with tensors for the entries in dictionaries."""
        if isinstance(content, Entry):
            return self.tensor(content)
        if isinstance(content, dict) and not isinstance(content, _Shell):
            return {key: self.filled(value) for key, value in content.items()}
        return content

    def _read_zip(self) -> Any:
        with zipfile.ZipFile(self.path) as archive:
            names = archive.namelist()
            root = next(name for name in [*names, "/data.pkl"] if name.endswith("/data.pkl")).removesuffix("data.pkl")
            if f"{root}byteorder" in names and archive.read(f"{root}byteorder") == b"big":
                raise ValueError("big-endian files are not supported")
            with archive.open(f"{root}data.pkl") as file:
                unpickler = _Unpickler(file)
                content = unpickler.load()
            self._members = {key: f"{root}data/{key}" for key in unpickler.storages}
            for key, (name, elements) in unpickler.storages.items():
                size = archive.getinfo(self._members[key]).file_size
                if name in _TYPES and size < elements * _TYPES[name][1]:
                    raise ValueError(f"storage {key} is cut off")
        return content

    def _read_legacy(self) -> Any:
        with self.path.open("rb") as file:
            for expected in (_MAGIC, _PROTOCOL):
                if _Unpickler(file).load() != expected:
                    raise ValueError("not written by torch.save")
            if not _Unpickler(file).load().get("little_endian", True):
                raise ValueError("big-endian files are not supported")
            unpickler = _Unpickler(file)
            content = unpickler.load()
            at_end = file.seek(0, os.SEEK_CUR)
            size = file.seek(0, os.SEEK_END)
            file.seek(at_end)
            for key in _Unpickler(file).load():
                name, elements = unpickler.storages[key]
                if name not in _TYPES:
                    raise ValueError(f"unknown storage {name}")
                if int.from_bytes(file.read(8), "little") != elements:
                    raise ValueError(f"storage {key} has another length than announced")
                self._offsets[key] = file.tell()
                if file.seek(elements * _TYPES[name][1], os.SEEK_CUR) > size:
                    raise ValueError(f"storage {key} is cut off")
        return content

    @contextmanager
    def _storage(self, key: str) -> Iterator[IO[bytes]]:
        """Yields a stream at the first byte of a storage."""
        if self._members:
            with zipfile.ZipFile(self.path) as archive, archive.open(self._members[key]) as stream:
                yield stream
        else:
            with self.path.open("rb") as stream:
                stream.seek(self._offsets[key])
                yield stream

    def _pieces(self, entry: Entry) -> Iterator[bytearray]:
        """Yields the bytes of a tensor. Plain reads, no memory map: its pages would count as memory of the process."""
        left = entry.size
        try:
            with self._storage(entry.storage) as stream:
                stream.seek(entry.begin, os.SEEK_CUR)
                while left:
                    piece = bytearray(min(left, _PIECE))
                    if stream.readinto(piece) != len(piece):  # type: ignore[attr-defined]
                        raise EOFError("it ends too early")
                    left -= len(piece)
                    yield piece
                stream.read(1)  # lets zipfile compare the checksum at the end of a member
        except _DAMAGE as error:
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> MusicrecError:
        reason = first_line(error)
        return MusicrecError(f"{self.path} is damaged or not a checkpoint of torch.save ({reason}); fetch it again")
