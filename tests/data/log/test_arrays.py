"""Arrow arrays from numbers and texts and back."""

import numpy as np
import pyarrow as pa
import pytest

from musicrec.data.log.arrays import id_array, number_array, numbers_of, text_array


@pytest.mark.parametrize("kind", ["i4", "i8", "datetime64[us]"])
def test_numbers_there_and_back(kind: str) -> None:
    values = np.array([5, -1, 2**31 - 1, 0, 7], "i8").astype(kind)
    array = number_array(values[::2])
    assert array.equals(pa.array(values[::2])) and array.null_count == 0
    whole = pa.array(values)
    assert numbers_of(whole.slice(1, 3)).tolist() == values[1:4].view("i4" if kind == "i4" else "i8").tolist()
    assert numbers_of(whole.slice(2, 0)).tolist() == []


def test_texts() -> None:
    texts = ["", "é", "🎵 a", "\0"]
    assert text_array(texts).equals(pa.array(texts)) and text_array([]).equals(pa.array([], pa.string()))
    assert id_array(np.array(texts, object)).equals(pa.array(texts))
    assert id_array(np.array([3, -4])).equals(pa.array([3, -4]))
