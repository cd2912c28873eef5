from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from musicrec.data.plays import make_plays
from musicrec.data.source import DataSource
from musicrec.embeddings.precomputed import Precomputed
from musicrec.errors import MusicrecError
from musicrec.workspace import TrackIndex, Workspace
from tests.data.made_log import flat

TRACKS = TrackIndex(["a", "b", "c"])
VALUES = np.array([[3, 3.5], [9, 9.5], [1, 1.5]], dtype=np.float32)
IDS = ["c", "unknown", "a"]
EXPECTED = np.array([[1, 1.5], [np.nan, np.nan], [3, 3.5]], dtype=np.float32)


def write(folder: Path, kind: str) -> Path:
    if kind == "npz":
        np.savez(folder / "mine.npz", ids=np.array(IDS), vectors=VALUES.astype(np.float64))
        return folder / "mine.npz"
    if kind.startswith("parquet"):
        frame = pd.DataFrame({"track_id": IDS})
        if kind == "parquet of lists":
            frame["vector"] = list(VALUES)
        else:
            frame[["x", "y"]] = VALUES
        frame.to_parquet(folder / "mine.parquet")
        return folder / "mine.parquet"
    np.save(folder / "mine.npy", VALUES)
    if kind == "npy and txt":
        (folder / "mine.txt").write_text("\n".join(IDS) + "\n")
    else:
        pd.DataFrame({"idx": range(3), "trackid": IDS}).to_csv(folder / "mine.csv", index=False)
    return folder / "mine.npy"


@pytest.mark.parametrize("kind", ["npz", "parquet of lists", "parquet of columns", "npy and txt", "npy and csv"])
def test_rows_follow_the_track_index(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, kind)
    for embedding in (Precomputed(path=str(path)), Precomputed(checkpoint=str(path))):
        table = embedding.table(Workspace(tmp_path), TRACKS)
        assert table.dtype == np.float32
        np.testing.assert_array_equal(table, EXPECTED)


@pytest.mark.parametrize(
    ("log_ids", "ids"), [(["10", "2", "0", *"13456789"], None), (["b", "a", "c"], "index"), (["2", "1", "3"], "index")]
)
def test_npy_without_ids_beside_the_index_of_a_log(tmp_path: Path, log_ids: list[str], ids: str | None) -> None:
    workspace = from_log(tmp_path, log_ids)
    tracks = TrackIndex.load(workspace.track_index)
    assert tracks.ids == sorted(log_ids, key=lambda track: (len(track), track))
    values = np.arange(2 * len(tracks), dtype=np.float32).reshape(-1, 2)
    np.save(tmp_path / "mine.npy", values)
    np.testing.assert_array_equal(
        Precomputed(path=str(tmp_path / "mine.npy"), ids=ids).table(workspace, tracks), values
    )


@pytest.mark.parametrize("log_ids", [["b", "a", "c"], ["1", "2", "3"], ["0", "1", "3"], ["00", "1", "2"]])
def test_npy_without_ids_is_refused_if_the_order_is_unknown(tmp_path: Path, log_ids: list[str]) -> None:
    workspace = from_log(tmp_path, log_ids)
    np.save(tmp_path / "mine.npy", VALUES)
    with pytest.raises(
        MusicrecError, match=r"are not 0, 1, 2, …: put one id per line in .*mine.txt, or set embedding.ids"
    ):
        Precomputed(path=str(tmp_path / "mine.npy")).table(workspace, TrackIndex.load(workspace.track_index))


def from_log(tmp_path: Path, ids: list[str]) -> Workspace:
    """Returns a workspace whose track index was made from a log of these tracks."""
    days = pd.date_range("2019-01-01", periods=len(ids)).astype(str)
    frame = pd.DataFrame({"user_id": 1, "track_id": ids, "timestamp": days})
    frame.to_csv(tmp_path / "log.csv", index=False)
    workspace = Workspace(tmp_path / "workspace")
    make_plays(flat(DataSource, "mine", plays=tmp_path / "log.csv"), workspace, None)
    return workspace


def test_npy_without_ids_is_in_the_order_of_the_index(tmp_path: Path) -> None:
    np.save(tmp_path / "mine.npy", VALUES)
    embedding = Precomputed(path=str(tmp_path / "mine.npy"))
    np.testing.assert_array_equal(embedding.table(Workspace(tmp_path), TRACKS), VALUES)
    with pytest.raises(MusicrecError, match=r"3 rows without track ids, trackid_sorted.csv has 2 tracks.*mine.txt"):
        embedding.table(Workspace(tmp_path), TrackIndex(["a", "b"]))


def test_without_a_path_it_is_the_file_in_the_workspace(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with pytest.raises(MusicrecError, match="embedding=mine has no file: give it as embedding.path=FILE"):
        Precomputed(name="mine").table(workspace, TRACKS)
    workspace.embedding("mine").parent.mkdir()
    np.save(workspace.embedding("mine"), VALUES)
    np.testing.assert_array_equal(Precomputed(name="mine").table(workspace, TRACKS), VALUES)


@pytest.mark.parametrize(
    ("name", "arrays", "message"),
    [
        (
            "mine.npz",
            {"ids": np.array(["a", "a"]), "v": np.eye(2)},
            "occur more than once with different vectors, e.g. a",
        ),
        ("mine.npz", {"ids": np.array(["a"]), "v": np.ones((2, 2))}, "has 2 rows but 1 track ids"),
        ("mine.npz", {"ids": np.array(["x"]), "v": np.ones((1, 2))}, "none of its 1 track ids"),
        ("mine.npz", {"v": np.ones((1, 2))}, "must hold one 1-d array of track ids and one 2-d array"),
        ("mine.npz", {"ids": np.array(["a"], dtype=object), "v": np.ones((1, 2))}, "save ids as np.array"),
        ("mine.npz", {"ids": np.array(["a"]), "v": np.ones((1, 0))}, r"has shape \(1, 0\), must be"),
        (
            "mine.txt",
            None,
            "unknown extension '.txt'; allowed: .npy .npz .parquet .pqt .safetensors .tsv .csv, of .csv",
        ),
        ("mine.npy.gz", None, "unknown extension '.gz'; allowed: .npy"),
        ("mine.npy", None, "cannot be read"),
        ("missing.npy", None, "does not exist"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, arrays: dict[str, Any] | None, message: str) -> None:
    if arrays is not None:
        np.savez(tmp_path / name, **arrays)
    elif not name.startswith("missing"):
        (tmp_path / name).write_text("no array")
    with pytest.raises(MusicrecError, match=message):
        Precomputed(path=str(tmp_path / name)).table(Workspace(tmp_path), TRACKS)


@pytest.mark.parametrize("packed", [False, True])
def test_headers_that_promise_terabytes_are_refused(tmp_path: Path, packed: bool) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 30, 1 << 10)})
    path = tmp_path / ("big.npz" if packed else "big.npy")
    if packed:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("vectors.npy", header.getvalue())
    else:
        path.write_bytes(header.getvalue())
    with pytest.raises(MusicrecError, match="its header promises 4,398,046,511,104 bytes, the file has 1"):
        Precomputed(path=str(path)).table(Workspace(tmp_path), TrackIndex(["a"]))
