"""Filters on plays before splitting: a k-core of users and tracks, and a random sample of tracks."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from musicrec.columns import TRACK, USER
from musicrec.data.splits.dates import Period, log_range
from musicrec.errors import MusicrecError, demand
from musicrec.values import Whole, check_fields

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger(__name__)

SAMPLE_SEED = 42  # fixed, so that the same fraction of the same log is the same sample for everyone


@dataclass(frozen=True)
class Filters:
    """Conditions on the plays within the period.

    Attributes:
        min_user_plays: least number of plays per user.
        min_track_plays: least number of plays per track. With both, users and tracks are removed in turn until both
            conditions hold (a k-core).
        item_sample: number of tracks to keep, or (below 1) the fraction of the played tracks; they are drawn at random
            before the other filters. None: all.

    Raises:
        MusicrecError: for a number that cannot be.
    """

    min_user_plays: Whole = 0
    min_track_plays: Whole = 0
    item_sample: float | None = None

    def __post_init__(self) -> None:
        check_fields(self, "data")
        sample = self.item_sample
        valid = sample is None or 0 < sample < 1 or (sample >= 1 and sample == int(sample))
        demand("data.item_sample", sample, valid, "a number of tracks, a fraction of them between 0 and 1, or null")

    def apply(self, connection: duckdb.DuckDBPyConnection, period: Period) -> None:
        """Replaces the view `plays` (of the view `all_plays`) by a view of the plays that pass.

        Raises:
            MusicrecError: if none passes.
        """
        if not (self.min_user_plays > 1 or self.min_track_plays > 1 or self.item_sample is not None):
            return
        connection.execute(
            f"""
            CREATE TEMP TABLE core AS
            SELECT {USER}, {TRACK}, total(n) AS plays FROM all_plays WHERE {period.within} GROUP BY ALL
            """
        )
        self._sample(connection)
        self._core(connection)
        [(users, tracks)] = connection.execute(
            f"SELECT count(DISTINCT {USER}), count(DISTINCT {TRACK}) FROM core"
        ).fetchall()
        if not users:
            raise MusicrecError(
                f"no user passes data.min_user_plays={self.min_user_plays}, "
                f"data.min_track_plays={self.min_track_plays}, data.item_sample={self.item_sample} "
                f"({period}); {log_range(connection)}"
            )
        log.info("%s users and %s tracks pass the filters", f"{users:,}", f"{tracks:,}")
        for name in (USER, TRACK):
            connection.execute(f"CREATE TEMP TABLE core_{name} AS SELECT DISTINCT {name} FROM core")
        connection.execute(
            f"""
            CREATE OR REPLACE VIEW plays AS
            SELECT * FROM all_plays
            WHERE {USER} IN (FROM core_{USER}) AND {TRACK} IN (FROM core_{TRACK})
            """
        )

    def _sample(self, connection: duckdb.DuckDBPyConnection) -> None:
        if self.item_sample is None:
            return

        query = f"SELECT DISTINCT {TRACK} FROM core ORDER BY {TRACK}"
        tracks = connection.execute(query).fetchnumpy()[TRACK]
        wanted = self.item_sample if self.item_sample >= 1 else max(1, round(self.item_sample * len(tracks)))
        if wanted >= len(tracks):
            return
        chosen = np.random.default_rng(SAMPLE_SEED).choice(tracks, int(wanted), replace=False)
        connection.register("sampled", pa.table({TRACK: chosen}))
        connection.execute(f"DELETE FROM core WHERE {TRACK} NOT IN (FROM sampled)")

    def _core(self, connection: duckdb.DuckDBPyConnection) -> None:
        limits = [pair for pair in ((USER, self.min_user_plays), (TRACK, self.min_track_plays)) if pair[1] > 1]
        removed = bool(limits)
        while removed:
            removed = False
            for key, least in limits:
                few = f"SELECT {key} FROM core GROUP BY {key} HAVING sum(plays) < {least}"
                [(rows,)] = connection.execute(f"DELETE FROM core WHERE {key} IN ({few})").fetchall()
                removed |= rows > 0
