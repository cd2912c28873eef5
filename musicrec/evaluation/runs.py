"""Runs: the predictions files of a workspace, ours and those of other programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from musicrec.columns import ITEM, RANK, SPLIT, TRACK, USER
from musicrec.errors import MusicrecError, first_line
from musicrec.evaluation.families import Families
from musicrec.evaluation.item_ids import known_items
from musicrec.evaluation.prediction_info import PredictionInfo
from musicrec.files import file_hash, parquet_metadata, read_json
from musicrec.workspace import TrackIndex, Workspace


@dataclass(frozen=True)
class Run:
    """One `preds/{name}.pqt`; of a foreign file only what its name tells is known.

    Attributes:
        path: the predictions file.
        info: what it says of itself, or what its name does.
        foreign: whether another program wrote it.
        tracks: the track index, by which the items of a foreign file are found, if there is one.
        track_count: number of its tracks; None: the items are taken as given.
    """

    path: Path
    info: PredictionInfo
    foreign: bool = False
    tracks: TrackIndex | None = None
    track_count: int | None = None

    @property
    def name(self) -> str:
        """Returns the name of the run, that of its file."""
        return self.path.stem

    def predictions(self) -> pd.DataFrame:
        """Returns user_id, item_id, rank (and split) as given, unchecked.

        Of a foreign file that has a track_id instead of an item_id, or ids of its own, item_id is the track idx.

        Raises:
            MusicrecError: if no item of a foreign file is in the index.
        """
        names = pq.read_schema(self.path).names
        wanted = (USER, ITEM, RANK, SPLIT) if ITEM in names else (USER, TRACK, RANK, SPLIT)
        predictions = pd.read_parquet(self.path, columns=[name for name in wanted if name in names])
        if self.track_count is None:
            return predictions
        return known_items(predictions, self.tracks, self.track_count, self.path.name)


@dataclass(frozen=True)
class FoundRuns:
    """The runs of a workspace.

    Attributes:
        runs: those whose predictions are valid for the workspace's data, sorted by file name.
        skipped: one line per file that was skipped.
        families: what is known of their recommenders.
    """

    runs: list[Run]
    skipped: list[str]
    families: Families

    def __iter__(self) -> Iterator[Run]:
        return iter(self.runs)


def find_runs(workspace: Workspace) -> FoundRuns:
    """Returns the runs in `preds/`.

    Skipped are files that cannot be read (incomplete ones), and those whose metadata names another track index or
    other data than the workspace has now. Only data/ and preds/ are needed; the track index is checked if it exists.
    """
    infos: dict[Path, PredictionInfo | None] = {}
    skipped: dict[Path, str] = {}
    for path in sorted(workspace.preds_dir.glob("*.pqt")):
        if path.name.startswith("."):
            skipped[path] = "incomplete: the temporary file of a run that is in progress or was killed"
            continue
        try:
            infos[path] = PredictionInfo.from_json(_metadata(path))
        except MusicrecError as error:
            skipped[path] = str(error)
    families = Families(info for info in infos.values() if info is not None)
    check = _Check(workspace)
    runs = []
    for path, info in infos.items():
        if info is None:
            recommender, embedding = families.parse(path.stem)
            table = families.table(recommender) if embedding else None
            info = PredictionInfo(path.stem, recommender, table, embedding=embedding)
            run = Run(path, info, True, check.tracks, check.track_count)
        else:
            run = Run(path, info)
        try:
            check(run)
        except MusicrecError as error:
            skipped[path] = str(error)
        else:
            runs.append(run)
    lines = [f"{path.name}: {why}; train the run again or remove the file" for path, why in sorted(skipped.items())]
    return FoundRuns(runs, [*lines, *_without_predictions(workspace)], families)


def _without_predictions(workspace: Workspace) -> Iterator[str]:
    """Yields a line per finished run whose predictions are not there."""
    for name in workspace.recorded_runs():
        try:
            record = read_json(workspace.run_record(name))
        except (OSError, ValueError, RecursionError):
            continue  # train.py tells of it
        finished = isinstance(record, dict) and record.get("status") == "finished"
        if finished and not workspace.predictions(name).exists():
            yield f"{name}.pqt: missing, though the run has finished; train it again or remove the folder runs/{name}"


class _Check:
    """Refuses runs that were made with other data or another track index than a workspace has now."""

    def __init__(self, workspace: Workspace):
        index = workspace.track_index
        self.tracks = TrackIndex.load_optional(index)
        paths = sorted(workspace.data_dir.glob("[!.]*.pqt"))
        self._splits = {path.stem: file_hash(path) for path in paths}
        self._first_split = paths[0] if paths else None
        self.track_count = None if self.tracks is None else len(self.tracks)
        if self.tracks is None and paths:
            counted = _metadata(paths[0]).get("tracks")
            self.track_count = counted if isinstance(counted, int) else None

    def __call__(self, run: Run) -> None:
        """Raises MusicrecError if the run is stale."""
        splits = run.info.splits
        if splits is not None and any(splits.get(name) != digest for name, digest in self._splits.items()):
            raise MusicrecError("stale, made with other data than data/*.pqt holds now")
        stamp = run.info.stamp
        if not stamp:
            return
        if self.tracks is not None:
            try:
                self.tracks.check(stamp, run.path, "")
            except MusicrecError:
                raise MusicrecError("stale, made with another trackid_sorted.csv") from None
        elif self._first_split is not None:
            # Another number of tracks may be the same index, extended: that cannot be decided without the index.
            of_split = _metadata(self._first_split)
            if of_split.get("tracks") == stamp["tracks"] and of_split.get("tracks_hash") != stamp["tracks_hash"]:
                raise MusicrecError("stale, made with another trackid_sorted.csv than data/*.pqt")


def _metadata(path: Path) -> dict[str, object]:
    """Returns a parquet file's metadata; MusicrecError if the file is incomplete or not parquet."""
    try:
        return parquet_metadata(path)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise MusicrecError(f"incomplete or not parquet ({first_line(error).split('. ')[0].rstrip('.')})") from error
