"""Workspace: the path of every file. TrackIndex: the track id of every embedding row."""

from __future__ import annotations

import csv
import hashlib
import io
import logging
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from musicrec.errors import MusicrecError
from musicrec.files import parquet_metadata, write_text

# An integer as programs write it: 7, not 07 or +7.
_INTEGER = re.compile(r"0|[1-9][0-9]*")

# Track ids that are hashed at a time.
_HASHED = 1 << 14

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Workspace:
    """Paths of all files below `paths.root`; docs/data.md and docs/evaluation.md describe them. Nothing is created."""

    root: Path

    @property
    def track_index(self) -> Path:
        """Returns the path of the track index (`TrackIndex`)."""
        return self.root / "trackid_sorted.csv"

    @property
    def plays(self) -> Path:
        """Returns the path of all plays: user_id, track_id, timestamp."""
        return self.root / "plays.pqt"

    @property
    def report(self) -> Path:
        """Returns the path of evaluate.py's page."""
        return self.root / "report.html"

    @property
    def preds_dir(self) -> Path:
        """Returns the folder of all predictions."""
        return self.root / "preds"

    @property
    def data_dir(self) -> Path:
        """Returns the folder of the splits."""
        return self.root / "data"

    @property
    def sweeps_dir(self) -> Path:
        """Returns the folder of the records of sweeps."""
        return self.root / "sweeps"

    def index_from_log(self) -> bool:
        """Returns whether the track index was made from the listening log, not from audio or by the user."""
        try:
            facts = parquet_metadata(self.plays).get("plays")
        except (OSError, ValueError):  # missing or damaged
            return False
        return bool(facts and facts.get("index_from_log"))

    def embedding(self, name: str) -> Path:
        """Returns the path of an embedding's vectors."""
        return self.root / "embeddings" / f"{name}.npy"

    def embedding_info(self, name: str) -> Path:
        """Returns the path of the record of how an embedding was made."""
        return self.root / "embeddings" / f"{name}.json"

    def split(self, name: str) -> Path:
        """Returns the path of a split, e.g. `train`."""
        return self.data_dir / f"{name}.pqt"

    def checkpoint(self, recommender: str, run: str, which: str) -> Path:
        """Returns the path of a run's checkpoint; `which` is `best` or `last`."""
        return self.root / "checkpoints" / recommender / f"{run}_{which}.ckpt"

    def predictions(self, run: str) -> Path:
        """Returns the path of a run's lists."""
        return self.preds_dir / f"{run}.pqt"

    def metrics(self, run: str, split: str, suffix: str = "pqt") -> Path:
        """Returns the path of a run's metrics on a split: per user (`pqt`) or their means (`csv`)."""
        return self.root / "metrics" / f"{run}_{split}.{suffix}"

    def model_embeddings(self, run: str, side: str, suffix: str = "npy") -> Path:
        """Returns the path of the vectors of `users` or `items` that a run learnt (`npy`) or their ids (`csv`)."""
        return self.root / "model_embeddings" / f"{run}_{side}.{suffix}"

    def run_dir(self, run: str) -> Path:
        """Returns the folder of a run's record, configuration and logs."""
        return self.root / "runs" / run

    def run_record(self, run: str) -> Path:
        """Returns the path of what is recorded of a run: settings, state, owner."""
        return self.run_dir(run) / "run.json"

    def recorded_runs(self) -> list[str]:
        """Returns the names of the runs that have a record, sorted."""
        return sorted(path.parent.name for path in (self.root / "runs").glob("[!.]*/run.json"))


def composed(track_id: str) -> str:
    """Returns an id in composed Unicode form (NFC), in which ids are compared."""
    return track_id if track_id.isascii() else unicodedata.normalize("NFC", track_id)


class TrackIndex:
    """Track ids in the order of the embedding rows: row i of every embedding is track idx i.

    Ids that differ only in their Unicode form (é as one character or as e and an accent, as file names from a Mac have
    it) are the same track. New tracks are appended, never inserted, so an idx keeps its meaning; `fingerprint(n)`
    identifies the first n tracks, and files record it (`stamp`) to be refused when the index was replaced by another.

    Args:
        track_ids: in the order of the rows, without duplicates.

    Raises:
        MusicrecError: if there are duplicates.
    """

    def __init__(self, track_ids: Sequence[str]):
        self.ids: list[str] = [str(track_id) for track_id in track_ids]
        self._rows = {track_id: row for row, track_id in enumerate(self.ids)}
        # Exact ids first: an index made elsewhere may hold both forms of one name.
        self._forms: dict[str, int] = {}
        for row, track_id in enumerate(self.ids):
            if not track_id.isascii():
                self._forms.setdefault(composed(track_id), row)
        if len(self._rows) != len(self.ids):
            raise MusicrecError(f"the track index has {len(self.ids) - len(self._rows)} duplicate track ids")

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, track_id: str) -> bool:
        return track_id in self._rows or (not track_id.isascii() and composed(track_id) in self._forms)

    def row(self, track_id: str) -> int:
        """Returns the idx of a track id; KeyError if it is unknown."""
        row = self._rows.get(track_id)
        return self._forms[composed(track_id)] if row is None else row

    def rows(self, track_ids: Iterable[str]) -> list[int | None]:
        """Returns the idx of each track id, None for unknown ones."""
        known = self._rows.get
        return [self.row(track) if (row := known(track)) is None and track in self else row for track in track_ids]

    def fingerprint(self, count: int | None = None) -> str:
        """Returns a hash of the first `count` track ids (all by default), 16 hex digits."""
        digest = hashlib.sha256()
        end = len(self.ids[:count])
        for start in range(0, end, _HASHED):
            digest.update(("\n".join(self.ids[start : min(end, start + _HASHED)]) + "\n").encode())
        return digest.hexdigest()[:16]

    def stamp(self) -> dict[str, Any]:
        """Returns what a file records of the index it was made with."""
        return {"tracks": len(self), "tracks_hash": self.fingerprint()}

    def check(self, stamp: dict[str, Any], path: Path, remedy: str) -> None:
        """Refuses a file made with another index; one made before tracks were appended is fine.

        Args:
            stamp: what `stamp` returned when the file was made; {} (a foreign file) is accepted.
            path: the file, for the message.
            remedy: the command that makes it again.

        Raises:
            MusicrecError: if the file was made with another index.
        """
        if "tracks_hash" not in stamp:
            return
        count = int(stamp["tracks"])
        if count > len(self) or self.fingerprint(count) != stamp["tracks_hash"]:
            raise MusicrecError(
                f"{path} was made with another trackid_sorted.csv ({count} tracks, hash {stamp['tracks_hash']}; now "
                f"{len(self)} tracks, hash {self.fingerprint()}): restore the old index, or make it again: {remedy}"
            )

    def extended(self, track_ids: Iterable[str]) -> TrackIndex:
        """Returns an index with the unknown ones of `track_ids` appended in sorted order (self if there are none).

        If all of them are plain integers, they are in numerical order (10 after 9), so that row i of a table without
        ids is track i; otherwise by code point.

        >>> TrackIndex([]).extended(["10", "9"]).ids
        ['9', '10']
        >>> TrackIndex([]).extended(["10", "9", "x"]).ids
        ['10', '9', 'x']
        """
        unknown = {composed(str(track_id)) for track_id in track_ids if str(track_id) not in self}
        new = sorted(unknown, key=int) if all(map(_INTEGER.fullmatch, unknown)) else sorted(unknown)
        return TrackIndex(self.ids + new) if new else self

    def save(self, path: Path) -> None:
        """Writes idx,trackid rows."""
        text = io.StringIO()
        quoting = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["idx", "trackid"])
        # The csv module of Python 3.11 does not quote carriage returns, which then end the row for every reader.
        for returns, rows in groupby(enumerate(self.ids), lambda row: "\r" in row[1]):
            (quoting if returns else writer).writerows(rows)
        write_text(path, text.getvalue())

    @classmethod
    def load(cls, path: Path) -> TrackIndex:
        """Returns the index that a file of idx,trackid rows holds.

        Raises:
            MusicrecError: if idx does not count up from 0; names the line.
        """
        remedy = "restore it, or delete it and make it again with python prepare.py (the same data=… and paths.root=…)"
        ids: list[str] = []
        try:
            with path.open(encoding="utf-8", newline="") as file:
                rows = csv.reader(file)
                header = next(rows, None)
                if header != ["idx", "trackid"]:
                    found = ",".join(header or [])[:40]
                    raise MusicrecError(f"{path} must begin with the header idx,trackid, not {found!r}: {remedy}")
                for line, row in enumerate(rows, start=2):
                    if len(row) != 2 or row[0] != str(len(ids)):
                        raise MusicrecError(
                            f"{path}, line {line}: expected idx {len(ids)} and a track id, found "
                            f"{','.join(row)[:40]!r}: {remedy}"
                        )
                    ids.append(row[1])
        except (UnicodeDecodeError, csv.Error) as error:
            raise MusicrecError(f"{path} is damaged ({error}): {remedy}") from None
        try:
            return cls(ids)
        except MusicrecError as error:
            raise MusicrecError(f"{path}: {error}: {remedy}") from None

    @classmethod
    def load_optional(cls, path: Path) -> TrackIndex | None:
        """Returns the index in a file; None if it is missing or, with a warning, damaged."""
        try:
            return cls.load(path) if path.exists() else None
        except MusicrecError as error:
            log.warning("%s; going on without it", error)
            return None
