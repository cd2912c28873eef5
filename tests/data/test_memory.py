"""A memory limit far below the data spills to disk and gives the same files; an insufficient one is reported."""

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest

from musicrec.data import plays, prepare
from musicrec.data.table.play_table import PlayTable
from musicrec.data.table.scratch import Scratch
from musicrec.errors import MusicrecError
from musicrec.workspace import Workspace
from tests.data.made_log import source

ROWS = 1_200_000  # 19 MB of numbers, and sorting needs them twice


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Each thread needs some memory of its own.
    monkeypatch.setattr(plays, "usable_cpus", lambda: 2)
    monkeypatch.setattr(prepare, "usable_cpus", lambda: 2)
    random = np.random.default_rng(0)
    table = pa.table(
        {
            "user_id": random.integers(0, 3000, ROWS),
            "track_id": random.integers(0, 2000, ROWS),
            "timestamp": np.datetime64("2019-01-01", "s") + random.integers(0, 450 * 86400, ROWS),
        }
    )
    pa_csv.write_csv(table, tmp_path / "log.csv")
    return tmp_path / "log.csv"


def test_work_beyond_the_limit_goes_to_disk(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spilled: list[tuple[int, int]] = []

    def watched(table: PlayTable, *arguments: Any) -> None:
        written(table, *arguments)
        spilled.append((table.spilled, sum(path.stat().st_size for path in little.root.glob(".tmp-*/keys"))))

    written = PlayTable.write
    monkeypatch.setattr(PlayTable, "write", watched)
    little, much = Workspace(tmp_path / "little"), Workspace(tmp_path / "much")
    prepare.prepare(source(log, memory_limit="40MB"), little)
    prepare.prepare(source(log, memory_limit="4GB"), much)
    (rows, keys), in_memory = spilled
    assert 1_000_000 * 16 < rows < ROWS * 16 and keys == ROWS * 8 and in_memory == (0, 0)
    for path in (much.plays, *(much.split(name) for name in ("train", "val", "test"))):
        pd.testing.assert_frame_equal(pd.read_parquet(little.root / path.relative_to(much.root)), pd.read_parquet(path))
    assert not list(little.root.glob(".tmp-*"))


def test_hopeless_limit(log: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace")
    with pytest.raises(MusicrecError, match="data.memory_limit=8MB is too small") as caught:
        prepare.prepare(source(log, memory_limit="8MB"), workspace)
    assert "\n" not in str(caught.value)
    # What was finished before the split stays.
    left = {path.name for path in workspace.root.rglob("*") if path.is_file()}
    assert left == {".hashes.json", "trackid_sorted.csv", "plays.pqt"}


def test_full_disk(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Scratch, "write", full)
    workspace = Workspace(tmp_path / "workspace")
    with pytest.raises(MusicrecError, match="cannot be written or read: no space is left") as caught:
        prepare.prepare(source(log, memory_limit="40MB"), workspace)
    assert "\n" not in str(caught.value)
    assert not [path for path in workspace.root.rglob("*") if path.is_file()]
