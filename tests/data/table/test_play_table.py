"""PlayTable: packed numbers and a database give the same file, whatever ids, times and limits."""

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from musicrec.data.log.values import LogBatch
from musicrec.data.table import sorted_file
from musicrec.data.table.keys import PlayKeys
from musicrec.data.table.play_table import table_in
from musicrec.files import parquet_damage, parquet_metadata

SECOND = 1_000_000
TRACKS = [f"t{track}" for track in range(40)]


def batches(seed: int, *, text: bool, step: int, first: int, counts: bool = False) -> list[LogBatch]:
    """Returns plays with many ties, in batches of different size."""
    random = np.random.default_rng(seed)
    found = []
    for rows in (1, 700, 40, 1500):
        users = random.integers(0, 60, rows)
        tracks = pa.array([TRACKS[track] for track in random.integers(0, 40, rows)])
        times = (first + step * random.integers(0, 90, rows)).view("datetime64[us]")
        ids = pa.array([("é", "Z", "0")[user % 3] + str(user) for user in users]) if text else users
        found.append(LogBatch(ids, tracks, times, random.integers(1, 4, rows) if counts else None, formats=Counter()))
    return found


def written(folder: Path, plays: list[LogBatch], known: list[int | None], limit: str = "4GB") -> pd.DataFrame:
    """Returns the file of some plays as it is read."""
    folder.mkdir()
    with table_in(folder, limit) as table:
        for batch in plays:
            table.append(batch)
        rows = [known[TRACKS.index(track)] for track in table.tracks.ids()]
        table.write(rows, folder / "plays.pqt", lambda: {"made": "so"})
        assert table.rows == sum(map(len, plays)) and table.spilled == (0 if limit == "4GB" else table.spilled)
    assert [path.name for path in folder.iterdir()] == ["plays.pqt"]
    assert parquet_metadata(folder / "plays.pqt") == {"made": "so"}
    assert parquet_damage(folder / "plays.pqt") is None
    return pd.read_parquet(folder / "plays.pqt")


def expected(plays: list[LogBatch], known: list[int | None]) -> pd.DataFrame:
    """Returns the plays of known tracks, sorted by pandas."""
    frame = pd.concat(
        pd.DataFrame(
            {
                "user_id": batch.users if isinstance(batch.users, np.ndarray) else batch.users.to_pylist(),
                "track_id": [known[TRACKS.index(track)] for track in batch.tracks.to_pylist()],
                "timestamp": batch.timestamps,
                **({} if batch.counts is None else {"count": batch.counts}),
            }
        )
        for batch in plays
    )
    frame = frame.dropna().astype({"track_id": np.int64})
    return frame.sort_values(["user_id", "timestamp", "track_id", *frame.columns[3:]], ignore_index=True)


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize(
    ("step", "first", "limit"),
    [
        *((SECOND, -50 * SECOND, limit) for limit in ("4GB", "100KB")),
        *((7, 5, limit) for limit in ("4GB", "20KB")),
        (10**15, -(2**62), "40MB"),  # too many bits
    ],
)
def test_packed_numbers_and_columns_are_sorted_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bool, step: int, first: int, limit: str
) -> None:
    monkeypatch.setattr(sorted_file, "_GROUP_ROWS", 500)
    known: list[int | None] = [None if track in (3, 11) else 1000 - track for track in range(40)]
    plays = batches(1, text=text, step=step, first=first)
    frame = written(tmp_path / "packed", plays, known, limit)
    pd.testing.assert_frame_equal(frame, expected(plays, known))
    monkeypatch.setattr(PlayKeys, "of", lambda *settings: None)
    pd.testing.assert_frame_equal(written(tmp_path / "columns", plays, known), frame)
    schemas = [pq.read_schema(tmp_path / way / "plays.pqt").remove_metadata() for way in ("packed", "columns")]
    assert schemas[0] == schemas[1]


def test_counts(tmp_path: Path) -> None:
    plays = batches(2, text=True, step=SECOND, first=0, counts=True)
    known = list(range(40))
    for name, limit in (("memory", "4GB"), ("disk", "40MB")):
        pd.testing.assert_frame_equal(written(tmp_path / name, plays, [*known], limit), expected(plays, [*known]))


def test_plays_of_tracks(tmp_path: Path) -> None:
    for counts in (False, True):
        plays = batches(3, text=False, step=1, first=0, counts=counts)
        frame = expected(plays, [*range(40)])
        with table_in(tmp_path, "1KB") as table:
            for batch in plays:
                table.append(batch)
            code = table.tracks.ids().index("t5")
            of_track = frame[frame.track_id == 5]
            assert table.plays_of([code]) == {code: of_track["count"].sum() if counts else len(of_track)}
            assert table.plays_of([]) == {} and table.spilled > 0


@pytest.mark.parametrize("bits", [62, 63, 64])
def test_keys_of_63_bits(bits: int) -> None:
    last = (1 << (bits - 2 - 3)) - 1
    keys = PlayKeys.of(users=3, last_track=7, first=0, last=last, unit=1)
    if bits == 64:
        assert keys is None
        return
    assert keys is not None
    parts = np.array([0, 2]), np.array([0, last]), np.array([0, 7])
    packed = keys.pack(*parts)
    assert packed.min() >= 0
    for part, found in zip(parts, keys.unpack(packed), strict=True):
        assert found.tolist() == part.tolist()
