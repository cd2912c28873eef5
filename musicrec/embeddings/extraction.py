"""Stage 1: from audio files to `{name}.npy`, in a loop that can be killed at any moment, divided and continued.

Tracks are planned in chunks of a fixed size by their row, so that the batches the model sees, and with them the last
bits of its output, do not depend on where a run was interrupted or on how it was divided. Finished chunks are written
to `{name}.parts/` every few seconds; when all are there they are merged into `{name}.npy`, and `{name}.parts/` goes.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from musicrec.audio.ahead import decode_ahead
from musicrec.audio.decode import Audio, AudioError
from musicrec.embeddings import store
from musicrec.embeddings.base import AudioEmbedding
from musicrec.embeddings.inference import Batch, Outcome, model_threads, torch_device
from musicrec.embeddings.locks import Locks
from musicrec.embeddings.parts import Merged, Parts, Result
from musicrec.errors import MusicrecError

if TYPE_CHECKING:
    from musicrec.embeddings.base import Embedding
    from musicrec.workspace import TrackIndex, Workspace

log = logging.getLogger(__name__)

PRECISIONS = ("fp32", "bf16", "fp16")
# Peak below which a clip counts as silent: -80 dB of full scale, three steps of 16-bit audio.
SILENCE = 1e-4
# Batches a chunk is long.
_CHUNK_BATCHES = 4
# Seconds between two writes of finished chunks: what a kill can cost.
_COMMIT_SECONDS = 5.0
# Samples held back at most in search of a batch of equal length, 128 MB.
_HELD_SAMPLES = 1 << 25


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
        complete: the file is there with a row for every track; False while other shards are missing.
        seconds: duration of this call.
    """

    path: Path
    tracks: int
    computed: int
    failed: dict[str, str] = field(default_factory=dict)
    silent: list[str] = field(default_factory=list)
    damaged: dict[str, str] = field(default_factory=dict)
    complete: bool = True
    seconds: float = 0.0


def extract(
    embedding: Embedding,
    workspace: Workspace,
    tracks: TrackIndex,
    files: dict[str, Path],
    *,
    device: str = "auto",
    precision: str = "fp32",
    batch_size: int = 16,
    num_workers: int | str | None = "auto",
    shard: int | None = None,
    num_shards: int = 1,
    overwrite: bool = False,
    strict: bool = False,
) -> ExtractionReport:
    """Makes or completes `embeddings/{name}.npy` and `{name}.json`.

    Args:
        embedding: what to extract.
        workspace: where to.
        tracks: gives the rows their order.
        files: track id -> audio file.
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "fp32", "bf16" or "fp16".
        batch_size: clips the model gets at once.
        num_workers: processes that decode ahead; "auto" by the cores at hand, 0 = none.
        shard: which part to do, 0 to num_shards - 1; None = everything, and merge.
        num_shards: parts the work is divided into.
        overwrite: start anew whatever is there.
        strict: fail if any track fails.

    Raises:
        MusicrecError: made with other settings before; another process is at it; no track could be embedded.
    """
    start = time.perf_counter()
    if not isinstance(embedding, AudioEmbedding):
        report = _write_table(embedding, workspace, tracks, overwrite, start)
    else:
        _check_options(precision, batch_size, shard, num_shards)
        job = _Job(embedding, workspace, tracks, files, precision, shard, num_shards)
        with job.locks.working(shard, job.known_shards()):
            job.open(device, batch_size, overwrite)
            job.compute(device, batch_size, num_workers)
            report = job.finish(start)
    _summarise(embedding.name, report)
    if strict and report.failed:
        raise MusicrecError(f"extract.strict=true: {_reasons(report.failed)}; see {report.path.with_suffix('.json')}")
    return report


class _Job:
    """One extraction by one process: which rows are left, the loop over them, and the merge."""

    def __init__(
        self,
        embedding: AudioEmbedding,
        workspace: Workspace,
        tracks: TrackIndex,
        files: dict[str, Path],
        precision: str,
        shard: int | None,
        num_shards: int,
    ):
        self.embedding = embedding
        self.tracks = tracks
        self.files = files
        self.precision = precision
        self.shard = shard
        self.num_shards = num_shards
        self._command = f"python extract.py embedding={embedding.name}"
        self.path = workspace.embedding(embedding.name)
        self.info_path = workspace.embedding_info(embedding.name)
        self.parts = Parts(self.path.with_suffix(".parts"))
        self.locks = Locks(self.path)
        self.base: dict[str, Any] = {}  # the .json of rows that were finished earlier, {} if there are none
        self.pending: list[int] = []
        self.computed = 0

    def known_shards(self) -> int:
        """Returns the number of shards that the extraction was begun with."""
        return int(self.parts.read_plan().get("num_shards", 1))

    def open(self, device: str, batch_size: int, overwrite: bool) -> None:
        """Finds out what is left to do; MusicrecError if what is there was made with other settings."""
        with self.locks.merging():
            plan = self.parts.read_plan()
            if overwrite:
                plan = self._discard(plan)
            if self.shard is None and not self.parts.rows():
                plan = {}  # begun, but nothing is done: nobody is bound by it
            if not (overwrite or plan.get("fresh")):
                self.base = self._read_base()
            if plan:
                self._check_plan(plan)
            else:
                plan = self._new_plan(torch_device(device), batch_size, fresh=overwrite)
            if self.shard is not None and plan["num_shards"] == 1:
                plan["num_shards"] = self.num_shards  # a run for everything is gone on with in shards
            self.plan = plan
            self.chunk = int(plan["chunk"])
            covered = self._covered()
            if self.shard is None:
                self._refuse_missing_shards(covered)
            wanted = ~covered
            if self.shard is None:  # shards leave that to a run for everything
                wanted[self._mended()] = True
            rows = np.flatnonzero(wanted)
            self.pending = rows[self._mine(rows)].tolist()
            if self.pending:
                self.parts.write_plan(plan)

    def compute(self, device: str, batch_size: int, num_workers: int | str | None) -> None:
        """Embeds the pending rows, chunk by chunk."""
        if not self.pending:
            return
        device = torch_device(device)
        self.embedding.load(device, self.precision)
        self._check_checkpoint()
        chunks = self._chunks()
        ordered = [row for chunk in chunks for row in chunk if self.tracks.ids[row] in self.files]
        paths = [self.files[self.tracks.ids[row]] for row in ordered]
        workers = _workers(num_workers, device)
        if device == "cpu":
            batch_size = 1  # each core works on a clip of its own; larger batches only leave the cache
        log.info("%s: %d tracks on %s, %d decoding processes", self.path, len(self.pending), device, workers)
        decoded = decode_ahead(paths, self.embedding.sample_rate, self.embedding.max_seconds, workers)
        result = Result(device=device)
        last = time.perf_counter()
        with (
            _progress(len(self.pending), self.embedding.name) as advance,
            model_threads(self.embedding, device) as model,
        ):
            for chunk in chunks:
                for batch in self._batches(chunk, decoded, batch_size, result):
                    self._take(model.send(batch), result)
                advance(len(chunk))
                if time.perf_counter() - last >= _COMMIT_SECONDS or chunk is chunks[-1]:
                    self._take(model.drain(), result)
                    now = time.perf_counter()
                    result.seconds["total"] = now - last
                    self.parts.write(result)
                    result, last = Result(device=device), now
        self.computed = len(self.pending)

    def finish(self, start: float) -> ExtractionReport:
        """Merges if every row is there, and returns what was done."""
        with self.locks.merging():
            covered = self._covered()
            if not covered.all():
                shards = self._missing_shards(covered)
                log.info("%s: still missing: %s", self.path, "; ".join(shards))
                return ExtractionReport(
                    self.path,
                    len(self.tracks),
                    self.computed,
                    *self.parts.summary(self.tracks),
                    complete=False,
                    seconds=time.perf_counter() - start,
                )
            if self.parts.rows():
                self._merge()
            info = store.read_info(self.info_path)
        return ExtractionReport(
            self.path,
            len(self.tracks),
            self.computed,
            info.get("failed", {}),
            info.get("silent", []),
            info.get("damaged", {}),
            seconds=time.perf_counter() - start,
        )

    def _discard(self, plan: dict[str, Any]) -> dict[str, Any]:
        """Drops what is to be made anew and returns the plan that is left; a shard drops its own part only."""
        if plan.get("fresh") and self.shard is not None and not self._plan_differences(plan):
            # Other shards of the same new start may have been at work already.
            self.parts.delete(lambda row: row // int(plan["chunk"]) % self.num_shards == self.shard)
            return plan
        if self.shard is not None:
            self.locks.refuse_other_shards(self.shard, int(plan.get("num_shards", 1)))
        self.parts.delete()
        return {}

    def _read_base(self) -> dict[str, Any]:
        """Returns the `.json` of the finished table after checking that more rows may be added to it."""
        info = store.read_info(self.info_path)
        if not self.path.is_file():
            return {}
        name = self.embedding.name
        if not info:
            raise MusicrecError(
                f"{self.path} has no {name}.json, it was not made by extract.py: give another embedding.name, or "
                "replace it with extract.overwrite=true"
            )
        found = store.differences(self._comparable(info), self._identity())
        if found:
            raise MusicrecError(self._refusal(found))
        self.tracks.check(info, self.path, f"{self._command} extract.overwrite=true")
        gone = sum(1 for track in self.tracks.ids[: int(info["tracks"])] if track not in self.files)
        gone -= sum(1 for track in info.get("failed", {}) if track not in self.files)
        if gone > 0:
            log.warning("%s: %d tracks with a row have no audio file any more; their rows are kept", self.path, gone)
        return info

    def _identity(self) -> dict[str, Any]:
        return self.embedding.settings() | {"precision": self.precision}

    @staticmethod
    def _comparable(info: dict[str, Any]) -> dict[str, Any]:
        return info.get("settings", {}) | {"precision": info.get("precision")}

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
            **self.tracks.stamp(),
            "num_shards": self.num_shards,
            "chunk": 1 if device == "cpu" else max(1, min(_CHUNK_BATCHES * batch_size, share)),
            "fresh": fresh,  # a finished table beside it is to be replaced, not added to
        }

    def _plan_differences(self, plan: dict[str, Any]) -> str:
        return store.differences(self._comparable(plan), self._identity())

    def _check_plan(self, plan: dict[str, Any]) -> None:
        """Refuses to go on with an unfinished extraction that differs from this one."""
        found = self._plan_differences(plan)
        if found:
            raise MusicrecError(self._refusal(found))
        self.tracks.check(plan, self.parts.folder, f"{self._command} extract.overwrite=true")
        if self.shard is not None and plan["num_shards"] not in (1, self.num_shards):
            raise MusicrecError(
                f"{self.parts.folder} was begun with num_shards={plan['num_shards']} (now {self.num_shards}): go "
                "on with that number, or start anew with extract.overwrite=true"
            )

    def _check_checkpoint(self) -> None:
        """Refuses weights whose hash is not that of the rows made before; records it if these are the first."""
        now = self.embedding.checkpoint_hash()
        for recorded in (self.base, self.plan):
            if recorded.get("checkpoint_sha256", now) != now:
                raise MusicrecError(self._refusal(f"checkpoint_sha256={recorded['checkpoint_sha256']} (now {now})"))
        self.plan["checkpoint_sha256"] = now
        self.parts.write_plan(self.plan)

    def _mended(self) -> list[int]:
        """Returns the rows that failed earlier and whose file has changed or come since."""
        files = self.base.get("failed_files", {})
        done = self.parts.rows()
        changed = [
            track for track in self.base.get("failed", {}) if _signature(self.files.get(track)) != files.get(track)
        ]
        return [row for row in map(self.tracks.row, changed) if row not in done]

    def _covered(self) -> np.ndarray:
        """Returns whether each row is finished, (tracks,) bool."""
        covered = np.zeros(len(self.tracks), dtype=bool)
        covered[: int(self.base.get("tracks", 0))] = True
        covered[[row for row in self.parts.rows() if row < len(covered)]] = True
        return covered

    def _mine(self, rows: np.ndarray) -> np.ndarray:
        if self.shard is None:
            return np.ones(len(rows), dtype=bool)
        return rows // self.chunk % self.num_shards == self.shard

    def _missing_shards(self, covered: np.ndarray) -> list[str]:
        number = int(self.plan["num_shards"])
        missing = Counter((np.flatnonzero(~covered) // self.chunk % number).tolist())
        return [f"shard {shard} of {number} ({missing[shard]} tracks)" for shard in sorted(missing)]

    def _refuse_missing_shards(self, covered: np.ndarray) -> None:
        number = int(self.plan["num_shards"])
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
        for row in self.pending:
            chunks.setdefault(row // self.chunk, []).append(row)
        return list(chunks.values())

    def _batches(
        self, rows: list[int], decoded: Iterator[Audio | AudioError], batch_size: int, result: Result
    ) -> Iterator[Batch]:
        """Yields the tracks of a chunk in batches of equal length (any length if the model takes that).

        A batch never goes beyond its chunk, so that it is the same whenever the chunk is made again.
        """
        held: dict[int, Batch] = {}
        for row in rows:
            wave = self._wave(row, decoded, result)
            if wave is None:
                continue
            key = len(wave) if self.embedding.same_length else 0
            held.setdefault(key, []).append((row, wave))
            if len(held[key]) == batch_size:
                yield held.pop(key)
            elif sum(len(wave) for batch in held.values() for _, wave in batch) > _HELD_SAMPLES:
                yield from held.values()
                held.clear()
        yield from held.values()

    def _wave(self, row: int, decoded: Iterator[Audio | AudioError], result: Result) -> np.ndarray | None:
        """Returns the wave of a track as the model wants it; None, with the reason in `result`, if there is none."""
        track = self.tracks.ids[row]
        file = self.files.get(track)
        if file is None:
            result.fail(row, track, "no audio file", None)
            return None
        begin = time.perf_counter()
        audio = next(decoded)
        result.seconds["waiting"] += time.perf_counter() - begin
        if isinstance(audio, AudioError):
            result.fail(row, track, str(audio), _signature(file))
            return None
        result.seconds["decode"] += audio.decode_seconds
        result.seconds["resample"] += audio.resample_seconds
        try:
            wave = self.embedding.prepare(audio.wave)
        except AudioError as error:
            result.fail(row, track, f"{error}; {audio.note}" if audio.note else str(error), _signature(file))
            return None
        if audio.note:
            result.damaged[track] = audio.note
        if np.abs(wave).max() < SILENCE:
            result.silent.append(track)
        result.audio_seconds += len(wave) / self.embedding.sample_rate
        return wave

    def _take(self, outcomes: Iterable[Outcome], result: Result) -> None:
        """Puts what the model gave into `result`."""
        for rows, seconds in outcomes:
            result.seconds["model"] += seconds
            for row, value in rows.items():
                if isinstance(value, str):
                    track = self.tracks.ids[row]
                    result.fail(row, track, value, _signature(self.files[track]))
                else:
                    result.vectors[row] = value

    def _merge(self) -> None:
        """Writes the table and its description from the finished table and the parts, then deletes the parts."""
        merged = self.parts.merged()
        dim = merged.dim or int(self.base.get("dim", 0))
        finished = int(self.base.get("tracks", 0))
        failed = self._by_row(self._kept("failed", merged) | merged.failed)
        if len(failed) == len(self.tracks):
            self.parts.delete()
            raise MusicrecError(f"none of the {len(self.tracks)} tracks could be embedded: {_reasons(failed)}")
        with store.writing(self.path, (len(self.tracks), dim)) as table:
            if finished:
                table[:finished] = np.load(self.path, mmap_mode="r", allow_pickle=False)[:finished]
            for rows, vectors in self.parts.vectors():
                table[rows] = vectors
            table[[self.tracks.row(track) for track in failed]] = np.nan
        info = store.describe(self.embedding, self.tracks, dim) | {
            "precision": self.precision,
            "checkpoint_sha256": self.plan.get("checkpoint_sha256", self.base.get("checkpoint_sha256")),
            "failed": failed,
            "failed_files": self._kept("failed_files", merged) | merged.failed_files,
            "silent": sorted([*self._kept("silent", merged), *merged.silent], key=self.tracks.row),
            "damaged": self._by_row(self._kept("damaged", merged) | merged.damaged),
            "throughput": merged.throughput(),
        }
        store.write_info(self.info_path, info)
        self.parts.delete()

    def _kept(self, key: str, merged: Merged) -> dict[str, Any]:
        """Returns the entries of the finished table's `.json` that concern rows not made again, by track id."""
        entries = self.base.get(key, {})
        entries = entries if isinstance(entries, dict) else dict.fromkeys(entries, "")
        return {track: entry for track, entry in entries.items() if self.tracks.row(track) not in merged.rows}

    def _by_row(self, entries: dict[str, str]) -> dict[str, str]:
        return {track: entries[track] for track in sorted(entries, key=self.tracks.row)}


def _signature(file: Path | None) -> list[int] | None:
    """Returns what changes when a file is replaced: size and time of change; None if there is none."""
    try:
        return None if file is None else [file.stat().st_size, file.stat().st_mtime_ns]
    except OSError:
        return None


def _write_table(
    embedding: Embedding, workspace: Workspace, tracks: TrackIndex, overwrite: bool, start: float
) -> ExtractionReport:
    """Writes the table of an embedding that needs no audio."""
    path, info_path = workspace.embedding(embedding.name), workspace.embedding_info(embedding.name)
    values = embedding.table(workspace, tracks)
    sha256 = embedding.checkpoint_hash()
    info = store.read_info(info_path)
    if info and not overwrite:
        found = store.differences(info.get("settings", {}), embedding.settings())
        if not found and info.get("checkpoint_sha256") != sha256:
            found = f"checkpoint_sha256={info.get('checkpoint_sha256')} (now {sha256})"
        if found:
            raise MusicrecError(
                f"{path} was made with {found}: give another embedding.name to keep both, or start anew with "
                "extract.overwrite=true"
            )
        tracks.check(info, path, f"python extract.py embedding={embedding.name} extract.overwrite=true")
    missing = np.flatnonzero(~np.isfinite(values).all(axis=1)).tolist()
    failed = {tracks.ids[row]: "no vector" for row in missing}
    if len(failed) == len(tracks):
        raise MusicrecError(f"{path}: none of the {len(tracks)} tracks has a vector")
    extra: dict[str, Any] = {"checkpoint_sha256": sha256, "failed": failed, "silent": [], "damaged": {}}
    store.write_table(workspace, embedding, tracks, values, extra)
    return ExtractionReport(path, len(tracks), len(tracks), failed, seconds=time.perf_counter() - start)


def _check_options(precision: str, batch_size: int, shard: int | None, num_shards: int) -> None:
    if precision not in PRECISIONS:
        raise MusicrecError(f"extract.precision={precision} is unknown; allowed: {', '.join(PRECISIONS)}")
    if batch_size < 1:
        raise MusicrecError(f"extract.batch_size={batch_size} must be at least 1")
    if num_shards < 1:
        raise MusicrecError(f"extract.num_shards={num_shards} must be at least 1")
    if shard is not None and not 0 <= shard < num_shards:
        raise MusicrecError(f"extract.shard={shard} must be between 0 and extract.num_shards - 1 = {num_shards - 1}")


def _workers(num_workers: int | str | None, device: str) -> int:
    """Returns the number of decoding processes: by default one core is left to the model."""
    if num_workers in (None, "auto"):
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, min(cores - 1, 4 if device == "cpu" else 16))
    try:
        workers = int(num_workers)
    except ValueError:
        workers = -1
    if workers < 0:
        raise MusicrecError(f"extract.num_workers={num_workers} must be auto or a number from 0")
    return workers


@contextmanager
def _progress(total: int, name: str) -> Iterator[Any]:
    """Shows a progress bar with tracks per second and time left; yields the function that advances it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]:.1f} tracks/s"),
        TimeRemainingColumn(),
    )
    start = time.perf_counter()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(name, total=total, speed=0.0)

        def advance(count: int) -> None:
            progress.advance(task, count)
            progress.update(task, speed=progress.tasks[0].completed / (time.perf_counter() - start))

        yield advance


def _reasons(failed: dict[str, str]) -> str:
    """Returns how many tracks failed for which reason: "3 too short, 1 empty file"."""
    kinds = Counter(reason.split(":")[0].split(" (")[0] for reason in failed.values())
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(4))


def _summarise(name: str, report: ExtractionReport) -> None:
    info = report.path.with_suffix(".json").name
    if report.failed:
        log.warning("%s: %d tracks failed (%s); %s lists them", name, len(report.failed), _reasons(report.failed), info)
    if report.damaged:
        log.warning("%s: %d damaged files embedded as far as they go; %s lists them", name, len(report.damaged), info)
    if report.silent:
        log.warning("%s: %d silent tracks were embedded; %s lists them", name, len(report.silent), info)
    if report.complete:
        log.info("%s: %d tracks, %d of them new in %.1f s", report.path, report.tracks, report.computed, report.seconds)
