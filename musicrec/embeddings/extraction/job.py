"""One process's work on `{name}.npy`: which rows are left, the loop over them, and the merge.

Tracks are planned in chunks of a fixed size by their row, so that the batches the model sees, and with them the last
bits of its output, do not depend on where a run was interrupted or on how it was divided. Finished chunks are written
to `{name}.parts/` every few seconds; when all are there they are merged into `{name}.npy`, and `{name}.parts/` goes.
"""

from __future__ import annotations

import glob
import logging
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from musicrec.audio import resample
from musicrec.embeddings import store
from musicrec.embeddings.base import AudioEmbedding
from musicrec.embeddings.extraction.clips import Clips, decoding_processes, signature
from musicrec.embeddings.extraction.inference import Outcome, model_threads, torch_device
from musicrec.embeddings.extraction.locks import Locks
from musicrec.embeddings.extraction.parts import Merged, Parts, Result
from musicrec.errors import MusicrecError
from musicrec.progress import progress

if TYPE_CHECKING:
    from musicrec.workspace import TrackIndex, Workspace

log = logging.getLogger(__name__)

# Batches a chunk is long.
_CHUNK_BATCHES = 4
# Seconds between two writes of finished chunks: what a kill can cost.
_COMMIT_SECONDS = 5.0


@dataclass(frozen=True)
class ExtractionReport:
    """What an extraction did.

    Attributes:
        path: the `.npy` file.
        tracks: rows of the track index.
        computed: tracks embedded by this call.
        failed: track id -> reason, of all rows of the table.
        silent: track ids that were embedded though they hold no sound.
        damaged: track id -> what was wrong with a file that was embedded all the same.
        removed: track ids that have a row, but no file any more.
        complete: the file is there with a row for every track; False while other shards are missing.
        seconds: duration of this call.
    """

    path: Path
    tracks: int
    computed: int
    failed: dict[str, str] = field(default_factory=dict)
    silent: list[str] = field(default_factory=list)
    damaged: dict[str, str] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    complete: bool = True
    seconds: float = 0.0


class Job:
    """One extraction from audio by one process."""

    def __init__(
        self,
        embedding: AudioEmbedding,
        workspace: Workspace,
        tracks: TrackIndex,
        files: dict[str, Path],
        *,
        precision: str = "fp32",
        resampler: str = "auto",
        shard: int | None = None,
        num_shards: int = 1,
    ):
        """The arguments are those of `musicrec.embeddings.extraction.extract.extract`."""
        self.embedding = embedding
        self.tracks = tracks
        self.files = files
        self.precision = precision
        self.resampler = resampler
        self.shard = shard
        self.num_shards = num_shards
        self.path = workspace.embedding(embedding.name)
        self.info_path = workspace.embedding_info(embedding.name)
        self._command = f"python extract.py embedding={embedding.name}"
        self._parts = Parts(self.path.with_suffix(".parts"))
        self._locks = Locks(self.path)
        self._base: dict[str, Any] = {}  # the .json of rows that were finished earlier, {} if there are none
        self._plan: dict[str, Any] = {}
        self._pending: list[int] = []

    def run(
        self,
        device: str = "auto",
        batch_size: int = 16,
        num_workers: int | str | None = "auto",
        overwrite: bool = False,
    ) -> ExtractionReport:
        """Embeds what is left of this job, and merges if that was the last of the table."""
        start = time.perf_counter()
        device = torch_device(device)
        with self._locks.working(self.shard, int(self._parts.read_plan().get("num_shards", 1))):
            with self._locks.merging():
                self._open(device, batch_size, overwrite)
            if self._pending:
                self._compute(device, batch_size, num_workers)
            with self._locks.merging():
                return self._finish(start)

    def _open(self, device: str, batch_size: int, overwrite: bool) -> None:
        """Finds out what is left to do; MusicrecError if what is there was made with other settings."""
        plan = self._parts.read_plan()
        if overwrite or plan.get("discarded"):
            overwrite = True
            plan = self._discard(plan)
        if self.shard is None and not self._parts.rows() and not plan.get("fresh"):
            plan = {}  # begun, but nothing is done: nobody is bound by it
        info = {} if overwrite or plan.get("fresh") else self._read_info()
        self.resampler = resample.choose(self.resampler, device, (plan or info).get("resampler"))
        if info:
            self._check_base(info)
        self._base = info
        if plan:
            self._check_plan(plan)
        else:
            plan = self._new_plan(device, batch_size, fresh=overwrite)
        if self.shard is not None and plan["num_shards"] == 1:
            plan["num_shards"] = self.num_shards  # a run for everything is gone on with in shards
        self._plan = plan
        covered = self._covered()
        wanted = ~covered
        if self.shard is None:
            self._refuse_missing_shards(covered)
            wanted[self._mended()] = True  # shards leave that to a run for everything
        rows = np.flatnonzero(wanted)
        self._pending = rows[self._mine(rows)].tolist()
        if self._pending:
            self._parts.write_plan(plan)

    def _compute(self, device: str, batch_size: int, num_workers: int | str | None) -> None:
        """Embeds the pending rows, chunk by chunk."""
        self.embedding.load(device, self.precision)
        self._check_checkpoint()
        workers = decoding_processes(num_workers, device)
        if device == "cpu":
            batch_size = 1  # each core works on a clip of its own; larger batches only leave the cache
        log.info("%s: %d tracks on %s, %d decoding processes", self.path, len(self._pending), device, workers)
        clips = Clips(self.embedding, self.tracks, self.files, self._pending, workers, self.resampler, device)
        result = Result(device=device)
        last = time.perf_counter()
        with (
            progress(self.embedding.name, len(self._pending)) as advance,
            model_threads(self.embedding, device) as model,
        ):
            chunks = self._chunks()
            for chunk in chunks:
                for batch in clips.batches(chunk, batch_size, result):
                    self._take(model.send(batch), result)
                advance(len(chunk))
                if time.perf_counter() - last >= _COMMIT_SECONDS or chunk is chunks[-1]:
                    self._take(model.drain(), result)
                    now = time.perf_counter()
                    result.seconds["total"] = now - last
                    self._parts.write(result)
                    result, last = Result(device=device), now

    def _finish(self, start: float) -> ExtractionReport:
        """Merges if every row is there, and returns what was done."""
        covered = self._covered()
        complete = bool(covered.all())
        if complete:
            if self._parts.rows():
                self._merge()
            info = store.read_info(self.info_path)
            about = info.get("failed", {}), info.get("silent", []), info.get("damaged", {})
        else:
            log.info("%s: still missing: %s", self.path, "; ".join(self._missing_shards(covered)))
            about = self._parts.summary(self.tracks)
        return ExtractionReport(
            self.path,
            len(self.tracks),
            len(self._pending),
            *about,
            removed=self._removed(),
            complete=complete,
            seconds=time.perf_counter() - start,
        )

    def _discard(self, plan: dict[str, Any]) -> dict[str, Any]:
        """Drops what is to be made anew and returns the plan that is left; a shard drops its own part only."""
        if plan.get("fresh") and self.shard is not None and not self._differences(plan):
            # Other shards of the same new start may have been at work already.
            self._parts.delete(lambda row: row // int(plan["chunk"]) % self.num_shards == self.shard)
            return plan
        if self.shard is not None:
            self._locks.refuse_other_shards(self.shard, int(plan.get("num_shards", 1)))
        self._parts.discard()
        return {}

    def _read_info(self) -> dict[str, Any]:
        """Returns the `.json` of the finished table, {} if there is no table."""
        info = store.read_info(self.info_path)
        if not self.path.is_file():
            return {}
        if not info and self._parts.rows():
            return {}  # killed between the two files of a merge: the parts are still there
        if not info:
            raise MusicrecError(
                f"{self.path} has no {self.embedding.name}.json, it was not made by extract.py: give another "
                "embedding.name, or replace it with extract.overwrite=true"
            )
        return info

    def _check_base(self, info: dict[str, Any]) -> None:
        """Refuses to add to a finished table that differs from this job."""
        found = self._differences(info)
        if found:
            raise MusicrecError(self._refusal(found))
        self.tracks.check(info, self.path, f"{self._command} extract.overwrite=true")

    def _check_plan(self, plan: dict[str, Any]) -> None:
        """Refuses to go on with an unfinished extraction that differs from this job."""
        found = self._differences(plan)
        if found:
            raise MusicrecError(self._refusal(found))
        self.tracks.check(plan, self._parts.folder, f"{self._command} extract.overwrite=true")
        if self.shard is not None and plan["num_shards"] not in (1, self.num_shards):
            raise MusicrecError(
                f"{self._parts.folder} was begun with num_shards={plan['num_shards']} (now {self.num_shards}): go on "
                "with that number, or start anew with extract.overwrite=true"
            )

    def _differences(self, recorded: dict[str, Any]) -> str:
        """Returns how a finished table or a plan differs from this job in what decides the numbers."""
        earlier = recorded.get("settings", {}) | {
            "precision": recorded.get("precision"),
            "resampler": recorded.get("resampler", "soxr"),
        }
        now = self.embedding.settings() | {"precision": self.precision}
        now["resampler"] = earlier["resampler"] if self.resampler == "auto" else self.resampler
        return store.differences(earlier, now)

    def _refusal(self, found: str) -> str:
        return (
            f"{self.path} was extracted with {found}: give another embedding.name to keep both, or start anew with "
            "extract.overwrite=true"
        )

    def _new_plan(self, device: str, batch_size: int, fresh: bool) -> dict[str, Any]:
        # On a CPU every clip is a batch of its own. Elsewhere a chunk holds enough clips to find some of equal length
        # among them, but no more than a shard's share of a small library.
        share = -(-len(self.tracks) // self.num_shards)
        return {
            "settings": self.embedding.settings(),
            "precision": self.precision,
            "resampler": self.resampler,
            **self.tracks.stamp(),
            "num_shards": self.num_shards,
            "chunk": 1 if device == "cpu" else max(1, min(_CHUNK_BATCHES * batch_size, share)),
            "fresh": fresh,  # a finished table beside it is to be replaced, not added to
        }

    def _check_checkpoint(self) -> None:
        """Refuses weights whose hash is not that of the rows made before; records it if these are the first."""
        now = self.embedding.checkpoint_hash()
        for recorded in (self._base, self._plan):
            if recorded.get("checkpoint_sha256", now) != now:
                raise MusicrecError(self._refusal(f"checkpoint_sha256={recorded['checkpoint_sha256']} (now {now})"))
        self._plan["checkpoint_sha256"] = now
        self._parts.write_plan(self._plan)

    def _covered(self) -> np.ndarray:
        """Returns whether each row is finished, (tracks,) bool."""
        covered = np.zeros(len(self.tracks), dtype=bool)
        covered[: int(self._base.get("tracks", 0))] = True
        covered[[row for row in self._parts.rows() if row < len(covered)]] = True
        return covered

    def _mended(self) -> list[int]:
        """Returns the rows that failed earlier and whose file has changed or come since."""
        files = self._base.get("failed_files", {})
        done = self._parts.rows()
        changed = [
            track for track in self._base.get("failed", {}) if signature(self.files.get(track)) != files.get(track)
        ]
        return [row for row in map(self.tracks.row, changed) if row not in done]

    def _removed(self) -> list[str]:
        """Returns the tracks that were embedded earlier and whose file is gone."""
        earlier = self.tracks.ids[: int(self._base.get("tracks", 0))]
        failed = self._base.get("failed", {})
        return [track for track in earlier if track not in self.files and track not in failed]

    def _mine(self, rows: np.ndarray) -> np.ndarray:
        if self.shard is None:
            return np.ones(len(rows), dtype=bool)
        return rows // int(self._plan["chunk"]) % self.num_shards == self.shard

    def _missing_shards(self, covered: np.ndarray) -> list[str]:
        number, chunk = int(self._plan["num_shards"]), int(self._plan["chunk"])
        missing = Counter((np.flatnonzero(~covered) // chunk % number).tolist())
        return [f"shard {shard} of {number} ({missing[shard]} tracks)" for shard in sorted(missing)]

    def _refuse_missing_shards(self, covered: np.ndarray) -> None:
        number = int(self._plan["num_shards"])
        if number > 1 and not covered.all():
            missing = self._missing_shards(covered)
            first = missing[0].split()[1]
            raise MusicrecError(
                f"{self.path} cannot be merged, missing: {'; '.join(missing)}: run {self._command} "
                f"extract.shard={first} extract.num_shards={number}, or start anew with extract.overwrite=true"
            )

    def _chunks(self) -> list[list[int]]:
        """Returns the pending rows by chunk."""
        chunks: dict[int, list[int]] = {}
        for row in self._pending:
            chunks.setdefault(row // int(self._plan["chunk"]), []).append(row)
        return list(chunks.values())

    def _take(self, outcomes: Iterable[Outcome], result: Result) -> None:
        """Puts what the model gave into `result`."""
        for rows, seconds in outcomes:
            result.seconds["model"] += seconds
            for row, value in rows.items():
                if isinstance(value, str):
                    track = self.tracks.ids[row]
                    result.fail(row, track, value, signature(self.files[track]))
                else:
                    result.vectors[row] = value

    def _merge(self) -> None:
        """Writes the table and its description from the finished table and the parts, then deletes the parts."""
        merged = self._parts.merged()
        dim = merged.dim or int(self._base.get("dim", 0))
        finished = int(self._base.get("tracks", 0))
        failed = self._by_row(self._kept("failed", merged) | merged.failed)
        if len(failed) == len(self.tracks):
            self._parts.delete()
            raise MusicrecError(f"none of the {len(self.tracks)} tracks could be embedded: {reasons(failed)}")
        for left in self.path.parent.glob(f".tmp-*-{glob.escape(self.path.name)}"):
            left.unlink()  # by a process that was killed while it merged
        with store.writing(self.path, (len(self.tracks), dim)) as table:
            if finished:
                table[:finished] = np.load(self.path, mmap_mode="r", allow_pickle=False)[:finished]
            for rows, vectors in self._parts.vectors():
                table[rows] = vectors
            table[[self.tracks.row(track) for track in failed]] = np.nan
        info = store.describe(self.embedding, self.tracks, dim) | {
            "precision": self.precision,
            "resampler": self.resampler,
            "checkpoint_sha256": self._plan.get("checkpoint_sha256", self._base.get("checkpoint_sha256")),
            "failed": failed,
            "failed_files": self._kept("failed_files", merged) | merged.failed_files,
            "silent": sorted([*self._kept("silent", merged), *merged.silent], key=self.tracks.row),
            "damaged": self._by_row(self._kept("damaged", merged) | merged.damaged),
            "throughput": merged.throughput(),
        }
        store.write_info(self.info_path, info)
        self._parts.delete()

    def _kept(self, key: str, merged: Merged) -> dict[str, Any]:
        """Returns the entries of the finished table's `.json` that concern rows not made again, by track id."""
        entries = self._base.get(key, {})
        entries = entries if isinstance(entries, dict) else dict.fromkeys(entries, "")
        return {track: entry for track, entry in entries.items() if self.tracks.row(track) not in merged.rows}

    def _by_row(self, entries: dict[str, str]) -> dict[str, str]:
        return {track: entries[track] for track in sorted(entries, key=self.tracks.row)}


def reasons(failed: dict[str, str]) -> str:
    """Returns how many tracks failed for which reason: "3 too short, 1 empty file"."""
    kinds = Counter(reason.split(":")[0].split(" (")[0] for reason in failed.values())
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(4))
