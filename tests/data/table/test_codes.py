"""Codes number ids as a dictionary would, whatever form they come in."""

import numpy as np
import pyarrow as pa
import pytest

from musicrec.data.table.codes import Codes, typed_ids


@pytest.mark.parametrize("seed", range(4))
def test_equal_to_a_dictionary(seed: int) -> None:
    random = np.random.default_rng(seed)
    codes = Codes()
    expected: dict[str, int] = {}
    for _ in range(12):
        values = random.integers(0, random.choice([3, 50, 4000]), random.choice([1, 20, 900]))
        texts = [str(value) for value in values]
        form = random.integers(3)
        given = (values, pa.array(texts, pa.string()), pa.array(texts).dictionary_encode())[form]
        found = codes.encode(given)
        if form:  # integers that are new in a batch are numbered in numerical order
            assert found.tolist() == [expected.setdefault(text, len(expected)) for text in texts]
        else:
            for value in sorted(set(values.tolist()), key=int):
                expected.setdefault(str(value), len(expected))
            assert found.tolist() == [expected[text] for text in texts]
        assert found.dtype == np.int32
    assert codes.ids() == list(expected) and len(codes) == len(expected)


def test_parts_of_an_array() -> None:
    texts = pa.array(["x", "a", "b", "a", "x"], pa.string())
    codes = Codes()
    assert codes.encode(texts.slice(1, 3)).tolist() == [0, 1, 0]
    assert codes.encode(texts).tolist() == [2, 0, 1, 0, 2]
    assert codes.encode(texts.slice(2, 0)).tolist() == []


def test_integers_only_in_canonical_form() -> None:
    assert typed_ids([]).dtype == np.int64
    assert typed_ids(["-9223372036854775808", "9223372036854775807"]).dtype == np.int64
    assert typed_ids(["9223372036854775808"]).dtype == object
