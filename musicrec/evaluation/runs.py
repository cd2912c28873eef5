"""What lies in a workspace to be evaluated: the held-out truth and the runs' predictions, ours and foreign ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from musicrec.columns import ITEM, RANK, SPLIT, TRACK, USER
from musicrec.errors import MusicrecError
from musicrec.files import file_hash, parquet_metadata
from musicrec.workspace import TrackIndex, Workspace

# The table of a run by the prefix of its name, for files without our metadata.
TABLE_OF_PREFIX = {"knn": "cosine", "shallow": "shallow", "bert": "bert"}

PREPARE = "python prepare.py (with the same data=… and paths.root=…)"


@dataclass(frozen=True)
class Run:
    """One preds/{name}.pqt and what it says of itself; a foreign file says nothing but its name."""

    name: str
    path: Path
    recommender: str
    embedding: str
    table: str | None  # cosine | shallow | bert; None: only in comparison.csv
    size: int | None = None  # embedding dimension
    seed: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path) -> Run:
        """Returns the run of a predictions file, from its metadata or, without any, from the prefix of its name."""
        name = path.stem
        metadata = _metadata(path)
        if "run" in metadata:
            return cls(
                name=name,
                path=path,
                recommender=str(metadata.get("recommender", "")),
                embedding=str(metadata.get("embedding") or ""),
                table=table if (table := metadata.get("table")) in TABLE_OF_PREFIX.values() else None,
                size=metadata.get("size"),
                seed=metadata.get("seed"),
                settings=metadata.get("settings") or {},
                metadata=metadata,
            )
        prefix, _, rest = name.partition("_")
        if prefix in TABLE_OF_PREFIX and rest:
            return cls(name, path, recommender=prefix, embedding=rest, table=TABLE_OF_PREFIX[prefix])
        return cls(name, path, recommender=name, embedding="", table=None)

    @property
    def foreign(self) -> bool:
        """Returns whether another program wrote the file."""
        return not self.metadata

    def predictions(self) -> pd.DataFrame:
        """Returns user_id, item_id, rank (and split) as given, unchecked."""
        import pyarrow.parquet as pq

        names = pq.read_schema(self.path).names
        return pd.read_parquet(self.path, columns=[name for name in (USER, ITEM, RANK, SPLIT) if name in names])


def load_truth(workspace: Workspace) -> dict[str, pd.DataFrame]:
    """Returns user_id, track_id of every held-out split: all data/*.pqt but train, val first.

    Raises:
        MusicrecError: no split but val, an unreadable file, a missing column, no row in any test split.
    """
    paths = {path.stem: path for path in sorted(workspace.data_dir.glob("[!.]*.pqt")) if path.stem != "train"}
    if not paths.keys() - {"val"}:
        raise MusicrecError(f"{workspace.split('test')} is missing: make it with {PREPARE}")
    order = sorted(paths, key=lambda name: (name != "val", name != "test", name != "hot_test", name))
    truth = {name: read_pairs(paths[name]) for name in order}
    tracks = _track_index(workspace)
    if tracks is not None:
        for path in paths.values():
            tracks.check(_metadata(path), path, PREPARE)
    if all(frame.empty for name, frame in truth.items() if name != "val"):
        raise MusicrecError(f"no test user in {workspace.data_dir}: choose another data.test date and run {PREPARE}")
    return truth


def _track_index(workspace: Workspace) -> TrackIndex | None:
    """Returns the track index; None if the workspace has only data/ and preds/."""
    return TrackIndex.load(workspace.track_index) if workspace.track_index.exists() else None


def read_pairs(path: Path) -> pd.DataFrame:
    """Returns the user_id and track_id columns of a split file; MusicrecError if that cannot be done."""
    import pyarrow as pa

    try:
        return pd.read_parquet(path, columns=[USER, TRACK])
    except (OSError, pa.ArrowException, ValueError) as error:
        raise MusicrecError(f"{path} cannot be read ({_first_sentence(error)}): make it with {PREPARE}") from error


def find_runs(workspace: Workspace) -> tuple[list[Run], list[str]]:
    """Returns the runs whose predictions are valid for the workspace's data, and a line for each file skipped.

    Skipped are files that cannot be read (half-written ones), and those whose metadata names another track index or
    other data than the workspace has now. Only data/ and preds/ are needed; the track index is checked if it is there.
    """
    runs, skipped = [], []
    tracks = _track_index(workspace)
    splits = {path.stem: file_hash(path) for path in workspace.data_dir.glob("[!.]*.pqt")}
    for path in sorted(workspace.preds_dir.glob("*.pqt")):
        if path.name.startswith("."):
            skipped.append(f"{path.name}: half-written, the temporary file of a run in progress or killed")
            continue
        try:
            run = Run.open(path)
            made_with = run.metadata.get("inputs", {}).get("splits", splits)
            if any(made_with.get(split) != digest for split, digest in splits.items()):
                raise MusicrecError("stale, made with other data than data/*.pqt holds now")
            _check_tracks(run, workspace, tracks)
        except MusicrecError as error:
            skipped.append(f"{path.name}: {error}; train the run again or remove the file")
        else:
            runs.append(run)
    return runs, skipped


def _check_tracks(run: Run, workspace: Workspace, tracks: TrackIndex | None) -> None:
    """Raises MusicrecError if a run's track idx do not mean what those of data/*.pqt mean."""
    if "tracks_hash" not in run.metadata:
        return
    try:
        if tracks is not None:
            tracks.check(run.metadata, run.path, "")
            return
    except MusicrecError:
        raise MusicrecError("stale, made with another trackid_sorted.csv") from None
    # Another number of tracks may be the same index, extended: without the index nobody can tell.
    stamp = _metadata(min(workspace.data_dir.glob("[!.]*.pqt")))
    if stamp.get("tracks") == run.metadata.get("tracks") and stamp.get("tracks_hash") != run.metadata["tracks_hash"]:
        raise MusicrecError("stale, made with another trackid_sorted.csv than data/*.pqt")


def _metadata(path: Path) -> dict[str, Any]:
    """Returns a parquet file's metadata; MusicrecError if the file is half-written or something else."""
    import pyarrow as pa

    try:
        return parquet_metadata(path)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise MusicrecError(f"half-written or not parquet ({_first_sentence(error)})") from error


def _first_sentence(error: Exception) -> str:
    """Returns the first sentence of an error's message."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].split(". ")[0].rstrip(".")
