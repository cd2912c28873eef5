import csv
import errno
import io
from pathlib import Path

import pytest

from musicrec.disk import disk_problem, free, mount
from musicrec.errors import MusicrecError
from musicrec.files import atomic_path, csv_text, remove_leftovers, temporary_name


def test_the_line_names_the_file_the_file_system_and_what_is_free(tmp_path: Path) -> None:
    temporary = tmp_path / temporary_name("a.npy")
    error = OSError(errno.ENOSPC, "No space left on device", str(temporary))
    found = disk_problem(error, tmp_path)
    assert found is not None
    assert found.startswith(
        f"{tmp_path}/a.npy cannot be written or read: no space is left (file system {mount(tmp_path)},"
    )
    assert found.endswith(" MB free)")
    assert free(tmp_path / "not" / "there") > 0


def test_other_errors_are_not_the_disks(tmp_path: Path) -> None:
    assert disk_problem(ValueError("x"), tmp_path) is None
    assert disk_problem(FileNotFoundError(errno.ENOENT, "x", "y"), tmp_path) is None


def test_an_error_without_a_reason_on_a_full_disk_is_the_disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("musicrec.disk.free", lambda path: 0)
    with pytest.raises(MusicrecError, match="no space is left"), atomic_path(tmp_path / "a"):
        raise RuntimeError("PytorchStreamWriter failed writing file")
    assert list(tmp_path.iterdir()) == []


def test_what_dead_processes_left_is_deleted_and_what_living_ones_write_is_not(tmp_path: Path) -> None:
    own = tmp_path / temporary_name("a")
    own.touch()
    dead = tmp_path / own.name.replace(own.name.split("-")[2], "4194305")
    dead.mkdir()
    (dead / "spill").touch()
    elsewhere = tmp_path / ".tmp-00000000-1-b"
    elsewhere.touch()
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([own, elsewhere])


def test_every_value_survives_csv() -> None:
    rows = [["a,b", 'say "x"'], ["c\rd", "e\nf"], ["", " g "]]
    assert list(csv.reader(io.StringIO(csv_text(rows), newline=""))) == rows
