"""Plan and Work: what an unfinished extraction recorded, and the rows left to do.

Tracks are planned in chunks of a fixed size by their row, so that the batches the model sees, and with them the last
bits of its output, do not depend on where a run was interrupted or on how it was sharded.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from musicrec.audio import resample
from musicrec.embeddings.extraction.locks import Locks
from musicrec.embeddings.extraction.parts import Parts
from musicrec.embeddings.extraction.request import Request
from musicrec.embeddings.extraction.results import signature
from musicrec.embeddings.tables import store
from musicrec.embeddings.tables.embedding_info import EmbeddingInfo
from musicrec.errors import MusicrecError

log = logging.getLogger(__name__)

# Length of a chunk in batches.
_CHUNK_BATCHES = 4


@dataclass(frozen=True)
class Plan:
    """What `plan.json` records of an unfinished extraction.

    Attributes:
        settings: of the embedding.
        precision: of the arithmetic.
        resampler: "soxr" or "torchaudio".
        tracks: length of the track index when the extraction was started.
        tracks_hash: its fingerprint.
        num_shards: number of parts that the chunks are divided into.
        chunk: rows per chunk.
        fresh: whether a finished table beside it is to be replaced instead of extended.
        checkpoint_sha256: of the weights; None before they were first read.
    """

    settings: Mapping[str, Any]
    precision: str
    resampler: str
    tracks: int
    tracks_hash: str
    num_shards: int
    chunk: int
    fresh: bool
    checkpoint_sha256: str | None = None

    @classmethod
    def new(cls, request: Request, resampler: str, device: str, batch_size: int, fresh: bool) -> Plan:
        """Returns the plan of an extraction that is started now."""
        # On a CPU every clip is a batch of its own. Elsewhere a chunk holds enough clips to find some of equal length
        # among them, but not more than a shard's share of a small library.
        share = -(-len(request.tracks) // request.num_shards)
        return cls(
            settings=request.embedding.settings(),
            precision=request.precision,
            resampler=resampler,
            tracks=len(request.tracks),
            tracks_hash=request.tracks.fingerprint(),
            num_shards=request.num_shards,
            chunk=1 if device == "cpu" else max(1, min(_CHUNK_BATCHES * batch_size, share)),
            fresh=fresh,
        )

    @classmethod
    def read(cls, parts: Parts) -> Plan | None:
        """Returns the plan of an unfinished extraction, None if there is none or it was discarded."""
        content = parts.read_plan()
        return cls.from_json(content) if content and not content.get("discarded") else None

    def to_json(self) -> dict[str, Any]:
        """Returns the content of the file."""
        content = asdict(self)
        if self.checkpoint_sha256 is None:
            del content["checkpoint_sha256"]
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Plan:
        """Returns the plan in a file. What an incomplete file lacks differs from every request, so it is refused."""
        return cls(
            settings=dict(content.get("settings", {})),
            precision=str(content.get("precision", "unknown")),
            resampler=str(content.get("resampler", "soxr")),
            tracks=int(content.get("tracks", 0)),
            tracks_hash=str(content.get("tracks_hash", "")),
            num_shards=int(content.get("num_shards", 1)),
            chunk=max(1, int(content.get("chunk", 1))),
            fresh=bool(content.get("fresh", False)),
            checkpoint_sha256=content.get("checkpoint_sha256"),
        )

    def stamp(self) -> dict[str, Any]:
        """Returns what the plan records of the track index, as `TrackIndex.check` takes it."""
        return {"tracks": self.tracks, "tracks_hash": self.tracks_hash}

    def shards(self, rows: np.ndarray) -> np.ndarray:
        """Returns the number of the shard that each of `rows`, (rows,), belongs to."""
        return rows // self.chunk % self.num_shards

    def missing_shards(self, covered: np.ndarray) -> list[tuple[int, str]]:
        """Returns number and description of each shard with rows that are not done, `covered` being (tracks,) bool."""
        missing = Counter(self.shards(np.flatnonzero(~covered)).tolist())
        return [(shard, f"shard {shard} of {self.num_shards} ({missing[shard]} tracks)") for shard in sorted(missing)]


@dataclass(frozen=True)
class Work:
    """What is left to do.

    Attributes:
        plan: of the extraction.
        base: of the finished table that is extended; None if there is none or it is replaced.
        rows: to be embedded by this process, ascending.
    """

    plan: Plan
    base: EmbeddingInfo | None
    rows: tuple[int, ...]

    def chunks(self) -> list[list[int]]:
        """Returns the rows by chunk."""
        chunks: dict[int, list[int]] = {}
        for row in self.rows:
            chunks.setdefault(row // self.plan.chunk, []).append(row)
        return list(chunks.values())


def find_work(request: Request, parts: Parts, locks: Locks, device: str, batch_size: int) -> Work:
    """Returns what is left to do of a request, and records the plan if there is anything.

    Args:
        request: what is asked for.
        parts: of the unfinished extraction; those that are to be replaced are deleted.
        locks: of the embedding.
        device: torch device of the model.
        batch_size: clips per batch.

    Raises:
        MusicrecError: finished or unfinished rows were made with other settings.
    """
    plan = Plan.read(parts)
    fresh = request.overwrite or bool(parts.read_plan().get("discarded"))
    if fresh:
        plan = _discard(request, parts, locks, plan)
    if plan and request.shard is None and not plan.fresh and not parts.rows():
        plan = None  # started, but nothing is done yet, so its settings are not binding
    base = None if fresh or (plan and plan.fresh) else _read_base(request, parts)
    recorded = plan or base
    resampler = resample.choose(request.resampler, device, recorded.resampler if recorded else None)
    if base:
        request.check(base, request.path)
    if plan:
        request.check(plan, parts.folder)
        plan = _with_shards(plan, request, parts)
    else:
        plan = Plan.new(request, resampler, device, batch_size, fresh)
    done = covered(request, base, parts)
    wanted = ~done
    if request.shard is None:
        _refuse_missing_shards(request, plan, done)
        wanted[_replaced(request, base, parts)] = True  # shards leave these to a run for everything
    rows = np.flatnonzero(wanted)
    if request.shard is not None:
        rows = rows[plan.shards(rows) == request.shard]
    if len(rows):
        parts.write_plan(plan.to_json())
    return Work(plan, base, tuple(rows.tolist()))


def covered(request: Request, base: EmbeddingInfo | None, parts: Parts) -> np.ndarray:
    """Returns whether each row is done, (tracks,) bool."""
    done = np.zeros(len(request.tracks), dtype=bool)
    done[: (base.tracks or 0) if base else 0] = True
    done[[row for row in parts.rows() if row < len(done)]] = True
    return done


def _discard(request: Request, parts: Parts, locks: Locks, plan: Plan | None) -> Plan | None:
    """Deletes what is to be made again and returns the plan that is left; a shard deletes its own part only."""
    if plan and plan.fresh and request.shard is not None and not request.differences(plan):
        # Other shards of the same new start may have done some work already.
        chunk, number = plan.chunk, request.num_shards
        parts.delete(lambda row: row // chunk % number == request.shard)
        return plan
    if request.shard is not None:
        locks.refuse_other_shards(request.shard, plan.num_shards if plan else 1)
    parts.discard()
    return None


def _read_base(request: Request, parts: Parts) -> EmbeddingInfo | None:
    """Returns the info of the finished table, None if there is no table."""
    info = store.read_info(request.info_path)
    if not request.path.is_file():
        return None
    if info is None and not parts.rows():  # with parts it was killed between the two files of a merge
        raise MusicrecError(
            f"{request.path} has no {request.info_path.name}, it was not made by extract.py: give another "
            "embedding.name, or replace it with extract.overwrite=true"
        )
    if info is None:
        return None
    try:
        vectors = store.open_table(request.path)
        if not parts.rows():  # otherwise the record may be that of the table before
            if vectors.shape != (info.tracks, info.dim):
                raise MusicrecError(f"{request.path} has shape {vectors.shape}, not {(info.tracks, info.dim)}")
            store.check_content(request.path, vectors, info)
    except MusicrecError as error:
        log.warning("%s; extracting all of it again", str(error).partition("; recreate it")[0])
        return None
    return info


def _with_shards(plan: Plan, request: Request, parts: Parts) -> Plan:
    """Returns the plan with the number of shards of the request; a run for everything can be resumed in shards."""
    if request.shard is None or plan.num_shards == request.num_shards:
        return plan
    if plan.num_shards == 1:
        return replace(plan, num_shards=request.num_shards)
    raise MusicrecError(
        f"{parts.folder} was started with num_shards={plan.num_shards} (now {request.num_shards}): resume with that "
        "number, or start from scratch with extract.overwrite=true"
    )


def _refuse_missing_shards(request: Request, plan: Plan, done: np.ndarray) -> None:
    if plan.num_shards > 1 and not done.all():
        missing = plan.missing_shards(done)
        raise MusicrecError(
            f"{request.path} cannot be merged, missing: {'; '.join(text for _, text in missing)}: run "
            f"{request.command} extract.shard={missing[0][0]} extract.num_shards={plan.num_shards}, or start from "
            "scratch with extract.overwrite=true"
        )


def _replaced(request: Request, base: EmbeddingInfo | None, parts: Parts) -> list[int]:
    """Returns the rows that failed earlier and whose file has changed or appeared since."""
    if base is None:
        return []
    done = parts.rows()
    changed = [track for track in base.failed if signature(request.files.get(track)) != base.failed_files.get(track)]
    return [row for row in map(request.tracks.row, changed) if row not in done]
