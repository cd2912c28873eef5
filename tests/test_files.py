from pathlib import Path

import pandas as pd
import pytest

from musicrec.files import atomic_path, parquet_metadata, read_json, write_json, write_parquet


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path: Path) -> None:
    target = tmp_path / "sub" / "a.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(target.parent.iterdir()) == [target]


def test_parquet_keeps_frame_and_metadata(tmp_path: Path) -> None:
    frame = pd.DataFrame({"user_id": [1, 2], "name": ["a", "ü"]})
    write_parquet(frame, tmp_path / "a.pqt", {"tracks": 3})
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "a.pqt"), frame)
    assert parquet_metadata(tmp_path / "a.pqt") == {"tracks": 3}
    frame.to_parquet(tmp_path / "foreign.pqt")
    assert parquet_metadata(tmp_path / "foreign.pqt") == {}


def test_json_round_trip_and_missing_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"path": Path("x"), "n": 1})
    assert read_json(tmp_path / "a.json") == {"path": "x", "n": 1}
    assert read_json(tmp_path / "none.json") is None
