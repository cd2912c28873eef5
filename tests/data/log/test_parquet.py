"""Parquet logs: one row per user with lists, and rows that count by a further column."""

from collections import Counter
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from musicrec.data.log import parquet
from musicrec.data.log.conditions import Condition
from musicrec.data.log.formats import LogColumns
from musicrec.data.log.read import read_log
from musicrec.data.log.values import BadRow
from musicrec.errors import MusicrecError
from tests.data.made_yambda import made_likes, made_listens, write_events, write_multi_event

PLAYED = Condition("played_ratio_pct", "played too little", least=50, key="min_played=50")


def columns(*conditions: Condition) -> LogColumns:
    return LogColumns("uid", "item_id", "timestamp", conditions=conditions)


def read(path: Path, wanted: LogColumns) -> tuple[pd.DataFrame, list[BadRow], Counter[str]]:
    """Returns the rows of a log as text, in order, its bad rows, and what was left out."""
    users: list[str] = []
    tracks: list[str] = []
    times: list[pd.Timestamp] = []
    bad: list[BadRow] = []
    left_out: Counter[str] = Counter()
    for batch in read_log(path, wanted, workers=1):
        given = batch.users if not isinstance(batch.users, pa.DictionaryArray) else batch.users.to_pylist()
        users += [str(user) for user in given]
        tracks += batch.tracks.to_pylist()
        times += list(pd.to_datetime(batch.timestamps))
        bad += batch.bad
        left_out += batch.left_out
    return pd.DataFrame({"uid": users, "item_id": tracks, "timestamp": times}), bad, left_out


def expected(frame: pd.DataFrame) -> pd.DataFrame:
    times = pd.to_datetime(frame["timestamp"], unit="s").astype("datetime64[us]")
    texts = {name: frame[name].astype(str) for name in ("uid", "item_id")}
    return pd.DataFrame(texts | {"timestamp": times}).reset_index(drop=True)


@pytest.mark.parametrize("layout", ["flat", "sequential"])
def test_yambda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str) -> None:
    monkeypatch.setattr(parquet, "_BATCH_ROWS", 300)
    monkeypatch.setattr(parquet, "_BATCH_LISTS", 7)
    listens, likes = made_listens(), made_likes()
    write_events(tmp_path, "50m", "listens", listens)
    write_events(tmp_path, "50m", "likes", likes)
    path = tmp_path / layout / "50m"
    rows, bad, left_out = read(path / "listens.parquet", columns(PLAYED))
    enough = listens[listens["played_ratio_pct"] >= 50]
    pd.testing.assert_frame_equal(rows, expected(enough), check_dtype=False)
    assert not bad and left_out == {"played too little": len(listens) - len(enough)}
    rows, _, left_out = read(path / "likes.parquet", columns())
    pd.testing.assert_frame_equal(rows, expected(likes), check_dtype=False)
    assert not left_out


def test_events_of_one_type(tmp_path: Path) -> None:
    listens, likes = made_listens(rows=500), made_likes(rows=200)
    write_multi_event(tmp_path, "50m", listens, likes)
    path = tmp_path / "flat" / "50m" / "multi_event.parquet"
    rows, _, left_out = read(path, columns(Condition("event_type", "other events", equal="like")))
    pd.testing.assert_frame_equal(rows, expected(likes), check_dtype=False)
    assert left_out == {"other events": 500}
    rows, _, left_out = read(path, columns(Condition("event_type", "other events", equal="listen"), PLAYED))
    enough = listens[listens["played_ratio_pct"] >= 50]
    pd.testing.assert_frame_equal(rows, expected(enough), check_dtype=False)
    assert left_out == {"other events": 200, "played too little": 500 - len(enough)}


def test_bad_rows_keep_their_numbers(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"uid": ["a", "b", "c", "d"], "item_id": [1, 2, 3, 4], "timestamp": [0, 1, -5, 3], "played_ratio_pct": 100}
    )
    frame.loc[0, "played_ratio_pct"] = 10
    frame.to_parquet(tmp_path / "log.parquet")
    rows, bad, left_out = read(tmp_path / "log.parquet", columns(PLAYED))
    assert rows["uid"].tolist() == ["b", "d"] and left_out == {"played too little": 1}
    assert [(row.line, row.reason.split(" is")[0]) for row in bad] == [(3, "the timestamp -5")]


def test_a_missing_ratio_counts_as_none(tmp_path: Path) -> None:
    frame = pd.DataFrame({"uid": [1, 2], "item_id": [1, 2], "timestamp": [0, 1], "played_ratio_pct": [None, 50.0]})
    frame.to_parquet(tmp_path / "log.parquet")
    assert read(tmp_path / "log.parquet", columns(PLAYED))[0]["uid"].tolist() == ["2"]


def test_empty_and_missing_lists(tmp_path: Path) -> None:
    lists = pa.array([[7], [], None, [8, 9]], pa.list_(pa.uint32()))
    table = pa.table({"uid": pa.array([1, 2, 3, 4]), "item_id": lists, "timestamp": lists})
    pq.write_table(table, tmp_path / "log.parquet")
    assert read(tmp_path / "log.parquet", columns())[0].values.tolist() == [
        ["1", "7", pd.Timestamp("1970-01-01 00:00:07")],
        ["4", "8", pd.Timestamp("1970-01-01 00:00:08")],
        ["4", "9", pd.Timestamp("1970-01-01 00:00:09")],
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"uid": [1], "item_id": [[1, 2]], "timestamp": [5]},
            "the columns item_id of .* hold lists, but timestamp not; one row per user has lists in all columns but",
        ),
        ({"uid": [[1]], "item_id": [[1]], "timestamp": [[5]]}, "hold lists, but the users not"),
        (
            {"uid": [1], "item_id": [[1, 2]], "timestamp": [[5]]},
            "a row, near play 1, whose lists in item_id, timestamp differ in length",
        ),
        ({"uid": [1], "item_id": [[[1]]], "timestamp": [[5]]}, "'item_id' of .* holds list.*must hold integers"),
        (
            {"uid": [1], "item_id": [1], "timestamp": [5]},
            "no column 'played_ratio_pct', which data.min_played=50 needs; its columns are: uid, item_id, timestamp. "
            "Set data.min_played=0",
        ),
    ],
)
def test_refused(tmp_path: Path, content: dict[str, list[object]], message: str) -> None:
    pq.write_table(pa.table(content), tmp_path / "log.parquet")
    wanted = columns(*([PLAYED] if "no column" in message else []))
    with pytest.raises(MusicrecError, match=message) as caught:
        read(tmp_path / "log.parquet", wanted)
    assert "\n" not in str(caught.value)


def test_text_has_no_such_conditions(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("uid,item_id,timestamp,played_ratio_pct\n1,2,3,100\n")
    with pytest.raises(MusicrecError, match=r"log.csv is text; data.min_played=50 is for Parquet files"):
        read(tmp_path / "log.csv", columns(PLAYED))
