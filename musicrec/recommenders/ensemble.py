"""Ensemble: the lists of several runs, fused by reciprocal rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch
from scipy.sparse import csr_matrix

from musicrec.columns import ITEM, RANK, SPLIT, USER
from musicrec.data.interactions import Interactions
from musicrec.errors import MusicrecError
from musicrec.recommenders.base import Inputs, ScoreRecommender, check
from musicrec.values import NotNegative


class Ensemble(ScoreRecommender):
    """Scores a track by Σ 1 / (constant + rank) over the lists of the runs that hold it.

    Reciprocal rank fusion: Cormack, Clarke and Büttcher, SIGIR 2009 (doi 10.1145/1571941.1572114), with their constant
    60. Ranks need no common scale, so runs of any recommenders can be fused. A track in no list is not recommended.

    Args:
        inputs: the split.
        runs: names of finished runs, two or more.
        folder: where their predictions are.
        constant: added to each rank; the larger, the less the first ranks stand out.
    """

    table = "ensemble"
    title = "Ensemble"
    needs = "nothing"

    def __init__(
        self, inputs: Inputs, *, runs: Sequence[str] = (), folder: str = "preds", constant: NotNegative = 60.0
    ):
        super().__init__(inputs)
        names = [] if isinstance(runs, str) else [str(run) for run in runs]
        check("runs", runs, len(names) >= 2 and len(set(names)) == len(names), "a list of two or more different runs")
        self.constant = constant
        frames = [self._read(Path(folder).expanduser(), name) for name in names]
        parts = ("val", "test") if self.data.sequential else (None,)
        self._scores = {part: self._fused(frames, part) for part in parts}

    @property
    def listener_obstacle(self) -> str:
        """Returns why somebody who is not in train gets no lists: there are none to fuse."""
        return "it fuses the lists that other runs made for the users of the log"

    @classmethod
    def files_read(cls, settings: Mapping[str, Any]) -> dict[str, Path]:
        """Returns the predictions of each run."""
        runs = settings["runs"] if isinstance(settings["runs"], list) else []
        return {str(run): Path(str(settings["folder"])).expanduser() / f"{run}.pqt" for run in runs}

    def _read(self, folder: Path, run: str) -> pd.DataFrame:
        """Returns user and item index, rank and split of a run's lists."""
        path = folder / f"{run}.pqt"
        if not path.is_file():
            known = sorted(each.stem for each in folder.glob("[!.]*.pqt"))
            raise MusicrecError(
                f"recommender.runs: {path} does not exist; finished runs: {', '.join(known[:20]) or 'none'}"
            )
        columns = [name for name in (USER, ITEM, RANK, SPLIT) if name in pq.read_schema(path).names]
        frame = pd.read_parquet(path, columns=columns)
        items = frame[ITEM].to_numpy(np.int64)
        if len(items) and (items.min() < 0 or items.max() >= len(self.item_index)):
            raise MusicrecError(f"recommender.runs: {path} was made with another track index: train {run} again")
        frame = frame.assign(user=self.data.train.user_index(frame[USER].to_numpy()), item=self.item_index[items])
        return frame[(frame["user"] >= 0) & (frame["item"] >= 0)]

    def _fused(self, frames: Sequence[pd.DataFrame], split: str | None) -> csr_matrix:
        """Returns (users, candidates) float64 scores of the lists of a split; None: of all lists."""
        rows = []
        for frame in frames:
            own = frame[frame[SPLIT] == split] if split is not None and SPLIT in frame else frame
            # With a list per split, an item may be in several of a user's lists.
            rows.append(own.groupby(["user", "item"], as_index=False)[RANK].min())
        joined = pd.concat(rows)
        values = 1 / (self.constant + joined[RANK].to_numpy(np.float64))
        shape = (self.data.train.num_users, len(self.candidates))
        return csr_matrix((values, (joined["user"], joined["item"])), shape=shape)

    def score(self, users: np.ndarray, history: Interactions) -> torch.Tensor:
        """Returns the fused scores; -inf for tracks in no list."""
        part = None if not self.data.sequential else "val" if history is self.data.train else "test"
        scores = torch.from_numpy(self._scores[part][users].toarray())
        return torch.where(scores > 0, scores, -torch.inf)
