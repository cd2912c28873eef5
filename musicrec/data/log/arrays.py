"""Arrow arrays from numbers and texts and back, without pandas, which `pa.array` and `to_numpy` import (0.2 s)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa


def number_array(values: np.ndarray) -> pa.Array:
    """Returns numbers or times (datetime64[us]) as an array in the same memory."""
    kind = pa.timestamp("us") if values.dtype.kind == "M" else pa.from_numpy_dtype(values.dtype)
    numbers = np.ascontiguousarray(values).view(f"i{values.dtype.itemsize}")
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(numbers)])


def text_array(values: Sequence[str]) -> pa.StringArray:
    """Returns texts as an array.

    >>> text_array(["a", "", "é"]).to_pylist()
    ['a', '', 'é']
    """
    encoded = [value.encode() for value in values]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.large_string(), len(encoded), buffers).cast(pa.string())


def id_array(ids: np.ndarray) -> pa.Array:
    """Returns user ids, int64 or texts as objects, as an array."""
    return text_array(ids.tolist()) if ids.dtype == object else number_array(ids)


def numbers_of(array: pa.Array) -> np.ndarray:
    """Returns integers of an array without nulls, or times as int64 microseconds, in the same memory."""
    buffer = array.buffers()[1]
    width = array.type.bit_width // 8
    if buffer is None:
        return np.empty(0, f"i{width}")
    return np.frombuffer(buffer, f"i{width}", len(array), array.offset * width)
