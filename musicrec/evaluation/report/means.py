"""Means of the settings that tables show: over users, and over seeds where a setting has several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from musicrec.evaluation.comparison import Comparison
from musicrec.evaluation.report.tables import cell_of
from musicrec.evaluation.statistics.crossed import crossed
from musicrec.evaluation.statistics.seed_means import setting


@dataclass(frozen=True)
class Mean:
    """A mean with both ends of its 95 % interval for other users, and other seeds where there are several.

    Attributes:
        mean: over users and seeds.
        low: NaN where there is no interval.
        high: NaN where there is no interval.
        seeds: number of seeds.
    """

    mean: float
    low: float
    high: float
    seeds: int

    def text(self) -> str:
        """Returns the mean, its interval and the number of seeds.

        >>> Mean(0.5, 0.4, 0.6, 1).text(), Mean(0.5, 0.4, 0.6, 3).text()
        ('0.5000 [0.4000, 0.6000]', '0.5000 [0.4000, 0.6000], 3 seeds')
        """
        interval = "" if pd.isna(self.low) else f" [{self.low:.4f}, {self.high:.4f}]"
        return f"{self.mean:.4f}{interval}" + (f", {self.seeds} seeds" if self.seeds > 1 else "")


class Means:
    """Means of NDCG on a split.

    Args:
        comparison: what `compare` returned.
        split: the test split.
    """

    def __init__(self, comparison: Comparison, split: str):
        self._comparison, self._split = comparison, split
        rows = comparison.results
        self._runs: dict[str, list[str]] = {}
        for name in rows.loc[rows["split"] == split, "run"]:
            self._runs.setdefault(setting(comparison.runs[name]), []).append(name)

    def of(self, row: Mapping[Any, Any]) -> Mean:
        """Returns the mean of the setting that a row of results belongs to."""
        metric = self._comparison.ndcg(self._split)
        names = self._runs[setting(self._comparison.runs[str(row["run"])])]
        if len(names) > 1:
            scores = [self._comparison.scores[name][self._split][metric].to_numpy() for name in names]
            together = crossed(np.stack(scores, axis=1))
            return Mean(together.mean, *together.interval(), len(names))
        cell = cell_of(row, metric)
        low, high = cell.ends or (cell.mean - cell.conf, cell.mean + cell.conf)
        return Mean(cell.mean, low, high, 1)
