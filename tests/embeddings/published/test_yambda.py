"""The published vectors of Yambda: raw and normalised, in the order of the track index."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from musicrec.embeddings.published.yambda import Yambda
from musicrec.errors import MusicrecError
from musicrec.workspace import TrackIndex, Workspace
from tests.data.made_yambda import write_vectors

ITEMS = np.array([30, 7, 100, 21])


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("folder", [False, True])
def test_table(tmp_path: Path, normalised: bool, folder: bool) -> None:
    vectors = write_vectors(tmp_path, ITEMS)
    path = tmp_path if folder else tmp_path / "embeddings.parquet"
    embedding = Yambda(normalised=normalised, checkpoint=str(path))
    table = embedding.table(Workspace(tmp_path / "w"), TrackIndex(["7", "21", "22", "30", "100"]))
    assert table.shape == (5, 128) and table.dtype == np.float32
    expected = vectors[[1, 3, 0, 2]]
    if normalised:
        expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(table[[0, 1, 3, 4]], expected, rtol=1e-6)
    assert np.isnan(table[2]).all()
    assert embedding.settings()["normalised"] is normalised and embedding.checkpoint_hash() is not None


def test_a_missing_vector_is_a_row_without_values(tmp_path: Path) -> None:
    columns = {
        "item_id": pa.array([1, 2], pa.uint32()),
        "embed": pa.array([None, [1.0, 2.0]], pa.list_(pa.float32())),
        "normalized_embed": pa.array([None, [0.0, 1.0]], pa.list_(pa.float32())),
    }
    pq.write_table(pa.table(columns), tmp_path / "embeddings.parquet")
    table = Yambda(checkpoint=str(tmp_path)).table(Workspace(tmp_path / "w"), TrackIndex(["1", "2"]))
    assert np.isnan(table[0]).all() and table[1].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        (None, "embedding=yambda needs embedding.checkpoint=FILE: Yambda's embeddings.parquet, or its folder"),
        ("nowhere", "nowhere does not exist"),
        ("", "has no embeddings.parquet"),
        ("other.parquet", "other.parquet has no column embed of lists; it has item_id, vector"),
    ],
)
def test_refused(tmp_path: Path, checkpoint: str | None, message: str) -> None:
    pq.write_table(pa.table({"item_id": [1], "vector": [[1.0]]}), tmp_path / "other.parquet")
    path = None if checkpoint is None else str(tmp_path / checkpoint)
    with pytest.raises(MusicrecError, match=message) as caught:
        Yambda(checkpoint=path).table(Workspace(tmp_path / "w"), TrackIndex(["1"]))
    assert "\n" not in str(caught.value)
