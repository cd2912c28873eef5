"""prepare(): row for row the reference; what it refuses; what it keeps."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from musicrec.data.interactions import SplitData
from musicrec.data.prepare import prepare
from musicrec.errors import MusicrecError
from musicrec.files import parquet_metadata
from musicrec.workspace import TrackIndex, Workspace
from tests.data.made_log import END, SMALL, START, TEST, made_log, save, some_log, source
from tests.data.split_reference import temporal_split

NAMES = ("train", "val", "test")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def splits(workspace: Workspace) -> list[pd.DataFrame]:
    return [pd.read_parquet(workspace.split(name)) for name in NAMES]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("strings", [False, True])
@pytest.mark.parametrize("counts", [False, True])
@pytest.mark.parametrize("end", [None, END])
def test_equals_the_reference(
    tmp_path: Path, workspace: Workspace, seed: int, strings: bool, counts: bool, end: str | None
) -> None:
    log = made_log(seed, strings=strings, counts=counts)
    track_ids = sorted(log.track_id.unique())[::-1][5:]  # not sorted, and some tracks are unknown
    TrackIndex(track_ids).save(workspace.track_index)
    prepare(source(save(log, tmp_path / "log.tsv"), end=end), workspace)
    reference = temporal_split(log, track_ids, START, TEST, end)
    for name, found, expected in zip(NAMES, splits(workspace), reference, strict=True):
        assert len(expected) > 20
        pd.testing.assert_frame_equal(found, expected, obj=name)
        assert list(found.columns) == ["user_id", "track_id", "timestamp", "count"]
        assert str(found.user_id.dtype) == ("str" if strings else "int64")
        assert [str(kind) for kind in found.dtypes.iloc[1:]] == ["int64", "datetime64[us]", "int64"]


def test_plays_are_all_of_the_known_tracks(tmp_path: Path, workspace: Workspace) -> None:
    log = made_log(3, strings=False, counts=False)
    track_ids = sorted(log.track_id.unique())[3:]
    TrackIndex(track_ids).save(workspace.track_index)
    prepare(source(save(log, tmp_path / "log.tsv")), workspace)
    known = log[log.track_id.isin(track_ids)].copy()
    known["track_id"] = known.track_id.map({track: row for row, track in enumerate(track_ids)})
    expected = known.sort_values(["user_id", "timestamp", "track_id"], ignore_index=True)[
        ["user_id", "track_id", "timestamp"]
    ]
    pd.testing.assert_frame_equal(pd.read_parquet(workspace.plays), expected)


def test_integers_only_if_every_id_is_canonical(tmp_path: Path, workspace: Workspace) -> None:
    path = some_log(tmp_path / "log.tsv", SMALL)
    prepare(source(path), workspace)
    assert splits(workspace)[0].user_id.dtype == np.int64
    for other in ("007", "+7", "7.0", "9223372036854775808", "-0"):
        some_log(path, [*SMALL, f"{other} a 2019-03-03"])
        prepare(source(path), workspace)
        assert splits(workspace)[0].user_id.tolist()[-1] == max(other, "4")
    some_log(path, [*SMALL, "-9223372036854775808 a 2019-03-03", "10 b 2019-03-03"])
    prepare(source(path), workspace)
    train = splits(workspace)[0]
    assert train.user_id.dtype == np.int64
    assert (train.user_id.iloc[0], train.user_id.iloc[-1]) == (-9223372036854775808, 10)


def test_auto_dates_are_those_of_the_study(tmp_path: Path, workspace: Workspace) -> None:
    """Music4All-Onion ends on 2020-03-19: the last month from 2020-02-20, the year before from 2019-02-20."""
    path = some_log(tmp_path / "log.tsv", [*SMALL, "1 b 2019-02-19T23:59:59", "1 b 2020-03-19T23:59:59"])
    report = prepare(source(path, start="auto", test="auto"), workspace)
    assert report.period == "train from 2019-02-20 00:00:00, held out from 2020-02-20 00:00:00"
    report = prepare(source(path, start="auto", test="auto", end="2020-02-26"), workspace)
    assert report.period.startswith("train from 2019-01-26 00:00:00, held out from 2020-01-26 00:00:00")
    assert "plays from 2020-02-26 00:00:00 on are dropped" in report.period


def test_statistics(tmp_path: Path, workspace: Workspace) -> None:
    path = some_log(tmp_path / "log.tsv", [*SMALL, "1 b 2019-06-01", "1 b 2019-06-02"])
    report = prepare(source(path), workspace)
    train = report.statistics.set_index("split").loc["train"]
    assert train.to_dict() == {
        **{"rows": 12, "users": 4, "items": 4, "tracks_median": 3, "tracks_min": 3, "tracks_max": 3},
        **{"plays_median": 3, "plays_min": 3, "plays_max": 5},
    }
    assert report.statistics["rows"].sum() == 16  # "4 a" again in the held-out period is no new pair
    pd.testing.assert_frame_equal(pd.read_csv(workspace.data_dir / "stats.csv"), report.statistics)


def test_index_from_the_log_grows_but_keeps_its_order(tmp_path: Path, workspace: Workspace) -> None:
    path = some_log(tmp_path / "log.tsv", SMALL)
    prepare(source(path), workspace)
    assert TrackIndex.load(workspace.track_index).ids == list("abcd")
    some_log(path, [*SMALL, "1 B 2019-04-01", "1 0 2019-04-01"])
    report = prepare(source(path), workspace)
    assert TrackIndex.load(workspace.track_index).ids == [*"abcd", "0", "B"]
    assert report.unknown_tracks is None


def test_index_from_the_audio_folder(tmp_path: Path, workspace: Workspace) -> None:
    for name in ("b.mp3", "c.flac", "x/d.ogg", "a.wav"):
        (tmp_path / "music" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "music" / name).write_bytes(b"not looked into")
    lines = [line.replace(" d ", " x/d ") for line in SMALL] + [
        "1 B 2019-04-01",
        "1 a.wav 2019-04-01",
        "2 B 2019-04-01",
    ]
    report = prepare(source(some_log(tmp_path / "log.tsv", lines), audio_dir=tmp_path / "music"), workspace)
    assert TrackIndex.load(workspace.track_index).ids == ["a", "b", "c", "x/d"]
    assert (report.plays.unknown_tracks, report.plays.unknown_plays) == (2, 3)
    assert report.unknown_tracks is not None
    assert report.unknown_tracks.read_text() == "trackid,plays\nB,2\na.wav,1\n"
    assert splits(workspace)[0]["count"].sum() == 12


def test_unknown_tracks_hint_at_case_and_extension(
    tmp_path: Path, workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    TrackIndex(list("abcd")).save(workspace.track_index)
    prepare(source(some_log(tmp_path / "log.tsv", [*SMALL, "1 B 2019-04-01", "1 a.mp3 2019-04-01"])), workspace)
    assert "2 plays of 2 tracks" in caplog.text
    assert "only in letter case (B)" in caplog.text
    assert "without their extension (a.mp3)" in caplog.text


def test_bad_rows_are_skipped_counted_and_listed(
    tmp_path: Path, workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    path = some_log(tmp_path / "log.tsv", ["1 a never", *SMALL, "1 b"])
    report = prepare(source(path), workspace)
    assert report.plays.bad_rows == 2
    assert "2 bad rows" in caplog.text
    assert report.rejected_rows is not None
    listed = pd.read_csv(report.rejected_rows)
    assert listed.line.tolist() == [2, 3 + len(SMALL)]
    assert listed.text.tolist() == ["1\ta\tnever", "1\tb"]
    some_log(path, SMALL)
    assert prepare(source(path), workspace).rejected_rows is None
    assert not (workspace.data_dir / "rejected_rows.csv").exists()


def test_bad_rows_as_errors_leave_everything_as_it_was(tmp_path: Path, workspace: Workspace) -> None:
    path = some_log(tmp_path / "log.tsv", SMALL)
    prepare(source(path), workspace)
    before = contents(workspace.root)
    some_log(path, [*SMALL, "1 a never"])
    with pytest.raises(MusicrecError, match=r"log.tsv, line 19: the timestamp 'never' .*data.on_bad_row=skip"):
        prepare(source(path, on_bad_row="error"), workspace)
    assert contents(workspace.root) == before


def contents(folder: Path) -> dict[Path, bytes]:
    files = (path for path in Path(folder).rglob("[!.]*") if path.is_file())
    return {path: path.read_bytes() for path in files}


def test_mixed_formats_are_reported(tmp_path: Path, workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    prepare(source(some_log(tmp_path / "log.tsv", [*SMALL, "1 a 1551700000"])), workspace)
    assert "mixes timestamp formats (17 ISO, 1 epoch seconds)" in caplog.text


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "there is only a header"),
        (["1 a never", "2 b 2019"], r"all rows are bad, first line 2: the timestamp 'never'"),
    ],
)
def test_log_without_plays(tmp_path: Path, workspace: Workspace, lines: list[str], message: str) -> None:
    # 2019 is a number: epoch seconds of 1970
    lines = [line.replace("2019", "soon") for line in lines]
    with pytest.raises(MusicrecError, match=message):
        prepare(source(some_log(tmp_path / "log.tsv", lines)), workspace)
    assert not workspace.track_index.exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start": "2021-01-01", "test": "2021-02-01"}, "data.start=2021-01-01.*from 2019-03-01 .* to 2020-02-25"),
        ({"start": "2019-01-01", "test": "2019-02-01", "end": "2019-02-20"}, "no play is within"),
        ({"start": "2020-01-01"}, "no play is between data.start=2020-01-01 00:00:00 and data.test=2020-02-20"),
        ({"test": "2020-03-20"}, "no user plays a track for the first time from data.test=2020-03-20"),
        ({"start": "2019-03-04"}, "no track first played in the held-out period is played in the training one"),
        ({"test": "auto", "end": "2018-01-01", "start": "2017-01-01"}, "data.end=2018-01-01 leaves no plays"),
    ],
)  # fmt: skip
def test_empty_split_says_which_filter_and_the_dates(
    tmp_path: Path, workspace: Workspace, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(MusicrecError, match=message) as caught:
        prepare(source(some_log(tmp_path / "log.tsv", SMALL), **settings), workspace)
    assert "2020-02-25" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert workspace.plays.exists()  # what was computed stays


def test_no_user_or_track_on_both_sides(tmp_path: Path, workspace: Workspace) -> None:
    path = some_log(tmp_path / "log.tsv", ["1 a 2019-03-01", "2 a 2020-03-01"])
    with pytest.raises(MusicrecError, match="no user who plays in the held-out period"):
        prepare(source(path), workspace)
    some_log(path, ["1 a 2019-03-01", "1 b 2020-03-01"])
    with pytest.raises(MusicrecError, match="no track first played in the held-out period"):
        prepare(source(path), workspace)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start": "2020-02-20"}, r"data.start \(2020-02-20 .*must be before data.test"),
        ({"end": "2020-02-20"}, r"data.test .* must be before data.end"),
        ({"test": "auto", "end": "2019-01-01"}, r"data.start .* must be before data.end"),
        ({"test": "20.2.2020"}, "data.test='20.2.2020' is not a valid date"),
        ({"split": "random"}, "data.split=random is invalid; must be one of: temporal, hot_cold, leave_one_out"),
        ({"format": "xml"}, "data.format=xml is invalid; must be auto, table, lastfm_1k, listenbrainz, lastfm"),
        ({"min_user_plays": -1}, "data.min_user_plays=-1 is invalid"),
        ({"item_sample": 1.5}, "data.item_sample=1.5 is invalid"),
        ({"split": "hot_cold", "end": "2020-02-20"}, r"data.test .* must be before data.end"),
        ({"split": "leave_one_out", "end": "2019-02-20"}, r"data.start .* must be before data.end"),
        ({"on_bad_row": "keep"}, "data.on_bad_row=keep is invalid; must be skip or error"),
        ({"memory_limit": "plenty"}, "data.memory_limit=plenty is invalid; must be an amount of memory"),
        ({"plays": None}, "data.plays=FILE"),
        ({"plays": "none.tsv"}, "none.tsv does not exist"),
    ],
)
def test_settings_that_cannot_work(
    tmp_path: Path, workspace: Workspace, settings: dict[str, Any], message: str
) -> None:
    plays = settings.pop("plays", some_log(tmp_path / "log.tsv", SMALL))
    with pytest.raises(MusicrecError, match=message):
        prepare(source(plays, **settings), workspace)
    assert not workspace.plays.exists()


def test_no_known_track(tmp_path: Path, workspace: Workspace) -> None:
    TrackIndex(["x"]).save(workspace.track_index)
    with pytest.raises(MusicrecError, match=r"none of the 4 tracks of .* such as '.', is among the 1 .* such as 'x'"):
        prepare(source(some_log(tmp_path / "log.tsv", SMALL)), workspace)


def test_second_run_makes_only_what_changed(
    tmp_path: Path, workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    path = some_log(tmp_path / "log.tsv", SMALL)
    first = prepare(source(path), workspace)
    assert [made.name for made in first.made] == ["plays.pqt", "train.pqt", "val.pqt", "test.pqt", "stats.csv"]
    before = contents(workspace.root)
    caplog.set_level(logging.INFO)
    again = prepare(source(path), workspace)
    assert again.made == ()
    assert "up to date" in caplog.text
    pd.testing.assert_frame_equal(again.statistics, first.statistics)
    assert contents(workspace.root) == before
    other = prepare(source(path, end="2020-02-25"), workspace)
    assert [made.name for made in other.made] == ["train.pqt", "val.pqt", "test.pqt", "stats.csv"]
    workspace.split("val").write_bytes(b"damaged")
    assert len(prepare(source(path, end="2020-02-25"), workspace).made) == 4
    TrackIndex(list("abcde")).save(workspace.track_index)
    assert len(prepare(source(path, end="2020-02-25"), workspace).made) == 5
    assert parquet_metadata(workspace.split("train"))["tracks"] == 5


def test_failing_second_run_keeps_the_first(tmp_path: Path, workspace: Workspace) -> None:
    path = some_log(tmp_path / "log.tsv", SMALL)
    prepare(source(path), workspace)
    before = contents(workspace.root)
    with pytest.raises(MusicrecError):
        prepare(source(path, test="2020-03-20"), workspace)
    assert contents(workspace.root) == before
    assert not list(workspace.root.rglob(".tmp*"))


def test_every_file_is_stamped(tmp_path: Path, workspace: Workspace) -> None:
    prepare(source(some_log(tmp_path / "log.tsv", SMALL)), workspace)
    stamp = TrackIndex.load(workspace.track_index).stamp()
    for path in (workspace.plays, *(workspace.split(name) for name in NAMES)):
        assert stamp.items() <= parquet_metadata(path).items()


def test_strange_names_pass_through_sql(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / 'it\'s {a} "workspace"')
    lines = [line.replace(" a ", " it's;-- ") for line in SMALL]
    prepare(source(some_log(tmp_path / "l'og.tsv", lines)), workspace)
    tracks = TrackIndex.load(workspace.track_index)
    assert len(SplitData.load(workspace, tracks).train) == 12
