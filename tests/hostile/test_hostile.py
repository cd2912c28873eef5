"""A small dose of the hostile trials; `python -m tests.hostile` runs the long one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.hostile import bombs, damaged_files, disks, kills, values


@pytest.mark.slow
def test_damaged_files(tmp_path: Path) -> None:
    counted = damaged_files.trial(tmp_path, 12, seed=7)
    assert (counted.tried, counted.dirty) == (12, [])


@pytest.mark.slow
def test_values(tmp_path: Path) -> None:
    count = int(os.environ.get("MUSICREC_TRIAL_VALUES", "200"))
    counted = values.trial(tmp_path, count, seed=7)
    assert counted.tried > 0.9 * count and counted.dirty == []


@pytest.mark.slow
def test_bombs(tmp_path: Path) -> None:
    counted = bombs.trial(tmp_path, len(bombs.BOMBS), megabytes=8)
    assert (counted.tried, counted.dirty) == (28, [])


@pytest.mark.slow
def test_kills(tmp_path: Path) -> None:
    counted = kills.trial(tmp_path, 5, seed=7)
    assert (counted.tried, counted.dirty) == (5, [])


@pytest.mark.slow
@pytest.mark.skipif(not disks.can_mount(), reason="mounting a file system needs root")
def test_disks(tmp_path: Path) -> None:
    counted = disks.trial(tmp_path, 4, seed=7)
    assert (counted.tried, counted.dirty) == (4, [])
