"""Published: the results of a study as data, with their source and the conditions under which they were made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t

from musicrec.errors import MusicrecError, first_line

COLUMNS = ("split", "recommender", "embedding", "control", "metric", "k", "printed k", "mean", "conf", "runs", "note")


@dataclass(frozen=True)
class Study:
    """What is known of published results.

    Attributes:
        source: where the figures are from.
        conditions: one sentence per fact that a reader must know before comparing.
        published_df: degrees of freedom with which the published half-widths were computed, whatever the number of
            runs; None: runs - 1.
    """

    source: str
    conditions: tuple[str, ...] = ()
    published_df: int | None = None


STUDIES = {
    "study2024": Study(
        "Tamm & Aljanaki, Comparative Analysis of Pretrained Audio Representations in Music Recommender Systems, "
        "RecSys 2024, arXiv 2409.08987",
        (
            "Only the KNN figure that is quoted beside the results of 2026 is on record here; the article's tables "
            "follow once they can be read (reference=FILE.csv takes them)",
            "Music4All-Onion, temporal split, k = 50; MusicNN is its first 3 s patch, Music2Vec was fed 24 kHz",
        ),
    ),
    "study2026": Study(
        "Tamm & Aljanaki, Adopting State-of-the-Art Pretrained Audio Representations for Music Recommender Systems, "
        "arXiv 2604.23077: outputs of src/Metrics.ipynb in github.com/Darel13712/adopting-pretrained-audio at 2a36454",
        (
            "Music4All-Onion, data.split=hot_cold, data.test=2019-02-01; hot_test 10,238 users, cold_test 4,553 users "
            "and 589 cold tracks",
            "Cold results are printed as @20 but computed at k = 50: evaluate with eval.k=50 to compare",
            "The KNN table is chance: user vectors are means of unrelated tracks",
            "± is over runs, with t of 2 degrees of freedom for 2 to 6 runs; `conf` here is corrected to runs - 1",
            "Chance: hot Recall@50 0.0009, HitRate@50 about 0.02; cold Recall@50 0.0849",
        ),
        published_df=2,
    ),
}


def read_published(reference: str) -> tuple[pd.DataFrame, Study]:
    """Returns the rows of a study, `conf` being the right half-width, and what is known of it.

    Args:
        reference: study2024, study2026, or a .csv file with the columns of theirs; `printed k`, `conf`, `runs`, `note`
            and `control` may be missing.

    Raises:
        MusicrecError: an unknown study, an unreadable file or a missing column.
    """
    study = STUDIES.get(reference)
    path = Path(__file__).with_name(f"{reference}.csv") if study else Path(reference).expanduser()
    if not study and not path.is_file():
        raise MusicrecError(f"reference={reference} is unknown; must be one of: {', '.join(STUDIES)}, or a .csv file")
    try:
        frame = pd.read_csv(path, keep_default_na=False, na_values={"mean": [""], "conf": [""], "runs": [""]})
    except (OSError, ValueError) as error:
        raise MusicrecError(f"reference={reference} cannot be read: {first_line(error)}") from error
    optional: dict[str, Any] = {"embedding": "", "control": "real", "conf": np.nan, "runs": 1, "note": ""}
    for name, value in optional.items():
        frame[name] = frame.get(name, value)
    if "printed k" not in frame and "k" in frame:
        frame["printed k"] = frame["k"]
    missing = [name for name in COLUMNS if name not in frame]
    if missing:
        raise MusicrecError(f"reference={reference} lacks the column {missing[0]}; it needs {', '.join(COLUMNS)}")
    try:
        frame = frame.astype({"mean": float, "conf": float, "k": int, "printed k": int}).fillna({"runs": 1})
    except (TypeError, ValueError) as error:
        raise MusicrecError(f"reference={reference} has a value that is no number: {first_line(error)}") from error
    if study and study.published_df:
        right = t.ppf(0.975, frame["runs"].to_numpy(float).clip(2) - 1) / t.ppf(0.975, study.published_df)
        frame["conf"] = frame["conf"] * right
    return frame[[*COLUMNS]], study or Study(str(path))
