"""Writes the header of a safetensors file, for tensors that are streamed or whose bytes must not vary.

The safetensors package writes whole tensors from memory, and metadata in a random order.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping, Sequence


def safetensors_header(
    tensors: Iterable[tuple[str, str, Sequence[int], int]], metadata: Mapping[str, str] | None = None, multiple: int = 8
) -> bytes:
    """Returns the bytes of a safetensors file before its first tensor.

    Args:
        tensors: name, element type ("F16", "F32", ...), shape and size in bytes of each, in the order of the file.
        metadata: stored in the header.
        multiple: the first tensor starts at a multiple of this many bytes.
    """
    content: dict[str, object] = {} if metadata is None else {"__metadata__": dict(metadata)}
    offset = 0
    for name, kind, shape, size in tensors:
        content[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(content, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % multiple)
    return struct.pack("<Q", len(text)) + text
