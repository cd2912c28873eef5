"""Clean blocks are parsed at once, others row by row: both ways give the same plays and the same rejected rows."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from musicrec.data.log import blocks, delimited
from musicrec.data.log.formats import Layout, LogColumns
from musicrec.data.log.read import read_log
from musicrec.data.log.values import LogBatch
from musicrec.errors import MusicrecError

COLUMNS = LogColumns("user_id", "track_id", "timestamp")
TIMES = [
    *("2019-02-20 10:11:12", "2019-02-20T10:11:12", "2019-02-20", "2019-02-20 10:11", "2019-02-20T10:11:12Z"),
    *("2019-02-20T10:11:12+02:00", "2019-02-20 10:11:12.5", "2019-02-20T10:11:12.123456789Z", "1577836800"),
    *("1577836800000", "1577836800.5", "1.5778368e9", "1577836800123456"),
]
ODD_TIMES = [
    *("", "never", "2019", "2019-02-30", "2019-02-20 25:00:00", "-5", "+7", "1e99", "nan", "inf", "infinity", "epoch"),
    *("2019-2-3", "20-02-2019", " 2019-02-20", "2019-02-20 ", "2019/02/20", "0x10", "1_000", "9" * 25, "NULL", "١٢٣"),
    *("2019-02-20 10:11:60", "06 Mar 2018, 10:24", "6 Mar 2018, 10:24", "2019-02-20\u00a0", "1577836800.", "00012"),
]
IDS = ["a", "abc def", "é", "e\u0301", "🎵", "NA", "null", "True", "x" * 30, "0", "'", "a'b", "\u200f7", "\ufeffx", "#"]
ODD_IDS = ["", " ", "007", "+7", "-1", "7 ", " 7", "7.0", "1e3", "٧", "9" * 19, "9" * 30, "10000001", "\0"]
# Only where these are ordinary characters: what a lone one swallows elsewhere depends on where a block ends.
MARKS = ['"', 'a"b', '"q"']


def line(of: random.Random, odd: float, separator: str, users: str) -> bytes:
    """Returns a row of a log, with a probability of `odd` that something is unusual in it."""
    user = str(of.randrange(40)) if users == "integers" else of.choice(IDS) + str(of.randrange(9))
    track = of.choice(IDS) + str(of.randrange(30))
    cells = [user, track, TIMES[0] if of.random() > odd else of.choice(TIMES)]
    if of.random() < odd:
        kind = of.randrange(10)
        if kind < 3:
            cells[kind] = of.choice(ODD_TIMES if kind == 2 else ODD_IDS + MARKS * (separator == "\t"))
        elif kind == 3:
            cells = cells[: of.randrange(3)]
        elif kind == 4:
            cells.append(of.choice(["", "x"]))
        elif kind == 5:
            return separator.join(cells).encode() + b"\r"
        elif kind == 6:
            return of.choice([b"", b" ", b"\t\t", b"\r", b"\xff\xfe\t1\t2", b"\0", b",,", b"\xff"])
        elif kind == 7:
            return (separator * 2).join(cells).encode()
        elif kind == 8:
            return separator.join(cells).encode().replace(b"a", b"\xe9", 1)
        else:
            cells[1] = "y" * of.choice([5_000, 70_000])
    return separator.join(cells).encode()


def text(seed: int, odd: float) -> bytes:
    """Returns a log of a few hundred rows."""
    of = random.Random(seed)
    separator, users = of.choice(["\t", ",", ";"]), of.choice(["integers", "texts"])
    header = separator.join(["user_id", "track_id", "timestamp"])
    if separator == "," and of.random() < 0.5:
        header = separator.join(f'"{name}"' for name in header.split(separator))
    end = of.choice([b"\n", b"\n", b"\r\n"])
    lines = [line(of, odd, separator, users) for _ in range(300)]
    return of.choice([b"", b"\xef\xbb\xbf"]) + end.join([header.encode(), *lines]) + of.choice([end, b"", b"\x1a"])


def found(path: Path) -> tuple[list[Any], list[Any], Counter[str]] | str:
    """Returns the plays, the bad rows and the formats of times of a log; or the message of its refusal."""
    rows: list[Any] = []
    bad: list[Any] = []
    formats: Counter[str] = Counter()
    try:
        for batch in read_log(path, COLUMNS, workers=2):
            users = batch.users.tolist() if isinstance(batch.users, np.ndarray) else batch.users.to_pylist()
            rows += zip(map(str, users), batch.tracks.to_pylist(), batch.timestamps.tolist(), strict=True)
            bad += [(row.line, row.reason, row.text) for row in batch.bad]
            formats += batch.formats
    except MusicrecError as error:
        return str(error)
    return rows, bad, formats


@pytest.mark.parametrize("seed", range(30))
def test_clean_and_careful_parsing_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    path = tmp_path / "log"
    path.write_bytes(text(seed, odd=(0, 0.02, 0.3)[seed % 3]))
    clean: list[LogBatch | None] = []
    parsed = blocks.parse_clean

    def noted(block: bytes | bytearray, layout: Layout, lines: int) -> LogBatch | None:
        clean.append(parsed(block, layout, lines))
        return clean[-1]

    # Small enough that most blocks of a log with a few odd rows are clean.
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 500)
    monkeypatch.setattr(blocks, "parse_clean", noted)
    fast = found(path)
    assert seed % 3 == 2 or any(batch is not None for batch in clean)
    for module in (blocks, delimited):
        monkeypatch.setattr(module, "parse_clean", lambda block, layout, lines: None)
    for size in (500, 1 << 20):
        monkeypatch.setattr(blocks, "BLOCK_BYTES", size)
        assert found(path) == fast, f"careful parsing, blocks of {size} bytes"
