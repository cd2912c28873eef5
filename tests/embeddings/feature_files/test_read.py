"""Feature files of every format give the same table; damaged ones give one line."""

from __future__ import annotations

import bz2
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from musicrec.embeddings.feature_files import text_table
from musicrec.embeddings.feature_files.align import NOT_FINITE, align
from musicrec.embeddings.feature_files.block import Block
from musicrec.embeddings.feature_files.read import content_hash, read_blocks
from musicrec.errors import MusicrecError
from musicrec.workspace import TrackIndex

TRACKS = TrackIndex(["a", "007", "c"])
ROWS = [("c", 3.25, -1e-3), ("unknown", 9, 9.5), ("a", 1, 1.5)]
EXPECTED = np.array([[1, 1.5], [np.nan, np.nan], [3.25, -1e-3]], dtype=np.float32)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MUSICREC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def text(header: str = "", separator: str = ",") -> bytes:
    lines = [header] if header else []
    lines += [separator.join(str(cell) for cell in row) for row in ROWS]
    return "".join(f"{line}\n" for line in lines).encode()


def zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, codec="zstd", asbytes=True))


def table(path: Path, tracks: TrackIndex = TRACKS, ids: Path | None = None) -> np.ndarray:
    found, _ = align(path, read_blocks(path, ids), tracks)
    assert found.dtype == np.float32
    return found


TEXTS: dict[str, tuple[str, bytes]] = {
    "csv": ("x.csv", text()),
    "csv with a header": ("x.csv", text("id,x,y")),
    "header of numbers": ("x.csv", text("ID,0,1")),
    "header with an empty name, as pandas writes an index": ("x.csv", text(",0,1")),
    "byte order mark": ("x.csv", b"\xef\xbb\xbf" + text("id,x,y")),
    "carriage returns": ("x.csv", text("id,x,y").replace(b"\n", b"\r\n")),
    "no line break at the end": ("x.csv", text().rstrip()),
    "quotes": ("x.csv", text().replace(b"c,", b'"c",')),
    "semicolons": ("x.csv", text("trackid;x;y", ";")),
    "tsv": ("x.tsv", text(separator="\t")),
    "tsv with a header": ("x.tsv", text("track_id\tx\ty", "\t")),
    "tsv.bz2 in two streams": ("x.tsv.bz2", bz2.compress(text("id\tx\ty", "\t")) + bz2.compress(b"d\t1\t2\n")),
    "csv.gz": ("x.csv.gz", gzip.compress(text("id,x,y"))),
    "tsv.zst": ("x.tsv.zst", zstd(text(separator="\t"))),
    "upper case": ("x.CSV", text()),
    "ids in another column, row numbers": (
        "x.csv",
        b"Unnamed: 0,x,id,y\n0,3.25,c,-0.001\n1,9,unknown,9.5\n2,1,a,1.5\n",
    ),
}


@pytest.mark.parametrize("case", TEXTS)
def test_text_tables(tmp_path: Path, case: str) -> None:
    name, content = TEXTS[case]
    (tmp_path / name).write_bytes(content)
    np.testing.assert_array_equal(table(tmp_path / name), EXPECTED)


def test_names_that_count_are_a_header(tmp_path: Path) -> None:
    rows = [["song", *range(8)], ["c", *range(8)], ["a", *range(1, 9)]]
    (tmp_path / "x.csv").write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    np.testing.assert_array_equal(table(tmp_path / "x.csv")[[0, 2]], [range(1, 9), range(8)])
    (tmp_path / "x.csv").write_text("c,0,1\na,1,2\n")  # too few to be names
    np.testing.assert_array_equal(table(tmp_path / "x.csv")[[0, 2]], [[1, 2], [0, 1]])


def test_ids_stay_text(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("007,1,2\n7,3,4\n")
    np.testing.assert_array_equal(table(tmp_path / "x.csv")[1], [1, 2])


def test_a_text_table_is_read_once_for_its_content(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.csv").write_bytes(text())
    (tmp_path / "copy.csv").write_bytes(text())
    first = table(tmp_path / "x.csv")
    monkeypatch.setattr(text_table, "_parsed", None)
    np.testing.assert_array_equal(table(tmp_path / "copy.csv"), first)
    [values] = (cache / "features").glob("*.f32")
    assert values.stat().st_size == 4 * 2 * 3
    values.write_bytes(b"cut")
    monkeypatch.undo()
    monkeypatch.setenv("MUSICREC_CACHE", str(cache))
    np.testing.assert_array_equal(table(tmp_path / "x.csv"), first)
    (tmp_path / "x.csv").write_bytes(text().replace(b"1.5", b"2.5"))
    assert table(tmp_path / "x.csv")[0].tolist() == [1, 2.5]


def test_blocks_are_bounded_whatever_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_table, "_BLOCK_BYTES", 200)
    monkeypatch.setattr("musicrec.embeddings.feature_files.block._VALUES", 10)
    values = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    pd.DataFrame(values, index=[f"t{row}" for row in range(50)]).to_csv(tmp_path / "x.csv")
    blocks = list(read_blocks(tmp_path / "x.csv"))
    assert [len(block.values) for block in blocks] == [3] * 16 + [2]
    tracks = TrackIndex([f"t{row}" for row in reversed(range(50))])
    np.testing.assert_array_equal(table(tmp_path / "x.csv", tracks), values[::-1])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", b"id,genre,y\na,rock,1\n", "column genre holds 'rock', which is no number; remove the column"),
        ("x.csv", b"a,1,2\nc,1,two\n", "column 3 holds 'two', which is no number"),
        ("x.csv", b"a,1,2\nc,1\n", "CSV parse error: .*Expected 3 columns, got 2"),
        ("x.csv", b"a\nc\n", "has one column; must have the track ids and one column per dimension"),
        ("x.csv", b"", "x.csv .*"),
        ("x.csv", b"id,x\n", "holds no vectors"),
        ("x.csv", b"x,1,2\n", r"none of its 1 track ids \(e.g. \['x'\]\) is in trackid_sorted.csv"),
        ("x.csv", b"a,1,2\na,1,3\n", "occur more than once with different vectors, e.g. a; keep one"),
        ("x.tsv.bz2", bz2.compress(text(separator="\t"))[:-9], "cannot be read: Truncated compressed stream"),
        ("x.tsv.gz", b"no gzip", "x.tsv.gz cannot be read: "),
    ],
)
def test_bad_text_tables_give_one_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MusicrecError, match=message) as error:
        table(tmp_path / name)
    assert "\n" not in str(error.value)
    assert str(tmp_path / name) in str(error.value)


def test_a_damaged_file_leaves_nothing_in_the_cache(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "x.tsv.bz2").write_bytes(bz2.compress(text(separator="\t"))[:-9])
    with pytest.raises(MusicrecError):
        table(tmp_path / "x.tsv.bz2")
    assert [file.suffix for file in (cache / "features").iterdir()] in ([".lock"], [])


def write_matrix(folder: Path) -> Path:
    vectors = torch.tensor([row[1:] for row in ROWS], dtype=torch.bfloat16)
    metadata = {"ids": json.dumps([row[0] for row in ROWS])}
    safetensors.torch.save_file({"vectors": vectors}, folder / "x.safetensors", metadata)
    return folder / "x.safetensors"


def write_matrix_and_txt(folder: Path) -> Path:
    safetensors.numpy.save_file({"v": np.array([row[1:] for row in ROWS])}, folder / "x.safetensors")
    (folder / "x.txt").write_text("c\nunknown\na\n")
    return folder / "x.safetensors"


def write_tensors(folder: Path) -> Path:
    vectors = {str(row[0]): np.array([row[1:]], dtype=np.float32) for row in ROWS}
    safetensors.numpy.save_file(vectors, folder / "x.safetensors")
    return folder / "x.safetensors"


def write_folder(folder: Path) -> Path:
    (folder / "vectors").mkdir()
    for track, *vector in ROWS:
        np.save(folder / "vectors" / f"{track}.npy", np.array([vector], dtype=np.float64))
    (folder / "vectors" / "notes.txt").write_text("not a vector")
    return folder / "vectors"


def write_lists(folder: Path) -> Path:
    frame = pd.DataFrame({"trackid": [row[0] for row in ROWS], "vector": [list(map(float, row[1:])) for row in ROWS]})
    frame.to_parquet(folder / "x.parquet")
    return folder / "x.parquet"


@pytest.mark.parametrize("write", [write_matrix, write_matrix_and_txt, write_tensors, write_folder, write_lists])
def test_other_files(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    np.testing.assert_allclose(table(write(tmp_path)), EXPECTED, rtol=4e-3 if write is write_matrix else 0)


def test_ids_in_folders_keep_their_path(tmp_path: Path) -> None:
    (tmp_path / "artist").mkdir()
    np.save(tmp_path / "artist" / "song.v1.npy", np.array([1.0, 2.0]))
    np.testing.assert_array_equal(table(tmp_path, TrackIndex(["artist/song.v1"])), [[1, 2]])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((3, 2)), r"b.npy has shape \(3, 2\), must be \(dim,\) or \(1, dim\): one vector per track"),
        (np.ones(3), "b.npy has 3 values, a.npy has 2"),
        (np.array(["x", "y"]), "b.npy holds values of type <U1, must be numbers"),
        (None, "b.npy cannot be read"),
    ],
)
def test_bad_folders_name_the_file(tmp_path: Path, array: np.ndarray | None, message: str) -> None:
    np.save(tmp_path / "a.npy", np.ones(2))
    if array is None:
        (tmp_path / "b.npy").write_bytes(b"no array")
    else:
        np.save(tmp_path / "b.npy", array)
    with pytest.raises(MusicrecError, match=message):
        table(tmp_path)


def test_bad_parquet_and_safetensors_name_what_they_hold(tmp_path: Path) -> None:
    frame = pd.DataFrame({"track_id": ["a"], "genre": ["rock"], "year": [1999], "x": [0.5]})
    frame.to_parquet(tmp_path / "x.parquet")
    with pytest.raises(
        MusicrecError, match=r"neither track ids nor floats: genre \(.*string\), year \(int64\); remove"
    ):
        table(tmp_path / "x.parquet")
    pd.DataFrame({"track_id": ["a", "c"], "x": [[1.0, 2.0], [1.0]]}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(MusicrecError, match=r"the lists in x have different lengths, \[1, 2\]"):
        table(tmp_path / "x.parquet")
    safetensors.numpy.save_file({"a": np.ones(2, dtype=np.float32), "c": np.ones(3)}, tmp_path / "x.safetensors")
    with pytest.raises(MusicrecError, match=r"tensor of a common size, named by its id; it holds a \(2,\), c \(3,\)"):
        table(tmp_path / "x.safetensors")
    safetensors.numpy.save_file({"a": np.ones(2, dtype=np.int32)}, tmp_path / "x.safetensors")
    with pytest.raises(MusicrecError, match="a holds values of type torch.int32, must be floats"):
        table(tmp_path / "x.safetensors")
    (tmp_path / "x.safetensors").write_bytes(b"\0" * 50)
    with pytest.raises(MusicrecError, match="x.safetensors cannot be read"):
        table(tmp_path / "x.safetensors")


def test_vectors_that_are_not_finite_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "x.csv").write_text("a,1,inf\n007,nan,1\nc,1,1e300\nd,1,2\n")
    found, left_out = align(tmp_path, read_blocks(tmp_path / "x.csv"), TrackIndex(["d", "a", "007", "c", "e"]))
    np.testing.assert_array_equal(found, [[1, 2], *[[np.nan, np.nan]] * 4])
    assert left_out == dict.fromkeys(["a", "007", "c"], NOT_FINITE)
    assert "3 vectors with NaN or infinite values were left out" in caplog.text


def test_a_track_may_occur_twice_with_the_same_vector(caplog: pytest.LogCaptureFixture) -> None:
    values = np.array([[1.0, 2], [1, 2], [3, 4]])
    blocks = [Block(["a", "a", "c"], values), Block(["c", "a"], values[[2, 0]])]
    found, _ = align(Path("x"), blocks, TRACKS)
    np.testing.assert_array_equal(found[[0, 2]], [[1, 2], [3, 4]])
    assert "3 rows repeat an earlier one" in caplog.text
    with pytest.raises(MusicrecError, match="different vectors, e.g. c"):
        align(Path("x"), [*blocks, Block(["c"], values[:1])], TRACKS)


def test_content_hash_of_a_folder_follows_names_and_contents(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    first = content_hash(folder)
    (folder / "notes.txt").write_text("changed")
    assert content_hash(folder) == first
    (folder / "a.npy").rename(folder / "b.npy")
    second = content_hash(folder)
    np.save(folder / "b.npy", np.zeros(2))
    assert len({first, second, content_hash(folder)}) == 3
