"""Reads vectors from .safetensors: one matrix for all tracks, or one tensor per track, named by its id."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from musicrec.embeddings.feature_files.block import Block, blocks_of, rows_per_block
from musicrec.embeddings.feature_files.numpy_file import read_ids
from musicrec.errors import MusicrecError
from musicrec.progress import progress

# Names of a metadata entry that holds the track ids of a matrix as a JSON list.
_ID_KEYS = ("ids", "track_ids", "trackids")


def read_safetensors(path: Path, ids: Path | None) -> Iterator[Block]:
    """Yields the rows of a file.

    A single 2-d tensor holds one row per track: its ids come from the file's metadata (`ids`, a JSON list), from `ids`
    or from a .txt or .csv of the same name. Otherwise every tensor is one track's vector, and its name the id.
    """
    with safe_open(path, framework="pt") as file:  # NumPy has no bfloat16
        names = list(file.keys())
        shapes = {name: file.get_slice(name).get_shape() for name in names}
        if len(names) == 1 and len(shapes[names[0]]) == 2 and (ids or shapes[names[0]][0] != 1):
            metadata = file.metadata() or {}
            listed = next((metadata[key] for key in _ID_KEYS if key in metadata), None)
            found = [str(track) for track in json.loads(listed)] if listed and not ids else read_ids(ids, beside=path)
            yield from blocks_of(_floats(file.get_tensor(names[0]), names[0], path).numpy(), found, path)
            return
        dims = {shape[-1] if shape else 1 for shape in shapes.values()}
        for shape in shapes.values():
            if len(dims) != 1 or len(shape) == 0 or any(length != 1 for length in shape[:-1]):
                example = ", ".join(f"{key} {tuple(value)}" for key, value in list(shapes.items())[:3])
                raise MusicrecError(
                    f"{path} must hold one (tracks, dim) tensor, or per track one tensor of a common size, named by "
                    f"its id; it holds {example}" + (" ..." if len(shapes) > 3 else "")
                )
        step = rows_per_block(dims.pop() if dims else 1)
        with progress(path.name, len(names)) as advance:
            for start in range(0, len(names), step):
                some = names[start : start + step]
                vectors = [_floats(file.get_tensor(name), name, path).reshape(-1) for name in some]
                yield Block(some, torch.stack(vectors).numpy())
                advance(len(some))


def _floats(tensor: Any, name: str, path: Path) -> torch.Tensor:
    if not tensor.is_floating_point():
        raise MusicrecError(f"{path}: {name} holds values of type {tensor.dtype}, must be floats")
    return torch.as_tensor(tensor).float()
