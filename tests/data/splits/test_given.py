"""Splits made elsewhere: a column or a file per split, RecBole's and MMRec's headers, odd pairs, bad input."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from musicrec.data.prepare import is_prepared, prepare
from musicrec.data.source import DataSource
from musicrec.data.split_source import SplitFilesSource
from musicrec.errors import MusicrecError
from musicrec.workspace import TrackIndex, Workspace
from tests.data.made_log import flat

# (user, track, split): user 2 hears track 10 again in test, user 9 is not in train.
ROWS = [(1, 10, 0), (1, 9, 0), (2, 10, 0), (2, 10, 0), (1, 2, 1), (2, 10, 2), (9, 9, 2), (1, 100, 2)]
VALUES = {"train": 0, "val": 1, "test": 2}
AUTO: dict[str, Any] = {"user_column": "auto", "track_column": "auto", "timestamp_column": "auto"}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def written(path: Path, header: str, rows: Sequence[tuple[object, ...]], separator: str = "\t") -> Path:
    lines = [header, *(separator.join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def by_column(path: Path, **options: Any) -> DataSource:
    settings = {"split": "column", "split_column": "x_label", "split_values": VALUES, **AUTO, **options}
    return flat(SplitFilesSource, "given", plays=str(path), **settings)


def pairs(workspace: Workspace, name: str) -> list[tuple[object, str, int]]:
    """Returns (user, track id, count) of a split."""
    ids = TrackIndex.load(workspace.track_index).ids
    frame = pd.read_parquet(workspace.split(name))
    return [
        (user, ids[track], count)
        for user, track, count in zip(frame.user_id, frame.track_id, frame["count"], strict=True)
    ]


@pytest.mark.parametrize(
    "header", ["userID\titemID\tx_label", "user_id:token\titem_id:token\tx_label:float", "uid\titem_id\tx_label"]
)
def test_a_column_says_it(tmp_path: Path, workspace: Workspace, header: str) -> None:
    source = by_column(written(tmp_path / "data.inter", header, ROWS))
    report = prepare(source, workspace)
    assert TrackIndex.load(workspace.track_index).ids == ["2", "9", "10", "100"]
    assert pairs(workspace, "train") == [(1, "9", 1), (1, "10", 1), (2, "10", 2)]
    assert pairs(workspace, "val") == [(1, "2", 1)]
    assert pairs(workspace, "test") == [(1, "100", 1), (2, "10", 1), (9, "9", 1)]
    assert report.statistics["rows"].tolist() == [3, 1, 3]
    # Without times the rows are in order of time.
    train = pd.read_parquet(workspace.split("train")).sort_values("timestamp")
    assert train.track_id.tolist() == [2, 1, 2]
    assert is_prepared(source, workspace)
    assert not is_prepared(by_column(tmp_path / "data.inter", split_values={"train": 0, "test": 2}), workspace)


def test_a_file_per_split(tmp_path: Path, workspace: Workspace) -> None:
    for name, value in VALUES.items():
        rows = [
            (user, track, f"2020-01-0{index + 1}") for index, (user, track, split) in enumerate(ROWS) if split == value
        ]
        frame = pd.DataFrame(rows, columns=["user", "item", "time"])
        if name == "val":
            frame.to_parquet(tmp_path / "val.parquet")
        else:
            frame.to_csv(tmp_path / f"{name}.csv", index=False)
    files = {"train": "train.csv", "val": "val.parquet", "test": "test.csv"}
    paths: dict[str, Any] = {name: str(tmp_path / file) for name, file in files.items()}
    prepare(flat(SplitFilesSource, "given", **paths, **AUTO), workspace)
    assert pairs(workspace, "train") == [(1, "9", 1), (1, "10", 1), (2, "10", 2)]
    assert pairs(workspace, "test") == [(1, "100", 1), (2, "10", 1), (9, "9", 1)]
    assert pd.read_parquet(workspace.split("train")).timestamp.dt.day.tolist() == [2, 1, 3]
    without_val = flat(SplitFilesSource, "given", train=paths["train"], test=paths["test"], **AUTO)
    assert not is_prepared(without_val, workspace)
    prepare(without_val, workspace)
    assert pairs(workspace, "val") == []


def test_odd_pairs_are_listed(tmp_path: Path, workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    prepare(by_column(written(tmp_path / "data.inter", "userID\titemID\tx_label", ROWS)), workspace)
    assert "1 pairs of test are in train, too; what a user played is not recommended" in caplog.text
    assert "1 users of test are not in train; they get no lists and score 0 in every metric" in caplog.text
    listed = (workspace.data_dir / "odd_pairs.csv").read_text(encoding="utf-8").splitlines()
    assert listed == ["user_id,trackid,split,reason", "2,10,test,in train", "9,9,test,user without train"]
    prepare(by_column(written(tmp_path / "data.inter", "userID\titemID\tx_label", ROWS[:5] + ROWS[7:])), workspace)
    assert not (workspace.data_dir / "odd_pairs.csv").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"split_values": {"train": 0, "test": 2}},
            "'x_label' of .* has the value '1' .*; data.split_values names 0, 2",
        ),
        ({"split_values": {"train": 0, "test": 0}}, "data.split_values=.* must be {train:VALUE,val:VALUE,test:VALUE}"),
        ({"split_values": {"train": 0, "fold": 1}}, "data.split_values=.* is invalid"),
        ({"split_values": {"train": 0, "val": 2, "test": 7}}, "has the value '1'"),
        ({"split_column": None}, "data.split_column=null is invalid; must be the column that says"),
        (
            {"split_column": "fold"},
            r"has no column 'fold'; its columns are: userID, itemID, x_label. Set data.split_column",
        ),
        ({"split": "files"}, "needs a file of each split: set data.train=FILE data.test=FILE"),
    ],
)
def test_bad_settings(tmp_path: Path, workspace: Workspace, options: dict[str, Any], message: str) -> None:
    path = written(tmp_path / "data.inter", "userID\titemID\tx_label", ROWS)
    with pytest.raises(MusicrecError, match=message):
        prepare(by_column(path, **options), workspace)


def test_test_pairs_that_are_in_val(tmp_path: Path, workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    rows = [(1, 10, 0), (1, 9, 1), (2, 9, 0), (1, 9, 2), (2, 10, 2), (3, 10, 1)]
    prepare(by_column(written(tmp_path / "data.tsv", "user_id\ttrack_id\tx_label", rows)), workspace)
    assert "1 pairs of test are in val, too; what is chosen by val then looks better on them" in caplog.text
    assert "1 users of val are not in train; they get no lists" in caplog.text
    listed = (workspace.data_dir / "odd_pairs.csv").read_text(encoding="utf-8").splitlines()
    assert listed == ["user_id,trackid,split,reason", "3,10,val,user without train", "1,9,test,in val"]


def test_another_split_removes_the_list_of_odd_pairs(tmp_path: Path, workspace: Workspace) -> None:
    rows = [(1, 10, 1), (1, 11, 2), (1, 12, 3), (2, 12, 1), (2, 11, 2), (2, 10, 3), (2, 10, 4)]
    lines = [(user, track, f"2020-0{month}-01", "test" if month == 4 else "train") for user, track, month in rows]
    path = written(tmp_path / "log.tsv", "user_id\ttrack_id\ttimestamp\tfold", lines)
    prepare(by_column(path, split_column="fold", split_values=None), workspace)
    assert (workspace.data_dir / "odd_pairs.csv").exists()
    prepare(flat(DataSource, "given", plays=path, split="leave_one_out"), workspace)
    assert not (workspace.data_dir / "odd_pairs.csv").exists()
    assert not (pd.read_parquet(workspace.plays).columns == "split").any()


def test_bad_rows_name_the_file_of_their_split(tmp_path: Path, workspace: Workspace) -> None:
    train = [written(tmp_path / f"train{part}.tsv", "uid\titem", [(1, part), (2, part)]) for part in (1, 2)]
    test = tmp_path / "test.tsv"
    test.write_text("uid\titem\n1\t\n2\t3\n", encoding="utf-8")
    source = flat(SplitFilesSource, "given", train=train, test=test, **AUTO)
    assert prepare(source, workspace).plays.bad_rows == 1
    assert pairs(workspace, "train") == [(1, "1", 1), (1, "2", 1), (2, "1", 1), (2, "2", 1)]
    assert pairs(workspace, "test") == [(2, "3", 1)]
    listed = (workspace.data_dir / "rejected_rows.csv").read_text(encoding="utf-8").splitlines()
    assert listed == ["line,reason,text,file", f"2,no track id,1\t,{test}"]
    assert is_prepared(source, workspace)
    test.write_text("uid\titem\n2\t3\n", encoding="utf-8")
    assert not is_prepared(source, workspace)


def test_files_of_one_split_all_have_times_or_none(tmp_path: Path, workspace: Workspace) -> None:
    timed = tmp_path / "a.csv"
    timed.write_text("uid,item,time\n1,2,2020-01-01\n", encoding="utf-8")
    timeless = tmp_path / "b.csv"
    timeless.write_text("uid,item\n1,3\n", encoding="utf-8")
    with pytest.raises(MusicrecError, match=r"b\.csv has no times, unlike .*a\.csv"):
        prepare(flat(SplitFilesSource, "given", train=[timed, timeless], test=timed, **AUTO), workspace)


def test_exports_have_no_column_of_splits(tmp_path: Path, workspace: Workspace) -> None:
    path = tmp_path / "scrobbles.csv"
    path.write_text("artist,track,date\nA,B,2020-01-01\n", encoding="utf-8")
    with pytest.raises(MusicrecError, match="has no column 'fold', or its format has no such columns"):
        prepare(by_column(path, split_column="fold"), workspace)


def test_a_source_without_files_per_split(tmp_path: Path, workspace: Workspace) -> None:
    with pytest.raises(MusicrecError, match="data.split=files needs a file of each split: data=split_files"):
        prepare(flat(DataSource, "mine", plays=tmp_path / "log.csv", split="files"), workspace)


def test_a_split_without_rows(tmp_path: Path, workspace: Workspace) -> None:
    path = written(tmp_path / "data.inter", "userID\titemID\tx_label", ROWS[:5])
    with pytest.raises(MusicrecError, match="no row of a known track belongs to test"):
        prepare(by_column(path), workspace)
