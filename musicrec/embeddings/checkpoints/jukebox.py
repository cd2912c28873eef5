"""Reads Jukebox's two published files, converted once to a safetensors file in the user's cache."""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from safetensors import safe_open
from torch import Tensor

from musicrec.embeddings.checkpoints.cache import cache_dir
from musicrec.embeddings.checkpoints.safetensors_header import safetensors_header
from musicrec.embeddings.checkpoints.torch_file import Entry, TorchFile
from musicrec.errors import DiskError, MusicrecError
from musicrec.files import atomic_path, exclusive

log = logging.getLogger(__name__)

VQVAE_FILE = "vqvae.pth.tar"
PRIOR_FILE = "prior_level_2.pth.tar"
CONFIG_FILE = "config.json"
_LAYER = re.compile(r"prior\.transformer\._attn_mods\.(\d+)\.")
# Bytes left free on the disk after a conversion: a full home folder would stop other programs too.
_SPARE = 1 << 30


@dataclass(frozen=True)
class Weights:
    """The needed tensors, read on demand.

    Attributes:
        names: in the upstream's checkpoint.
        read: name -> tensor on the CPU, in the type it is stored in.
        identity: the SHA-256 of the hashes of both files, 64 hex digits.
    """

    names: list[str]
    read: Callable[[str], Tensor]
    identity: str


class ModelFile(TorchFile):
    """The tensors of the dictionary `model` in one of the upstream's files, by name.

    Attributes:
        entries: name -> where it is stored; a prefix `module.` is removed.

    Raises:
        MusicrecError: unreadable, damaged or not such a file.
    """

    def __init__(self, path: Path):
        super().__init__(path)
        model = self.content.get("model") if isinstance(self.content, dict) else None
        if not isinstance(model, dict):
            raise MusicrecError(f"{path} has no entry 'model': it is not a checkpoint of Jukebox")
        self.entries = {
            str(name).removeprefix("module."): entry for name, entry in model.items() if isinstance(entry, Entry)
        }

    def copy(self, name: str, target: IO[bytes]) -> None:
        """Writes the bytes of a tensor to `target`."""
        self.write(self.entries[name], target)

    def read(self, name: str) -> Tensor:
        """Returns a tensor, in memory of its own and in the type it is stored in."""
        return self.tensor(self.entries[name])


def open_weights(folder: Path, level: int, layers: int, mapped: bool = False) -> Weights:
    """Returns the tensors of the encoder, the codebook and the first layers of the prior.

    They are converted once. If the cache cannot be written, they are read from the upstream's files themselves.

    Args:
        folder: with vqvae.pth.tar and prior_level_2.pth.tar.
        level: the coarsest one of the VQ-VAE, from 0.
        layers: how many of the prior are needed.
        mapped: tensors are views of the conversion, whose pages several processes share; else they are copies, and
            nothing of the file stays in memory.

    Raises:
        MusicrecError: a file is missing, damaged or not a checkpoint of Jukebox.
    """
    paths = [folder / name for name in (VQVAE_FILE, PRIOR_FILE)]
    for path in paths:
        if not path.is_file():
            raise MusicrecError(
                f"embedding.checkpoint: {folder} has no {path.name}; it must hold {VQVAE_FILE} and {PRIOR_FILE} of "
                "Jukebox 5b (docs/jukemir.md)"
            )
    identity = hashlib.sha256("".join(map(_content_hash, paths)).encode()).hexdigest()
    try:
        converted = _converted(paths, identity, level, layers)
    except (OSError, DiskError) as error:
        log.warning("%s cannot hold the converted weights (%s): they are read from %s", cache_dir(), error, folder)
        sources = {name: file for file in map(ModelFile, paths) for name in _wanted(file.entries, level, layers)}
        return Weights(sorted(sources), lambda name: sources[name].read(name), identity)

    def copied(name: str) -> Tensor:
        with safe_open(converted, framework="pt") as content:  # opened each time: the map lives as long as the tensor
            return content.get_tensor(name).clone()

    with safe_open(converted, framework="pt") as content:
        names = _wanted(content.keys(), level, layers)
        if not mapped:
            return Weights(names, copied, identity)
        views = {name: content.get_tensor(name) for name in names}
    return Weights(names, views.__getitem__, identity)


def convert(paths: Iterable[Path], target: Path, level: int, layers: int) -> None:
    """Writes the needed tensors of files of `torch.save` as one safetensors file, a piece at a time.

    Raises:
        MusicrecError: a file is damaged or not a checkpoint of Jukebox.
        OSError: `target` cannot be written.
    """
    files = [ModelFile(path) for path in paths]
    needed = [(file, name, file.entries[name]) for file in files for name in _wanted(file.entries, level, layers)]
    target.parent.mkdir(parents=True, exist_ok=True)
    size, free = sum(entry.size for _, _, entry in needed), shutil.disk_usage(target.parent).free
    if size + _SPARE > free:
        raise OSError(f"{size / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free")
    tensors = ((name, entry.kind, entry.shape, entry.size) for _, name, entry in needed)
    header = safetensors_header(tensors, multiple=64)
    with atomic_path(target) as temporary, temporary.open("wb") as output:
        output.write(header)
        for file, name, _ in needed:
            file.copy(name, output)


def _converted(paths: list[Path], identity: str, level: int, layers: int) -> Path:
    """Returns the conversion with at least these layers, made if there is none."""
    folder = cache_dir() / "jukebox"
    pattern = re.compile(rf"{identity[:16]}-(\d+)-layers\.safetensors")

    def found() -> Path | None:
        names = {path: pattern.fullmatch(path.name) for path in (folder.iterdir() if folder.is_dir() else ())}
        fitting = [(int(match[1]), path) for path, match in names.items() if match and int(match[1]) >= layers]
        return min(fitting)[1] if fitting else None

    existing = found()
    if existing:
        return existing
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(
        folder / f"{identity[:16]}.lock", f"{folder}: waiting, another process converts the weights of Jukebox"
    ):
        existing = found()
        if existing:
            return existing
        target = folder / f"{identity[:16]}-{layers}-layers.safetensors"
        log.info("%s: converting %d layers of %s, once", target, layers, paths[-1])
        convert(paths, target, level, layers)
        return target


def _wanted(names: Iterable[str], level: int, layers: int) -> list[str]:
    """Returns those of the upstream's names that are used here, sorted."""
    prefixes = (f"encoders.{level}.", f"bottleneck.level_blocks.{level}.k", "y_emb.", "prior.x_emb.", "prior.pos_emb.")
    wanted = []
    for name in names:
        layer = _LAYER.match(name)
        if name.startswith(prefixes) or (layer and int(layer[1]) < layers):
            wanted.append(name)
    return sorted(wanted)


def _content_hash(path: Path) -> str:
    """Returns the SHA-256 of a file, 64 hex digits; remembered while size and modification time stay the same.

    Ten gigabytes take longer to read than the converted weights, and every shard of an extraction would.
    """
    status = path.stat()
    key = hashlib.sha256(f"{path.resolve()} {status.st_size} {status.st_mtime_ns}".encode()).hexdigest()[:32]
    memo = cache_dir() / "jukebox" / "hashes" / f"{key}.txt"
    try:
        known = memo.read_text(encoding="ascii").strip()
        if re.fullmatch("[0-9a-f]{64}", known):
            return known
    except (OSError, ValueError):
        pass
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    try:
        with atomic_path(memo) as temporary:
            temporary.write_text(found + "\n", encoding="ascii")
    except (OSError, DiskError):  # a read-only home: the file is hashed again next time
        log.debug("cannot write %s", memo)
    return found
