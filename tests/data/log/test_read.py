"""Reading logs: every format gives the same rows; bad rows are listed with their lines."""

import bz2
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from musicrec.data.log import blocks as log_blocks
from musicrec.data.log.formats import LogColumns
from musicrec.data.log.read import read_log
from musicrec.data.prepare import prepare
from musicrec.data.source import DataSource
from musicrec.errors import MusicrecError
from musicrec.workspace import Workspace
from tests.data.made_log import flat

COLUMNS = LogColumns("user_id", "track_id", "timestamp")
HEADER = b"user_id\ttrack_id\ttimestamp\n"


def texts(ids: np.ndarray | pa.DictionaryArray) -> list[str]:
    return [str(value) for value in ids.tolist()] if isinstance(ids, np.ndarray) else ids.to_pylist()


def read(path: Path, columns: LogColumns = COLUMNS) -> tuple[list[tuple[Any, ...]], dict[int, str]]:
    """Returns the good rows as tuples, and the reasons of the bad ones by line."""
    rows: list[tuple[Any, ...]] = []
    bad: dict[int, str] = {}
    for batch in read_log(path, columns, workers=2):
        counts = [None] * len(batch) if batch.counts is None else batch.counts.tolist()
        times = [str(pd.Timestamp(at)) for at in batch.timestamps]
        rows += zip(texts(batch.users), batch.tracks.to_pylist(), times, counts, strict=True)
        bad |= {row.line: row.reason for row in batch.bad}
    return rows, bad


def written(tmp_path: Path, content: bytes, name: str = "log.tsv") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


def parquet(tmp_path: Path, **columns: Any) -> Path:
    path = tmp_path / "log.parquet"
    pd.DataFrame(columns).to_parquet(path)
    return path


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, zstd])
@pytest.mark.parametrize("delimiter", [b"\t", b","])
@pytest.mark.parametrize("line_break", [b"\n", b"\r\n"])
def test_text_formats(tmp_path: Path, pack: Callable[[bytes], bytes], delimiter: bytes, line_break: bytes) -> None:
    text = HEADER + b"1\ta/b\t2019-02-20 10:11:12\n02\tNA\t2019-02-21\n1\tnull\t2019-02-22T01:02"
    path = written(tmp_path, pack(text.replace(b"\t", delimiter).replace(b"\n", line_break)), "log.txt")
    expected = [
        ("1", "a/b", "2019-02-20 10:11:12", None),
        ("02", "NA", "2019-02-21 00:00:00", None),
        ("1", "null", "2019-02-22 01:02:00", None),
    ]
    assert read(path) == (expected, {})


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        (b"2019-02-20", "2019-02-20 00:00:00"),
        (b"2019-02-20 10:11", "2019-02-20 10:11:00"),
        (b"2019-02-20T10:11:12.5", "2019-02-20 10:11:12.500000"),
        (b"2019-02-20T10:11:12Z", "2019-02-20 10:11:12"),
        (b"2019-02-20 10:11:12 UTC", "2019-02-20 10:11:12"),
        (b"2019-02-20T00:11:12.123456789+02:00", "2019-02-19 22:11:12.123456"),
        (b"2019-02-20 10:11:12-0130", "2019-02-20 11:41:12"),
        (b"1550657472", "2019-02-20 10:11:12"),
        (b"1550657472123", "2019-02-20 10:11:12.123000"),
        (b"0", "1970-01-01 00:00:00"),
        (b"1577836800.0", "2020-01-01 00:00:00"),
        (b"1577836800.", "2020-01-01 00:00:00"),
        (b"1577836800.123456", "2020-01-01 00:00:00.123456"),
        (b"1577836800.5", "2020-01-01 00:00:00.500000"),
        (b"1577836800123.0", "2020-01-01 00:00:00.123000"),
        (b"1.5778368e9", "2020-01-01 00:00:00"),
        (b"1.577836800123456E+09", "2020-01-01 00:00:00.123456"),
        (b"1.577836800123E12", "2020-01-01 00:00:00.123000"),
        (b"1577836800e0", "2020-01-01 00:00:00"),
    ],
)
def test_timestamp_formats(tmp_path: Path, text: bytes, instant: str) -> None:
    clean = HEADER + b"1\ta\t" + text + b"\n"
    assert read(written(tmp_path, clean)) == ([("1", "a", instant, None)], {})
    # A bad row sends the block through the careful reader, which must see the same instant.
    assert read(written(tmp_path, clean + b"1\ta\tlater\n"))[0] == [("1", "a", instant, None)]


@pytest.mark.parametrize(
    "text",
    (
        *(b"", b"later", b"2019-02-30", b"2019-02", b"2019-2-3", b"2019-02-20 25:00", b"20/02/2019", b"-5", b"1e15"),
        *(b"155065747212345678", b"2019-02-201", b"2019-02-20 10:11:12 foo"),
    ),
)
def test_bad_timestamp(tmp_path: Path, text: bytes) -> None:
    rows, bad = read(written(tmp_path, HEADER + b"1\ta\t2019-02-20\n1\ta\t" + text + b"\n"))
    assert len(rows) == 1
    assert list(bad) == [3]
    assert "timestamp" in bad[3] and text.decode() in bad[3]


def test_bad_rows_keep_their_lines(tmp_path: Path) -> None:
    rows, bad = read(
        written(
            tmp_path,
            HEADER + b"1\ta\t2019-01-01\n\n2\tb\n2\tb\t2019-01-01\tmore\n\xff\tc\t2019-01-01\n"
            b"3\td\xe9\t2019-01-01\n\te\t2019-01-01\n4\t\t2019-01-01\n4\tf\tnever\n5\tg\t2019-01-02\n",
        )
    )
    assert rows == [("1", "a", "2019-01-01 00:00:00", None), ("5", "g", "2019-01-02 00:00:00", None)]
    assert list(bad) == [4, 5, 6, 7, 8, 9, 10]
    assert bad[4] == "2 columns instead of 3"
    assert bad[5] == "4 columns instead of 3"
    assert "user id is not UTF-8" in bad[6]
    assert "track id is not UTF-8" in bad[7]
    assert (bad[8], bad[9]) == ("no user id", "no track id")


def test_lines_count_on_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_blocks, "BLOCK_BYTES", 64)
    lines = [b"%d\tt%d\t2019-01-01 00:00:%02d\n" % (row % 7, row % 5, row % 60) for row in range(500)]
    for row in (0, 17, 333, 499):
        lines[row] = b"broken\n"
    rows, bad = read(written(tmp_path, HEADER + b"".join(lines)))
    assert list(bad) == [2, 19, 335, 501]
    assert [row[0] for row in rows] == [str(row % 7) for row in range(500) if lines[row] != b"broken\n"]


def test_other_columns_may_hold_anything(tmp_path: Path) -> None:
    text = (
        b'userid\ttimestamp\tartist\ttrack\n1\t2019-01-01T00:00:01Z\t"Weird Al\t7\n2\t2019-01-01T00:00:02Z\t\xff\t8\n'
    )
    rows, bad = read(written(tmp_path, text), LogColumns("userid", "track", "timestamp"))
    assert [row[:2] for row in rows] == [("1", "7"), ("2", "8")]
    assert not bad


def test_quotes_in_csv(tmp_path: Path) -> None:
    text = b'\xef\xbb\xbfalbum,"track_id", user_id,timestamp\n"a\nb","x, ""y""",1,2019-01-01\nc,z,2,"2019-01-02"\n'
    rows, bad = read(written(tmp_path, text))
    assert [row[:2] for row in rows] == [("1", 'x, "y"'), ("2", "z")]
    assert not bad


def test_quotes_in_tsv_are_letters_unless_the_header_has_them(tmp_path: Path) -> None:
    assert read(written(tmp_path, HEADER + b'1\t"a\t2019-01-01\n'))[0][0][1] == '"a'
    assert read(written(tmp_path, b'"user_id"\t"track_id"\t"timestamp"\n"1"\t"a"\t"2019-01-01"\n'))[0][0][:2] == (
        "1",
        "a",
    )


def test_counts(tmp_path: Path) -> None:
    text = (
        b"user_id,track_id,timestamp,count\n1,a,2019-01-01,3\n1,b,2019-01-01,0\n1,c,2019-01-01,1.5\n1,d,2019-01-01,7\n"
    )
    path = written(tmp_path, text)
    rows, bad = read(path)
    assert [(row[1], row[3]) for row in rows] == [("a", 3), ("d", 7)]
    assert list(bad) == [3, 4]
    no_counts = LogColumns("user_id", "track_id", "timestamp", None)
    assert [row[3] for row in read(path, no_counts)[0]] == [None] * 4


@pytest.mark.parametrize(
    "timestamps",
    [
        pd.to_datetime(["2019-01-01 10:00", "2019-01-02 00:00", "NaT"]),
        pd.to_datetime(["2019-01-01 11:00+01:00", "2019-01-02 01:00+01:00", "NaT"]),
        [1546336800.0, 1546387200.0, None],
        ["2019-01-01 10:00", "2019-01-02", None],
        pd.array([1546336800000, 1546387200000, None], "Int64"),
    ],
)
@pytest.mark.parametrize("users", [[7, 8, 9], ["7", "8", "9"], pd.Categorical(["7", "8", "9"])])
def test_parquet(tmp_path: Path, timestamps: pa.Array, users: pa.Array) -> None:
    rows, bad = read(parquet(tmp_path, user_id=users, track_id=["a", "b", "c"], timestamp=timestamps))
    assert rows == [("7", "a", "2019-01-01 10:00:00", None), ("8", "b", "2019-01-02 00:00:00", None)]
    assert list(bad) == [3]


def test_parquet_of_fractions(tmp_path: Path) -> None:
    times = [1577836800.123456, 1577836800123.0, float("nan"), float("inf"), -1.0, 1e300]
    rows, bad = read(parquet(tmp_path, user_id=[1] * 6, track_id=["a"] * 6, timestamp=times))
    assert [row[2] for row in rows] == ["2020-01-01 00:00:00.123456", "2020-01-01 00:00:00.123000"]
    assert list(bad) == [3, 4, 5, 6]
    with pytest.raises(MusicrecError, match="holds float, whose seconds since 1970 are off by minutes"):
        read(parquet(tmp_path, user_id=[1], track_id=["a"], timestamp=np.array([1577836800], np.float32)))


def test_parquet_of_wrong_type(tmp_path: Path) -> None:
    with pytest.raises(MusicrecError, match="'user_id' of .* holds double; it must hold integers or strings"):
        read(parquet(tmp_path, user_id=[1.5], track_id=["a"], timestamp=["2019-01-01"]))


def test_missing_column_names_the_ones_found_and_the_key(tmp_path: Path) -> None:
    path = written(tmp_path, b"user\ttrack_id\ttimestamp\n")
    with pytest.raises(MusicrecError, match=r"no column 'user_id'; .*: user, track_id, timestamp\. .*data.user_column"):
        read(path)
    with pytest.raises(MusicrecError, match="no column 'plays'.*data.count_column"):
        read(path, LogColumns("user", "track_id", "timestamp", "plays"))
    with pytest.raises(MusicrecError, match="used for two purposes"):
        read(path, LogColumns("user", "user", "timestamp"))
    with pytest.raises(MusicrecError, match="2 columns named 'user_id'"):
        read(written(tmp_path, b"user_id,user_id,track_id,timestamp\n"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (HEADER.decode().encode("utf-16-le"), "not text.*data.encoding=utf-16-le"),
        ("user_id\ttrack_id\tjäger\n".encode("latin-1"), "line 1 of .* not UTF-8.*data.encoding=latin-1"),
        (b"PK\x03\x04\0\0user_id,track_id,timestamp\n", "not text"),
        (b"PAR1" + b"x" * 20, "truncated or corrupt"),
        (gzip.compress(HEADER * 1000)[:-20], "truncated or corrupt"),
        (bz2.compress(HEADER * 1000)[:-20], "truncated or corrupt"),
        (zstd(HEADER * 1000)[:-20], "truncated or corrupt"),
        (b"BZh91AY&SY" + b"\0" * 40, "truncated or corrupt"),
    ],
)
def test_unreadable_file(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(MusicrecError, match=message) as caught:
        read(written(tmp_path, content))
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(MusicrecError, match="does not exist.*data.plays="):
        read(tmp_path / "none.tsv")
    with pytest.raises(MusicrecError, match="is a folder without logs"):
        read(tmp_path)


def test_timestamps_are_microseconds(tmp_path: Path) -> None:
    (batch,) = read_log(written(tmp_path, HEADER + b"1\ta\t2019-01-01\n"), COLUMNS)
    assert batch.timestamps.dtype == np.dtype("datetime64[us]")


@pytest.mark.parametrize("good", [0, 1, 40])
def test_a_log_of_bad_rows_is_given_up(tmp_path: Path, good: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("musicrec.data.load.HOPELESS_ROWS", 1000)
    header, row = "user_id,track_id,timestamp\n", "1,2,1577836800\n"
    path = tmp_path / "log.csv"
    path.write_text(header + row * good + "x,y,z\n" * 3500)
    with pytest.raises(MusicrecError, match=r"bad(, first| rows)|split is empty") as caught:
        prepare(flat(DataSource, "x", plays=path, split="leave_one_out"), Workspace(tmp_path / "w"))
    assert ("are bad, first line" in str(caught.value)) == (good < 2)


def test_pieces_of_a_block_lose_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_blocks, "_PIECE_BYTES", 400)
    monkeypatch.setattr(log_blocks, "_SMALL_PIECE_BYTES", 50)
    monkeypatch.setattr(log_blocks, "_MOST_BAD_ROWS", 3)
    lines = [f'{n},"a\nb, {n}",15778{n:05}' if n % 7 == 0 else f"{n},t{n},15778{n:05}" for n in range(500)]
    lines = [f"{n},late" if n % 11 == 0 else line for n, line in enumerate(lines)]
    path = tmp_path / "log.csv"
    path.write_text("user_id,track_id,timestamp\n" + "\n".join(lines) + "\n")
    rows: list[str] = []
    bad: dict[int, str] = {}
    for batch in read_log(path, LogColumns("user_id", "track_id", "timestamp"), workers=2):
        rows += [track.as_py() for track in batch.tracks]
        bad |= {row.line: row.text for row in batch.bad}
    good = [n for n in range(500) if n % 11]
    assert rows == [f"a\nb, {n}" if n % 7 == 0 else f"t{n}" for n in good]
    text = path.read_text().split("\n")
    assert sorted(bad.values()) == sorted(f"{n},late" for n in range(0, 500, 11))
    assert all(text[line - 1] == shown for line, shown in bad.items())
