"""Line ends of every age, encodings, quotation marks that do not close, and files that are no logs."""

import codecs
import gzip
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import pytest

from musicrec.data.log import blocks as log_blocks
from musicrec.data.log.formats import LogSettings
from musicrec.data.prepare import prepare
from musicrec.data.source import DataSource
from musicrec.errors import MusicrecError
from musicrec.workspace import Workspace
from tests.data.log.test_formats import read, written
from tests.data.made_log import flat

ENDS = {
    "line feeds": ["\n"],
    "both": ["\r\n"],
    "carriage returns": ["\r"],
    "two carriage returns": ["\r\r\n"],
    "mixed": ["\n", "\r", "\r\n"],
    "a return in the middle": ["\n", "\n", "\n", "\r"],
    "a return after the header": ["\r", "\n", "\n", "\n", "\n", "\n", "\n", "\n", "\n", "\n"],
}
ROWS = [(f"{number % 3}", f"Björk {number}", f"2020-01-01 00:00:{number:02}") for number in range(9)]


def table(delimiter: str, quote: str, ends: list[str], last: str) -> str:
    lines = [("user_id", "track_id", "timestamp"), *ROWS]
    text = "".join(
        delimiter.join(f"{quote}{cell}{quote}" for cell in line) + end
        for line, end in zip(lines, cycle(ends), strict=False)
    )
    return text.rstrip("\r\n") + last


@pytest.mark.parametrize("ends", ENDS)
@pytest.mark.parametrize("last", ["", "\n", "\r", "\r\n", "\n\x1a", "\n\n\n", "\r\r"])
@pytest.mark.parametrize(("delimiter", "quote"), [("\t", ""), (",", ""), (",", '"'), (";", ""), ("\t", '"')])
def test_line_ends(tmp_path: Path, ends: str, last: str, delimiter: str, quote: str) -> None:
    if quote and "\r" in ENDS[ends] and len(ENDS[ends]) > 1:
        pytest.skip("between quoted cells a carriage return may be part of a cell")
    assert read(written(tmp_path, table(delimiter, quote, ENDS[ends], last))) == (ROWS, {})


@pytest.mark.parametrize("size", [40, 100, 333])
@pytest.mark.parametrize("ends", ["carriage returns", "both", "mixed"])
def test_line_ends_at_block_borders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, ends: str) -> None:
    monkeypatch.setattr(log_blocks, "BLOCK_BYTES", size)
    assert read(written(tmp_path, table("\t", "", ENDS[ends], "\r"))) == (ROWS, {})


def test_a_carriage_return_within_a_name_stays(tmp_path: Path) -> None:
    text = "user_id\ttrack_id\ttimestamp\n1\ta\rb\t2020-01-01\n2\tc\t2020-01-02\r3\td\t2020-01-03\n"
    rows, bad = read(written(tmp_path, text))
    assert [row[:2] for row in rows] == [("1", "a\rb"), ("2", "c"), ("3", "d")] and not bad


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("ends", ["line feeds", "carriage returns", "both"])
def test_byte_order_marks(tmp_path: Path, encoding: str, pack: Callable[[bytes], bytes], ends: str) -> None:
    mark = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE, "utf-32-be": codecs.BOM_UTF32_BE}
    content = mark.get(encoding, b"") + table("\t", "", ENDS[ends], "").encode(encoding)
    assert read(written(tmp_path, pack(content))) == (ROWS, {})


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16-le", "cp437", "mac-roman"])
def test_other_encodings_are_read_when_named_and_refused_otherwise(tmp_path: Path, encoding: str) -> None:
    path = written(tmp_path, table("\t", "", ["\n"], "\n").encode(encoding))
    source = flat(DataSource, plays=path, split="leave_one_out", encoding=encoding)
    workspace = Workspace(tmp_path / "w")
    with pytest.raises(MusicrecError, match="split is empty"):
        prepare(source, workspace)
    assert workspace.plays.is_file()
    source.log = LogSettings()
    with pytest.raises(
        MusicrecError, match=r"(line 2: not UTF-8, as 9 rows in all|first line .* not text).*data.encoding="
    ):
        prepare(source, workspace)


def test_bad_encodings(tmp_path: Path) -> None:
    path = written(
        tmp_path, b"\xff\xfe" + "user_id\ttrack_id\ttimestamp\n1\ta\t2020-01-01\n".encode("utf-16-le") + b"x"
    )
    source = flat(DataSource, plays=path)
    messages = {
        "auto": "line 3: the text is not utf-16",
        "klingon": "data.encoding=klingon is invalid",
        "zip": "data.encoding=zip is invalid",
        "utf-8": "not UTF-8",
    }
    for encoding, message in messages.items():
        source.log = LogSettings(encoding=encoding)
        with pytest.raises(MusicrecError, match=message) as caught:
            prepare(source, Workspace(tmp_path / "w"))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cell", ['"never closed', 'a"b', '"a" b', '"', '"""'])
@pytest.mark.parametrize("column", [0, 1, 2, 3])
@pytest.mark.parametrize("at", [0, 20, 49])
def test_a_quotation_mark_that_does_not_close_costs_only_its_line(
    tmp_path: Path, cell: str, column: int, at: int
) -> None:
    rows = [[str(row % 7), f"t{row}", "2020-01-01", "x"] for row in range(50)]
    rows[at][column] = cell
    text = "user_id,track_id,timestamp,other\n" + "".join(",".join(row) + "\n" for row in rows)
    found, bad = read(written(tmp_path, text))
    names = {track for _, track, _ in found}
    assert {f"t{row}" for row in range(50) if row != at} <= names
    assert set(bad) <= {at + 2}


def bomb(tmp_path: Path, kind: str) -> Path:
    header = b"user_id\ttrack_id\ttimestamp\n"
    path = tmp_path / "log.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"" if kind == "endless line" else header if kind != "quotes" else header.replace(b"\t", b","))
        part = {
            "endless line": b"a",
            "endless row": b"a",
            "quotes": b'"',
            "empty lines": b"\n",
            "blank lines": b"\t\t\n",
        }[kind]
        for _ in range(200):
            file.write(part * ((1 << 20) // len(part)))
    return path


@pytest.mark.parametrize("kind", ["endless line", "endless row", "quotes", "empty lines", "blank lines"])
def test_bombs_are_refused(tmp_path: Path, kind: str) -> None:
    start = time.process_time()
    with pytest.raises(MusicrecError, match="longer than 1 MiB|has no plays") as caught:
        prepare(flat(DataSource, plays=bomb(tmp_path, kind)), Workspace(tmp_path / "w"))
    assert len(str(caught.value)) < 1000
    assert time.process_time() - start < 60
