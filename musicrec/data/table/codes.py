"""Codes: numbers for the ids of a log. typed_ids: user ids as integers, if all of them are."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from musicrec.data.log.arrays import number_array, numbers_of, text_array

# Known strings per distinct string of a batch, up to which they are looked up in bulk.
_BULK_SHARE = 8
_UNKNOWN = number_array(np.array([-1], np.int32))[0]
_CANONICAL_INTEGER = r"^(?:0|-?[1-9][0-9]{0,18})$"


class Codes:
    """Numbers strings in order of their first occurrence."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        # The first strings as an array for bulk look-ups. Strings added since it was built are missing.
        self._known: pa.StringArray = text_array([])
        # The number of each integer, -1 for those that have not occurred. Larger integers arrive as strings.
        self._by_integer = np.empty(0, np.int32)

    def __len__(self) -> int:
        return len(self._codes)

    def encode(self, values: pa.DictionaryArray | pa.StringArray | np.ndarray) -> np.ndarray:
        """Returns (rows,) int32, the number of each value; an integer (≥ 0) counts as the string of its digits."""
        if isinstance(values, np.ndarray):
            return self._of_integers(values)
        if isinstance(values, pa.DictionaryArray):
            return self._of_distinct(values.dictionary)[numbers_of(values.indices)]
        # A bulk look-up first hashes all known strings, so it pays only if they are fewer than the rows.
        if not 0 < len(self._known) <= len(values):
            return self.encode(values.dictionary_encode())
        found = pc.index_in(values, value_set=self._known)
        if not found.null_count:
            return numbers_of(found)
        numbers = numbers_of(pc.fill_null(found, _UNKNOWN)).copy()
        numbers[numbers < 0] = self.encode(values.filter(found.is_null()).dictionary_encode())
        return numbers

    def _of_integers(self, values: np.ndarray) -> np.ndarray:
        """Returns (rows,) int32 numbers of integers."""
        size = int(values.max(initial=-1)) + 1
        missing = size - len(self._by_integer)
        if missing > 0:
            self._by_integer = np.pad(self._by_integer, (0, missing), constant_values=np.int32(-1))
        numbers = self._by_integer[values]
        if numbers.min(initial=0) < 0:
            new = np.flatnonzero(numbers < 0)
            for value in np.unique(values[new]).tolist():
                self._by_integer[value] = self._codes.setdefault(str(value), len(self._codes))
            numbers[new] = self._by_integer[values[new]]
        return numbers

    def _of_distinct(self, values: pa.StringArray) -> np.ndarray:
        """Returns (values,) int32 numbers of a batch's distinct values; only new values pass through Python."""
        codes = self._codes
        numbers = np.full(len(values), -1, np.int32)
        if 0 < len(self._known) <= _BULK_SHARE * len(values):
            found = pc.index_in(values, value_set=self._known)
            numbers = numbers_of(pc.fill_null(found, _UNKNOWN)).copy()
        new = np.flatnonzero(numbers < 0)
        numbers[new] = [codes.setdefault(value, len(codes)) for value in values.take(number_array(new)).to_pylist()]
        if len(codes) <= _BULK_SHARE * len(values) and len(new) > len(values) // 100:
            self._known = text_array(list(codes))
        return numbers

    def ids(self) -> list[str]:
        """Returns the strings in order of their numbers."""
        return list(self._codes)


def typed_ids(ids: Sequence[str]) -> np.ndarray:
    """Returns user ids as int64 if each is an integer in canonical form, otherwise as object.

    >>> typed_ids(["7", "-1"])
    array([ 7, -1])
    >>> typed_ids(["7", "07"])
    array(['7', '07'], dtype=object)
    """
    texts = text_array(ids)
    if pc.all(pc.match_substring_regex(texts, _CANONICAL_INTEGER), min_count=0).as_py():
        with suppress(pa.ArrowInvalid):  # beyond 64 bits
            return numbers_of(texts.cast(pa.int64()))
    return np.array(ids, object)
