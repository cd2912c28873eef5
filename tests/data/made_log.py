"""Synthetic logs for the tests of prepare()."""

from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from musicrec.data.source import DataSource
from musicrec.options import construct

Source = TypeVar("Source", bound=DataSource)

START, TEST, END = "2019-02-20", "2020-02-20", "2020-03-20"


def made_log(seed: int, *, strings: bool, counts: bool) -> pd.DataFrame:
    """Returns a log with ties, duplicates, plays on every boundary, unknown tracks, and users of one side only."""
    random = np.random.default_rng(seed)
    rows = 3000
    boundaries = pd.to_datetime([START, TEST, END])
    edge = [boundary + pd.Timedelta(microseconds=shift) for boundary in boundaries for shift in (-1, 0, 1)]
    days = pd.to_datetime("2019-01-20") + pd.to_timedelta(random.integers(0, 450, rows), unit="D")
    timestamps = pd.Series(days.astype("datetime64[us]"))
    on_edge = random.random(rows) < 0.3
    timestamps[on_edge] = random.choice(np.array(edge, "datetime64[us]"), on_edge.sum())
    users = random.zipf(1.3, rows) % 120
    # Some users come late, some stop early; the same for tracks.
    tracks = random.zipf(1.3, rows) % 80
    late = timestamps >= pd.Timestamp(TEST)
    users = np.where(late & (users % 11 == 0), users + 500, users)
    tracks = np.where(late & (tracks % 13 == 0), tracks + 300, tracks)
    log = pd.DataFrame({"user_id": users, "track_id": [f"t{track:03}" for track in tracks], "timestamp": timestamps})
    log = pd.concat([log, log.sample(300, random_state=seed)])
    if strings:
        log["user_id"] = [("é", "Z", "a", "0", "\U0001f3b5", "~")[user % 6] + str(user) for user in log.user_id]
    if counts:
        log["count"] = random.integers(1, 9, len(log))
    return log.reset_index(drop=True)


def save(log: pd.DataFrame, path: Path) -> Path:
    """Returns the path of a tab-separated file of the log."""
    log.to_csv(path, sep="\t", index=False)
    return path


def some_log(path: Path, lines: list[str]) -> Path:
    """Returns the path of a log of `user track timestamp` lines."""
    path.write_text("user_id\ttrack_id\ttimestamp\n" + "".join("\t".join(line.split()) + "\n" for line in lines))
    return path


SMALL = [
    *(f"{user} {track} 2019-03-0{user}" for user in (1, 2, 3, 4) for track in "abcd" if track != "abcd"[user - 1]),
    *("1 a 2020-02-21", "2 b 2020-02-22", "3 c 2020-02-23", "4 d 2020-02-24", "4 a 2020-02-25"),
]


def source(plays: Path, **settings: Any) -> DataSource:
    """Returns a source of a log with the dates of the 2024 study."""
    return flat(DataSource, "custom", plays=plays, **({"start": START, "test": TEST} | settings))


def flat(kind: type[Source], name: str = "x", **settings: Any) -> Source:
    """Returns a source made of the keys of its YAML."""
    return construct(kind, {"name": name, **settings}, "data")
