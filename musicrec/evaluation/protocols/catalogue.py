"""Catalogue: which tracks the lists of each split are drawn from."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from musicrec.columns import TRACK
from musicrec.data.interactions import COLD
from musicrec.data.split_files import PAIR, read_split
from musicrec.evaluation.protocols.chance import chance_level
from musicrec.evaluation.runs import Run
from musicrec.workspace import TrackIndex, Workspace

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Catalogue:
    """The tracks of train and the cold ones.

    Attributes:
        train: user_id, track_id.
        warm: sorted track idx of train.
        cold: sorted track idx of cold_test.
        mixed: whether lists hold both, the meaning of `data.candidates=mixed`.
        repeat: whether a user's own tracks may be recommended again.
    """

    train: pd.DataFrame
    warm: np.ndarray
    cold: np.ndarray
    mixed: bool = False
    repeat: bool = False

    @classmethod
    def load(
        cls, workspace: Workspace, truth: Mapping[str, pd.DataFrame], runs: Iterable[Run], repeat: bool = False
    ) -> Catalogue | None:
        """Returns the catalogue of a workspace, None without data/train.pqt.

        Args:
            workspace: has train.
            truth: the held-out splits.
            runs: say whether their lists are mixed; if they differ, a warning is logged.
            repeat: see the attribute.
        """
        if not workspace.split("train").is_file():
            return None
        train = read_split(workspace.split("train"), columns=PAIR)
        warm = np.unique(train[TRACK].to_numpy(np.int64))
        cold = np.unique(truth[COLD][TRACK].to_numpy(np.int64)) if COLD in truth else np.empty(0, dtype=np.int64)
        kinds = {_data(run).get("candidates", "separate") for run in runs if not run.foreign} if len(cold) else set()
        if len(kinds) > 1:
            log.warning(
                "preds/ has runs with data.candidates=%s: their numbers do not compare; keep them in folders of their "
                "own (paths.output=FOLDER)",
                " and ".join(sorted(map(str, kinds))),
            )
        return cls(train, warm, np.setdiff1d(cold, warm), kinds == {"mixed"}, repeat)

    def candidates(self, split: str) -> np.ndarray:
        """Returns the sorted track idx that lists of a split are drawn from."""
        if self.mixed:
            return np.union1d(self.warm, self.cold)
        return self.cold if split == COLD else self.warm

    def num_tracks(self, workspace: Workspace, least: int) -> int:
        """Returns the number of tracks in the index, or `least` where only data/ and preds/ are there."""
        index = workspace.track_index
        return len(TrackIndex.load(index)) if index.is_file() else least

    def chance(self, split: str, truth: pd.DataFrame, k: int) -> dict[str, float]:
        """Returns the expected metrics of random lists, see `chance_level`."""
        return chance_level(truth, self.candidates(split), self.train, k, repeat=self.repeat)


def _data(run: Run) -> Mapping[str, Any]:
    """Returns the settings of the group `data` that a run records."""
    return dict(run.info.settings.get("data") or {})
