"""The parts of an unfinished extraction: `{name}.parts/`, a plan and one file for each few seconds of work."""

from __future__ import annotations

import json
import logging
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from musicrec.files import atomic_path, write_json

if TYPE_CHECKING:
    from musicrec.workspace import TrackIndex

log = logging.getLogger(__name__)


@dataclass
class Result:
    """What came of some tracks.

    Attributes:
        vectors: row -> (dim,) float32.
        failed_rows: those without a vector.
        failed: track id -> reason.
        failed_files: track id -> size and time of change of the file that failed; None for no file.
        silent: track ids without sound.
        damaged: track id -> what was wrong with its file.
        seconds: time by kind of work; decode and resample are spent in other processes.
        audio_seconds: length of the audio that was embedded.
        device: where the model ran.
    """

    vectors: dict[int, np.ndarray] = field(default_factory=dict)
    failed_rows: list[int] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    failed_files: dict[str, list[int] | None] = field(default_factory=dict)
    silent: list[str] = field(default_factory=list)
    damaged: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    audio_seconds: float = 0.0
    device: str = "cpu"

    def fail(self, row: int, track: str, reason: str, signature: list[int] | None) -> None:
        """Notes a track that has no vector, and by which file."""
        self.failed_rows.append(row)
        self.failed[track] = reason
        self.failed_files[track] = signature
        self.damaged.pop(track, None)
        if track in self.silent:
            self.silent.remove(track)


@dataclass
class Merged:
    """The descriptions of all parts together."""

    rows: set[int] = field(default_factory=set)
    dim: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    failed_files: dict[str, list[int] | None] = field(default_factory=dict)
    silent: list[str] = field(default_factory=list)
    damaged: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    audio_seconds: float = 0.0
    devices: set[str] = field(default_factory=set)

    def throughput(self) -> dict[str, Any]:
        """Returns tracks per second of one process and where the time went; of these parts only."""
        total = self.seconds.get("total", 0.0)
        return {
            "tracks": len(self.rows),
            "tracks_per_second": round(len(self.rows) / total, 2) if total else None,
            "audio_seconds": round(self.audio_seconds, 1),
            "seconds": {kind: round(seconds, 2) for kind, seconds in sorted(self.seconds.items())},
            "device": ", ".join(sorted(self.devices)),
        }


class Parts:
    """The folder of an unfinished extraction. Files appear whole; one that cannot be read counts as not there."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._rows: dict[Path, list[int]] = {}  # of files already read: a part never changes

    def read_plan(self) -> dict[str, Any]:
        """Returns what `write_plan` wrote, {} if nothing was begun."""
        try:
            return dict(json.loads((self.folder / "plan.json").read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return {}

    def write_plan(self, plan: dict[str, Any]) -> None:
        write_json(self.folder / "plan.json", plan)

    def write(self, result: Result) -> None:
        """Writes the result of some chunks as one file, named by its first row."""
        rows = sorted(result.vectors)
        vectors = np.stack([result.vectors[row] for row in rows]) if rows else np.zeros((0, 0), dtype=np.float32)
        about = {
            "failed": result.failed,
            "failed_files": result.failed_files,
            "silent": result.silent,
            "damaged": result.damaged,
            "seconds": result.seconds,
            "audio_seconds": result.audio_seconds,
            "device": result.device,
        }
        name = f"{min([*rows, *result.failed_rows]):09d}.npz"
        with atomic_path(self.folder / name) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                rows=np.array(rows, dtype=np.int64),
                vectors=vectors,
                failed_rows=np.array(result.failed_rows, dtype=np.int64),
                about=np.frombuffer(json.dumps(about).encode(), dtype=np.uint8),
            )

    def rows(self) -> set[int]:
        """Returns the rows that are done, those that failed included."""
        files = self._files()
        for path in files:
            if path not in self._rows:
                try:  # opened here, since numpy does not close a damaged file
                    with path.open("rb") as file, np.load(file, allow_pickle=False) as part:
                        self._rows[path] = [*part["rows"].tolist(), *part["failed_rows"].tolist()]
                except (ValueError, KeyError, EOFError, zipfile.BadZipFile):
                    # A rename survives a power cut, the content of the file may not.
                    log.warning("%s is damaged and will be made again", path)
                    path.unlink()
        return {row for path in files for row in self._rows.get(path, ())}

    def vectors(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields the rows and vectors of each part that has any."""
        for path in self._files():
            with np.load(path, allow_pickle=False) as part:
                if len(part["rows"]):
                    yield part["rows"], part["vectors"]

    def merged(self) -> Merged:
        """Returns the descriptions of all parts."""
        merged = Merged(rows=self.rows())
        for path in self._files():
            with np.load(path, allow_pickle=False) as part:
                about = json.loads(part["about"].tobytes())
                merged.dim = merged.dim or part["vectors"].shape[1]
            merged.failed |= about["failed"]
            merged.failed_files |= about["failed_files"]
            merged.silent += about["silent"]
            merged.damaged |= about["damaged"]
            for kind, seconds in about["seconds"].items():
                merged.seconds[kind] += seconds
            merged.audio_seconds += about["audio_seconds"]
            merged.devices.add(about["device"])
        return merged

    def summary(self, tracks: TrackIndex) -> tuple[dict[str, str], list[str], dict[str, str]]:
        """Returns failed, silent and damaged tracks so far."""
        merged = self.merged()
        return merged.failed, sorted(merged.silent, key=tracks.row), merged.damaged

    def discard(self) -> None:
        """Deletes all parts. Killed in the middle of it or before a new plan is written, the plan still says so."""
        if self.folder.is_dir():
            self.write_plan({"discarded": True})
            self.delete(lambda row: True)

    def delete(self, which: Callable[[int], bool] | None = None) -> None:
        """Deletes the parts whose rows all satisfy `which`; without it the whole folder."""
        if which is None:  # first the plan: without it the parts are just rows of the table they were merged into
            (self.folder / "plan.json").unlink(missing_ok=True)
        self.rows()  # unreadable files go
        for path in self._files():
            if which is None or all(which(row) for row in self._rows[path]):
                path.unlink()
                del self._rows[path]
        if which is None and self.folder.is_dir():
            for path in self.folder.iterdir():  # temporary files of a process that was killed
                path.unlink()
            self.folder.rmdir()

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*.npz"))
