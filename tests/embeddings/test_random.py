from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from musicrec.embeddings.random import Random
from musicrec.errors import MusicrecError
from musicrec.options import construct
from musicrec.workspace import TrackIndex, Workspace


def table(rows: int, **options: int) -> np.ndarray:
    tracks = TrackIndex([f"t{row}" for row in range(rows)])
    return Random(**options).table(Workspace(Path("nowhere")), tracks)  # type: ignore[arg-type]


def test_rows_do_not_depend_on_the_number_of_rows() -> None:
    np.testing.assert_array_equal(table(10), table(1000)[:10])


def test_seed_and_dim() -> None:
    values = table(2000, dim=16, seed=1)
    assert values.shape == (2000, 16)
    assert values.dtype == np.float32
    assert abs(values.mean()) < 0.02
    assert abs(values.std() - 1) < 0.02
    np.testing.assert_array_equal(values, table(2000, dim=16, seed=1))
    assert not np.array_equal(values, table(2000, dim=16, seed=2))


def test_settings_and_options() -> None:
    assert Random(dim=3, seed=2, max_seconds=30, layer=4).settings() == {"model": "Random", "dim": 3, "seed": 2}
    assert Random(trainable=True).trainable
    assert not Random().needs_audio
    with pytest.raises(MusicrecError, match="embedding.dim=0 is invalid; must be a whole number from 1"):
        construct(Random, {"dim": 0}, "embedding")
