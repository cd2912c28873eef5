"""Which plays take part at all: a k-core of users and tracks, and a sample of the tracks."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from musicrec.columns import TRACK, USER
from musicrec.data.split_dates import Period, log_range
from musicrec.errors import MusicrecError

if TYPE_CHECKING:
    import duckdb

logger = logging.getLogger(__name__)

SAMPLE_SEED = 42  # no setting, so that the same fraction of the same log is the same for everybody


@dataclass(frozen=True)
class Filters:
    """What must hold of the plays within the period.

    Attributes:
        min_user_plays: every user has at least so many plays.
        min_track_plays: every track has at least so many plays; with both, users and tracks are removed in turn until
            both hold (a k-core).
        item_sample: so many tracks are kept, drawn at random before the other filters: a number from 1 on, or a
            fraction below 1 of the tracks that are played. None: all.
    """

    min_user_plays: int = 0
    min_track_plays: int = 0
    item_sample: float | None = None

    def check(self) -> None:
        """Refuses values that cannot work."""
        for key, value in (("min_user_plays", self.min_user_plays), ("min_track_plays", self.min_track_plays)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise MusicrecError(f"data.{key}={value} is not possible: it must be a whole number, 0 = no filter")
        sample = self.item_sample
        if sample is not None and (
            isinstance(sample, bool)
            or not isinstance(sample, int | float)
            or not (0 < sample < 1 or (sample >= 1 and sample == int(sample)))
        ):
            raise MusicrecError(
                f"data.item_sample={sample} is not possible: it must be a number of tracks, a fraction of them between "
                "0 and 1, or null"
            )

    def apply(self, connection: duckdb.DuckDBPyConnection, period: Period) -> None:
        """Replaces the view `plays` (over the view `all_plays`) by one of the plays that pass.

        Raises:
            MusicrecError: if none does.
        """
        if not (self.min_user_plays > 1 or self.min_track_plays > 1 or self.item_sample is not None):
            return
        connection.execute(
            f"""
            CREATE TEMP TABLE core AS
            SELECT {USER}, {TRACK}, sum(n)::BIGINT AS plays FROM all_plays WHERE {period.within} GROUP BY ALL
            """
        )
        self._sample(connection)
        self._core(connection)
        [(users, tracks)] = connection.execute(
            f"SELECT count(DISTINCT {USER}), count(DISTINCT {TRACK}) FROM core"
        ).fetchall()
        if not users:
            raise MusicrecError(
                f"no user is left by data.min_user_plays={self.min_user_plays}, "
                f"data.min_track_plays={self.min_track_plays}, data.item_sample={self.item_sample} "
                f"({period}); {log_range(connection)}"
            )
        logger.info("%s users and %s tracks pass the filters", f"{users:,}", f"{tracks:,}")
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
        import numpy as np
        import pyarrow as pa

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
