"""The parts of an unfinished extraction: `{name}.parts/` holds its plan and one file for every few seconds of work."""

from __future__ import annotations

import json
import logging
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from musicrec.embeddings.extraction.results import Embedded, Failed, Outcome
from musicrec.files import atomic_path, write_json
from musicrec.workspace import TrackIndex

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Summary:
    """What all parts together say of their tracks.

    Attributes:
        rows: those that are done, failed ones included.
        dim: length of a vector, 0 if no track has one.
        failed: track id -> reason.
        failed_files: track id -> signature of the file that failed, None for no file.
        silent: ids of tracks without sound.
        damaged: track id -> what was wrong with its file.
        seconds: time by kind of work; "decode" and "resample" are spent in other processes.
        audio_seconds: length of the audio that was embedded.
        devices: where the model ran.
    """

    rows: frozenset[int]
    dim: int
    failed: dict[str, str]
    failed_files: dict[str, list[int] | None]
    silent: list[str]
    damaged: dict[str, str]
    seconds: dict[str, float]
    audio_seconds: float
    devices: frozenset[str]

    def throughput(self) -> dict[str, Any]:
        """Returns tracks per second of one process and where the time went, for these parts only."""
        total = self.seconds.get("total", 0.0)
        return {
            "tracks": len(self.rows),
            "tracks_per_second": round(len(self.rows) / total, 2) if total else None,
            "audio_seconds": round(self.audio_seconds, 1),
            "seconds": {kind: round(seconds, 2) for kind, seconds in sorted(self.seconds.items())},
            "device": ", ".join(sorted(self.devices)),
        }


class Parts:
    """The folder of an unfinished extraction. Files appear complete; one that cannot be read counts as missing."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._rows: dict[Path, list[int]] = {}  # of files already read: a part never changes

    def read_plan(self) -> dict[str, Any]:
        """Returns the content of `plan.json`, {} if nothing was started."""
        try:
            return dict(json.loads((self.folder / "plan.json").read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return {}

    def write_plan(self, content: dict[str, Any]) -> None:
        """Writes `plan.json`."""
        write_json(self.folder / "plan.json", content)

    def write(self, outcomes: Sequence[Outcome], tracks: TrackIndex, seconds: float, device: str) -> None:
        """Writes the outcomes of some chunks as one file, named by its first row.

        Args:
            outcomes: at least one.
            tracks: names the rows.
            seconds: time since the previous part.
            device: where the model ran.
        """
        embedded = sorted((one for one in outcomes if isinstance(one, Embedded)), key=lambda one: one.row)
        failed = [one for one in outcomes if isinstance(one, Failed)]
        spent: Counter[str] = Counter()
        for one in outcomes:
            spent.update(one.seconds)
        about = {
            "failed": {tracks.ids[one.row]: one.reason for one in failed},
            "failed_files": {tracks.ids[one.row]: one.signature for one in failed},
            "silent": [tracks.ids[one.row] for one in embedded if one.silent],
            "damaged": {tracks.ids[one.row]: one.damaged for one in embedded if one.damaged},
            "seconds": {**spent, "total": seconds},
            "audio_seconds": sum(one.audio_seconds for one in embedded),
            "device": device,
        }
        vectors = [one.vector for one in embedded]
        name = f"{min(one.row for one in outcomes):09d}.npz"
        with atomic_path(self.folder / name) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                rows=np.array([one.row for one in embedded], dtype=np.int64),
                vectors=np.stack(vectors) if vectors else np.zeros((0, 0), dtype=np.float32),
                failed_rows=np.array([one.row for one in failed], dtype=np.int64),
                about=np.frombuffer(json.dumps(about).encode(), dtype=np.uint8),
            )

    def rows(self) -> set[int]:
        """Returns the rows that are done, failed ones included."""
        files = self._files()
        for path in files:
            if path not in self._rows:
                try:  # opened here, since numpy does not close a damaged file
                    with path.open("rb") as file, np.load(file, allow_pickle=False) as part:
                        self._rows[path] = [*part["rows"].tolist(), *part["failed_rows"].tolist()]
                except (ValueError, KeyError, EOFError, zipfile.BadZipFile):
                    # A rename survives a power cut, the content of the file may not.
                    log.warning("%s is damaged; its tracks will be embedded again", path)
                    path.unlink()
        return {row for path in files for row in self._rows.get(path, ())}

    def vectors(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields the rows and vectors of each part that has any."""
        for path in self._files():
            with np.load(path, allow_pickle=False) as part:
                if len(part["rows"]):
                    yield part["rows"], part["vectors"]

    def summary(self) -> Summary:
        """Returns what all parts together say of their tracks."""
        rows = frozenset(self.rows())
        dim = 0
        abouts: list[dict[str, Any]] = []
        for path in self._files():
            with np.load(path, allow_pickle=False) as part:
                abouts.append(json.loads(part["about"].tobytes()))
                dim = dim or part["vectors"].shape[1]
        seconds: Counter[str] = Counter()
        for about in abouts:
            seconds.update(about["seconds"])
        return Summary(
            rows=rows,
            dim=dim,
            failed={track: reason for about in abouts for track, reason in about["failed"].items()},
            failed_files={track: file for about in abouts for track, file in about["failed_files"].items()},
            silent=[track for about in abouts for track in about["silent"]],
            damaged={track: note for about in abouts for track, note in about["damaged"].items()},
            seconds=dict(seconds),
            audio_seconds=sum(about["audio_seconds"] for about in abouts),
            devices=frozenset(about["device"] for about in abouts),
        )

    def discard(self) -> None:
        """Deletes all parts. If killed before a new plan is written, the plan records that it was discarded."""
        if self.folder.is_dir():
            self.write_plan({"discarded": True})
            self.delete(lambda row: True)

    def delete(self, which: Callable[[int], bool] | None = None) -> None:
        """Deletes the parts whose rows all satisfy `which`; without it the whole folder."""
        if which is None:  # the plan first: without it the parts are just rows of the table they were merged into
            (self.folder / "plan.json").unlink(missing_ok=True)
        self.rows()  # deletes unreadable files
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
