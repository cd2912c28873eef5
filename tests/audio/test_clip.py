from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from musicrec.audio.clip import Clip
from musicrec.audio.decode import AudioError
from musicrec.errors import MusicrecError
from tests.embeddings.extraction.toy import Toy


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"max_seconds": 0},
            "embedding.max_seconds=0 is invalid; must be a finite number above 0 and at most 86,400 or null",
        ),
        ({"pad": True}, "embedding.pad=true needs embedding.max_seconds, the length to pad to"),
        (
            {"sample_rate": -1},
            "embedding.sample_rate=-1 is invalid; must be a whole number from 1 to 10,000,000 or null",
        ),
    ],
)
def test_values_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(MusicrecError) as error:
        Clip(**options)
    assert str(error.value) == message


def test_waves_are_cut_and_padded() -> None:
    wave = np.ones(1000, dtype=np.float32)
    assert len(Toy().prepare(wave)) == 1000
    assert len(Toy(max_seconds=0.11).prepare(wave)) == 880  # at 8 kHz
    padded = Toy(max_seconds=0.2, pad=True).prepare(wave)
    assert (len(padded), padded.sum()) == (1600, 1000)
    with pytest.raises(AudioError, match=r"too short: 0.10 s \(799 samples\), the model needs 0.100 s"):
        Toy().prepare(wave[:799])
