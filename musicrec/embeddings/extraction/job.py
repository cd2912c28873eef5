"""Runs an extraction in one process: the loop over the tracks left to do, with a part written every few seconds.

Finished chunks go to `{name}.parts/`; when every track has a row there or in the finished table, all are merged into
`{name}.npy` and `{name}.parts/` is deleted.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from musicrec.embeddings.extraction.decoding import Decoder, decoding_processes
from musicrec.embeddings.extraction.inference import run_model, torch_device, warn_of_slow_precision
from musicrec.embeddings.extraction.locks import Locks
from musicrec.embeddings.extraction.merge import merge
from musicrec.embeddings.extraction.parts import Parts
from musicrec.embeddings.extraction.plan import Plan, Work, covered, find_work
from musicrec.embeddings.extraction.request import Request
from musicrec.embeddings.extraction.results import Outcome
from musicrec.embeddings.tables import store
from musicrec.progress import progress

log = logging.getLogger(__name__)

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
        silent: ids of tracks that were embedded although they contain no sound.
        damaged: track id -> what was wrong with a file that was embedded nevertheless.
        removed: ids of tracks that have a row but no file any more.
        complete: whether the file has a row for every track; False while other shards are missing.
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


def run(
    request: Request, device: str = "auto", batch_size: int = 16, num_workers: int | str | None = "auto"
) -> ExtractionReport:
    """Embeds the tracks of a request that are left to do, and merges if that completes the table.

    Args:
        request: what is asked for.
        device: "auto", "cpu", "cuda" or "cuda:N".
        batch_size: clips per batch on a GPU.
        num_workers: processes that decode ahead; "auto" depends on the CPU cores, 0 = none.
    """
    start = time.perf_counter()
    device = torch_device(device)
    parts, locks = Parts(request.path.with_suffix(".parts")), Locks(request.path)
    recorded = Plan.read(parts)
    with locks.working(request.shard, recorded.num_shards if recorded else 1):
        with locks.merging():
            work = find_work(request, parts, locks, device, batch_size)
        if work.rows:
            warn_of_slow_precision(device, request.precision)
            work = replace(work, plan=_load(request, work, parts, device))
            # On a CPU each core works on a clip of its own; larger batches would only overflow its cache.
            _compute(request, work, parts, device, 1 if device == "cpu" else batch_size, num_workers)
        with locks.merging():
            return _finish(request, work, parts, start)


def _load(request: Request, work: Work, parts: Parts, device: str) -> Plan:
    """Loads the model and returns the plan with the hash of its weights.

    Raises:
        MusicrecError: earlier rows were made with other weights.
    """
    request.embedding.load(device, request.precision)
    now = request.embedding.checkpoint_hash()
    for recorded in (work.base, work.plan):
        before = recorded.checkpoint_sha256 if recorded else None
        if before is not None and before != now:
            raise request.refusal(f"checkpoint_sha256={before} (now {now})")
    plan = replace(work.plan, checkpoint_sha256=now)
    parts.write_plan(plan.to_json())
    return plan


def _compute(
    request: Request, work: Work, parts: Parts, device: str, batch_size: int, num_workers: int | str | None
) -> None:
    """Embeds the rows of `work`; a part holds whole chunks, so that a resumed run forms the same batches."""
    workers = decoding_processes(num_workers, device)
    log.info("%s: %d tracks on %s, %d decoding processes", request.path, len(work.rows), device, workers)
    decoder = Decoder(request.embedding, workers, work.plan.resampler, device)
    chunks = work.chunks()
    missing = {chunk[0] // work.plan.chunk: len(chunk) for chunk in chunks}
    unfinished: defaultdict[int, list[Outcome]] = defaultdict(list)
    finished: list[Outcome] = []
    last = time.perf_counter()
    with (
        progress(request.embedding.name, len(work.rows)) as advance,
        closing(decoder.batches(request.tracks, request.files, chunks, batch_size)) as batches,
        closing(run_model(request.embedding, batches, device)) as outcomes,
    ):
        for outcome in outcomes:
            advance(1)
            chunk = outcome.row // work.plan.chunk
            unfinished[chunk].append(outcome)
            missing[chunk] -= 1
            if missing[chunk]:
                continue
            finished += unfinished.pop(chunk)
            now = time.perf_counter()
            if now - last >= _COMMIT_SECONDS:
                parts.write(finished, request.tracks, now - last, device)
                finished, last = [], now
        if finished:
            parts.write(finished, request.tracks, time.perf_counter() - last, device)


def _finish(request: Request, work: Work, parts: Parts, start: float) -> ExtractionReport:
    """Merges if every row is there, and returns what was done."""
    done = covered(request, work.base, parts)
    complete = bool(done.all())
    if complete:
        info = merge(request, work, parts) if parts.rows() else store.read_info(request.info_path)
        failed, silent, damaged = (dict(info.failed), list(info.silent), dict(info.damaged)) if info else ({}, [], {})
    else:
        log.info("%s: still missing: %s", request.path, "; ".join(text for _, text in work.plan.missing_shards(done)))
        summary = parts.summary()
        failed, silent, damaged = summary.failed, sorted(summary.silent, key=request.tracks.row), summary.damaged
    return ExtractionReport(
        path=request.path,
        tracks=len(request.tracks),
        computed=len(work.rows),
        failed=failed,
        silent=silent,
        damaged=damaged,
        removed=_removed(request, work),
        complete=complete,
        seconds=time.perf_counter() - start,
    )


def _removed(request: Request, work: Work) -> list[str]:
    """Returns the ids of tracks that were embedded earlier and whose file is gone."""
    if work.base is None:
        return []
    earlier = request.tracks.ids[: work.base.tracks or 0]
    return [track for track in earlier if track not in request.files and track not in work.base.failed]
