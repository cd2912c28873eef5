"""Reads checkpoints as their authors publish them: finds the file, reads its tensors, fills a network with them.

Nothing in a file is executed: safetensors hold tensors only, torch reads the others with `weights_only=True`, and if it
refuses because a training program left objects of its own beside the tensors, `torch_file` reads the tensors alone.
"""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from musicrec.embeddings.checkpoints.shards import is_index, shard_files
from musicrec.embeddings.checkpoints.torch_file import TorchFile
from musicrec.errors import MusicrecError, first_line

log = logging.getLogger(__name__)

# What reading a truncated file, or one that is not a checkpoint, can raise.
_DAMAGE = (pickle.UnpicklingError, RuntimeError, OSError, EOFError, LookupError, ValueError, TypeError, AttributeError)
# At most this many names in one error message; the rest is counted.
_NAMES_SHOWN = 8
# torch.nn.utils.weight_norm's names for magnitude and direction, the old ones and today's.
_WEIGHT_NORMS = (
    (".weight_g", ".weight_v"),
    (".parametrizations.weight.original0", ".parametrizations.weight.original1"),
)


def find_file(path: Path, *patterns: str, prefer: str = "") -> Path:
    """Returns the file of a folder whose name fits the earliest pattern.

    Args:
        path: the folder, or a file in it.
        patterns: names with wildcards; the first one that fits any file decides.
        prefer: decides among several files: the one that has this in its name.

    Raises:
        MusicrecError: none fits, or several do.
    """
    folder = path if path.is_dir() else path.parent
    for pattern in patterns:
        found = sorted(file for file in folder.glob(pattern) if file.is_file())
        preferred = [file for file in found if prefer and prefer in file.name]
        if len(found) > 1 and preferred:
            found = preferred
        if len(found) > 1:
            names = ", ".join(file.name for file in found)
            raise MusicrecError(f"embedding.checkpoint: {folder} has several {pattern} ({names}); give one of them")
        if found:
            return found[0]
    raise MusicrecError(f"embedding.checkpoint: {folder} has no {' or '.join(patterns)}, as the upstream publishes it")


def read_config(path: Path) -> dict[str, Any]:
    """Returns the content of a `config.json`, {} if there is no such file."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise MusicrecError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise MusicrecError(f"{path} must hold an object")
    return content


def check_config(config: dict[str, Any], path: Path, needed: Iterable[str] = (), **allowed: Any) -> None:
    """Refuses a configuration by the name of the first key that is missing or has a value that is not supported.

    Args:
        config: what was read.
        path: where it was read from.
        needed: keys without a default.
        allowed: key -> supported value, or a tuple of such; absent keys have the supported value.
    """
    missing = [key for key in needed if key not in config]
    if missing:
        raise MusicrecError(f"{path} lacks {', '.join(missing)}")
    for key, values in allowed.items():
        values = values if isinstance(values, tuple) else (values,)
        if key in config and config[key] not in values:
            supported = " or ".join(json.dumps(value) for value in values)
            raise MusicrecError(f"{path}: {key}={json.dumps(config[key])} is not supported, only {supported}")


def read(path: Path) -> dict[str, Any]:
    """Returns the content of a `.safetensors` file, or of one written by `torch.save`; tensors are on the CPU.

    Args:
        path: the file, or the index of a checkpoint in several files.
    """
    if is_index(path.name):
        return {name: value for file in shard_files(path) for name, value in read(file).items()}
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            file = TorchFile(path)
            content = file.filled(file.content)
            log.info("%s holds objects besides its tensors; they were skipped", path)
    except (*_DAMAGE, SafetensorError) as error:
        raise MusicrecError(f"{path} is damaged or not a checkpoint ({first_line(error)}); fetch it again") from None
    if not isinstance(content, dict):
        raise MusicrecError(f"{path} holds a {type(content).__name__}, not a dictionary of tensors")
    return content


def tensors(content: dict[str, Any], path: Path) -> dict[str, Tensor]:
    """Returns the tensors of a checkpoint by name in float32, weight norms multiplied out.

    Args:
        content: of `read`; the tensors themselves, or a training checkpoint with a `state_dict`.
        path: where it was read from.
    """
    state = content.get("state_dict", content)
    if not isinstance(state, dict) or not state:
        raise MusicrecError(f"{path} is not a checkpoint; instead of tensors it has {some(content)}")
    strange = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if strange:
        raise MusicrecError(f"{path} is not a checkpoint; these are not tensors: {some(strange)}")
    return fold_weight_norms({name: _as_float32(value) for name, value in state.items()})


def _as_float32(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def fold_weight_norms(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns `state` with every pair of magnitude g and direction v replaced by the weight g v / |v|.

    The axes over which the norm is taken are those in which g has length 1.
    """
    folded = dict(state)
    for magnitude, direction in _WEIGHT_NORMS:
        for name in [name for name in state if name.endswith(magnitude)]:
            stem = name.removesuffix(magnitude)
            if stem + direction in state:
                g, v = folded.pop(name), folded.pop(stem + direction)
                axes = tuple(axis for axis, length in enumerate(g.shape) if length == 1)
                folded[f"{stem}.weight"] = v * (g / torch.linalg.vector_norm(v, dim=axes, keepdim=True))
    return folded


def fill(
    net: nn.Module,
    state: dict[str, Tensor],
    path: Path,
    unused: Iterable[str] = (),
    called: Callable[[str], str] = str,
) -> None:
    """Puts tensors into a network and makes it ready for inference.

    Args:
        net: its parameters may be on the "meta" device; they become those of `state`.
        state: tensors by name.
        path: where they come from.
        unused: prefixes of names that the checkpoint may have although the network does not.
        called: returns the name in the file for a name in the network, for messages.

    Raises:
        MusicrecError: tensors are missing, unknown or of another shape; names them.
    """
    own = net.state_dict()
    given = {name: value for name, value in state.items() if name in own or not name.startswith(tuple(unused))}
    missing = [called(name) for name in own if name not in given and not name.endswith("num_batches_tracked")]
    unknown = [called(name) for name in given if name not in own]
    shapes = [
        f"{called(name)} {tuple(value.shape)} instead of {tuple(own[name].shape)}"
        for name, value in given.items()
        if name in own and value.shape != own[name].shape
    ]
    complaints = [
        f"{what} {some(names)}"
        for what, names in (("missing", missing), ("unexpected", unknown), ("wrong shapes:", shapes))
        if names
    ]
    if complaints:
        raise MusicrecError(f"{path} does not fit this model: {'; '.join(complaints)}")
    net.load_state_dict(given, strict=False, assign=True)
    net.eval().requires_grad_(False)


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a file, 64 hex digits; for the index of several files that of their hashes in a row."""
    if is_index(path.name):
        return hashlib.sha256("".join(map(sha256, shard_files(path))).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def some(names: Iterable[str]) -> str:
    """Returns the first of these names, separated by commas, and the number of the others."""
    names = list(names)
    rest = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
