"""Text tables of numbers, as frameworks read them: written atomically, of any length."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv

from musicrec.columns import TIMESTAMP
from musicrec.files import atomic_path

# Rows that are turned into text at a time.
_BLOCK = 1 << 20


def write_numbers(path: Path, frame: pd.DataFrame, header: Sequence[str], separator: str) -> None:
    """Writes a table of numbers; times become seconds since 1970 UTC, whole ones without a fraction.

    Args:
        path: the file.
        frame: columns of numbers, or of times.
        header: what the columns are called in the file.
        separator: between columns.
    """
    columns = {name: seconds(frame[name]) if name == TIMESTAMP else frame[name].to_numpy() for name in frame}
    options = pa_csv.WriteOptions(include_header=False, delimiter=separator)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write((separator.join(header) + "\n").encode())
        for start in range(0, len(frame), _BLOCK):
            block = {name: values[start : start + _BLOCK] for name, values in columns.items()}
            pa_csv.write_csv(pa.table(block), file, options)


def seconds(times: pd.Series) -> np.ndarray:
    """Returns seconds since 1970: int64 where all are whole, else float64.

    >>> seconds(pd.Series(pd.to_datetime(["1970-01-01 00:01", "1970-01-02 00:00"]))).tolist()
    [60, 86400]
    >>> seconds(pd.Series(pd.to_datetime(["1970-01-01 00:00:00.25"]))).tolist()
    [0.25]
    """
    micros = times.to_numpy("datetime64[us]").astype(np.int64)
    whole, rest = np.divmod(micros, 1_000_000)
    return whole if not rest.any() else micros / 1e6
