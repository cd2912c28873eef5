"""Condition: which rows of a Parquet log count as plays, by the value of a further column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from musicrec.errors import MusicrecError


@dataclass(frozen=True)
class Condition:
    """Rows without this value, or with less than it, are left out.

    Attributes:
        column: the column; of a log that has no such column all rows count, unless `key` is set.
        left_out: what the other rows are, for messages.
        least: the least value of a column of numbers; a missing one is less.
        equal: the value of a column of text.
        key: the option that needs the column, e.g. `min_played=50`; None: the column may be missing.
    """

    column: str
    left_out: str
    least: float | None = None
    equal: str | None = None
    key: str | None = None

    def holds(self, values: pa.Array) -> np.ndarray:
        """Returns (rows,) bool: which rows count."""
        if self.least is not None:
            found = pc.greater_equal(values.cast(pa.float64(), safe=False), self.least)
        else:
            decoded = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
            found = pc.equal(decoded.cast(pa.string()), self.equal)
        return np.asarray(pc.fill_null(found, False).to_numpy(zero_copy_only=False))


def applicable(conditions: Sequence[Condition], names: Sequence[str], log: str) -> list[Condition]:
    """Returns the conditions on columns that a log has.

    Args:
        conditions: those that are asked for.
        names: the columns of the log.
        log: the log, for messages.

    Raises:
        MusicrecError: if a condition needs a column that the log does not have.
    """
    for condition in conditions:
        if condition.column not in names and condition.key is not None:
            key = condition.key.partition("=")[0]
            raise MusicrecError(
                f"{log} has no column {condition.column!r}, which data.{condition.key} needs; its columns are: "
                f"{', '.join(names)}. Set data.{key}=0 to read all rows"
            )
    return [condition for condition in conditions if condition.column in names]
