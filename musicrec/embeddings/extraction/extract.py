"""Stage 1: from audio files to `{name}.npy`; can be killed at any moment, resumed and divided into shards."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le, Predicate

from musicrec.embeddings.base import AudioEmbedding, Embedding
from musicrec.embeddings.extraction.job import ExtractionReport, run
from musicrec.embeddings.extraction.request import Request
from musicrec.embeddings.extraction.results import reasons
from musicrec.embeddings.tables import store
from musicrec.embeddings.tables.embedding_info import EmbeddingInfo, versions
from musicrec.errors import MusicrecError, demand
from musicrec.values import Count, Told, Whole
from musicrec.workspace import TrackIndex, Workspace

log = logging.getLogger(__name__)


def is_device(name: str) -> bool:
    """Returns whether `extract.device` can be so.

    >>> [is_device(name) for name in ("auto", "cuda:1", "cuda:", "gpu")]
    [True, True, False, False]
    """
    return re.fullmatch(r"auto|cpu|cuda(:\d{1,4})?", name) is not None


Device = Annotated[str, Predicate(is_device), Told("auto, cpu, cuda or cuda:N")]


def extract(
    embedding: Embedding,
    workspace: Workspace,
    tracks: TrackIndex,
    files: Mapping[str, Path],
    *,
    device: Device = "auto",
    precision: str = "fp32",
    resampler: Literal["auto", "soxr", "torchaudio"] = "auto",
    batch_size: Annotated[int, Ge(1), Le(1_000_000)] = 16,
    num_workers: Annotated[int, Ge(0), Le(4096)] | Literal["auto"] | None = "auto",
    shard: Whole | None = None,
    num_shards: Count = 1,
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
        precision: "fp32", "bf16" or "fp16", if the model supports it.
        resampler: "soxr", "torchaudio", or "auto": that of earlier rows, else torchaudio on a GPU where installed.
        batch_size: clips per batch on a GPU.
        num_workers: processes that decode ahead; "auto" depends on the CPU cores, 0 = none.
        shard: which part to do, 0 to num_shards - 1; None = everything, and merge.
        num_shards: number of parts the work is divided into.
        overwrite: start from scratch.
        strict: fail if any track fails.

    Raises:
        MusicrecError: made with other settings before; another process is at work; no track could be embedded.
    """
    if isinstance(embedding, AudioEmbedding):
        _check_options(embedding, precision, batch_size, shard, num_shards)
        request = Request(
            embedding, workspace, tracks, files, precision, resampler, shard, num_shards, overwrite=overwrite
        )
        report = run(request, device, batch_size, num_workers)
    else:
        report = _write_vectors(embedding, workspace, tracks, overwrite)
    _summarise(embedding.name, report)
    if strict and report.failed:
        raise MusicrecError(f"extract.strict=true: {reasons(report.failed)}; see {report.path.with_suffix('.json')}")
    return report


def _write_vectors(embedding: Embedding, workspace: Workspace, tracks: TrackIndex, overwrite: bool) -> ExtractionReport:
    """Stores the vectors of an embedding that needs no audio."""
    start = time.perf_counter()
    path = workspace.embedding(embedding.name)
    vectors = embedding.table(workspace, tracks)
    if not vectors.shape[1]:
        raise MusicrecError(f"embedding={embedding.name} has no vectors: there is nothing to extract")
    sha256 = embedding.checkpoint_hash()
    if not overwrite:
        _check_stored(embedding, workspace, tracks, sha256)
    # A sum needs no second array of the table's size, unlike isfinite; that of large finite values is checked again.
    suspects = np.flatnonzero(~np.isfinite(vectors.sum(axis=1)))
    missing = [row for row in suspects.tolist() if not np.isfinite(vectors[row]).all()]
    failed = {tracks.ids[row]: embedding.reason(tracks.ids[row]) for row in missing}
    if len(failed) == len(tracks):
        raise MusicrecError(f"{path}: none of the {len(tracks)} tracks has a vector")
    settings = embedding.settings()
    info = EmbeddingInfo(
        name=embedding.name,
        model=str(settings.get("model", type(embedding).__name__)),
        dim=vectors.shape[1],
        tracks=len(tracks),
        tracks_hash=tracks.fingerprint(),
        settings=settings,
        versions=versions(),
        checkpoint_sha256=sha256,
        failed=failed,
    )
    store.write(workspace, info, vectors)
    return ExtractionReport(path, len(tracks), len(tracks), failed, seconds=time.perf_counter() - start)


def _check_stored(embedding: Embedding, workspace: Workspace, tracks: TrackIndex, sha256: str | None) -> None:
    """Refuses to replace vectors that were made from something else."""
    info = store.read_info(workspace.embedding_info(embedding.name))
    if info is None:
        return
    path = workspace.embedding(embedding.name)
    found = store.differences(info.settings, embedding.settings())
    if not found and info.checkpoint_sha256 != sha256:
        found = f"checkpoint_sha256={info.checkpoint_sha256} (now {sha256})"
    if found:
        raise MusicrecError(
            f"{path} was made with {found}: give another embedding.name to keep both, or start from scratch with "
            "extract.overwrite=true"
        )
    tracks.check(info.stamp(), path, f"python extract.py embedding={embedding.name} extract.overwrite=true")


def _check_options(
    embedding: AudioEmbedding, precision: str, batch_size: int, shard: int | None, num_shards: int
) -> None:
    if precision not in embedding.precisions:
        allowed = ", ".join(embedding.precisions)
        raise MusicrecError(f"extract.precision={precision} is not supported by {embedding.name}; allowed: {allowed}")
    demand("extract.batch_size", batch_size, batch_size >= 1, "at least 1")
    demand("extract.num_shards", num_shards, num_shards >= 1, "at least 1")
    in_range = shard is None or 0 <= shard < num_shards
    demand("extract.shard", shard, in_range, f"between 0 and extract.num_shards - 1 = {num_shards - 1}")


def _summarise(name: str, report: ExtractionReport) -> None:
    info = report.path.with_suffix(".json").name
    if report.failed:
        log.warning("%s: %d tracks failed (%s); %s lists them", name, len(report.failed), reasons(report.failed), info)
    if report.damaged:
        count = len(report.damaged)
        log.warning("%s: %d damaged files were embedded up to the damage; %s lists them", name, count, info)
    if report.silent:
        log.warning("%s: %d silent tracks were embedded; %s lists them", name, len(report.silent), info)
    if report.removed:
        some = ", ".join(report.removed[:3]) + (", ..." if len(report.removed) > 3 else "")
        log.warning("%s: %d tracks no longer have a file, their rows are kept: %s", name, len(report.removed), some)
    if report.complete:
        log.info("%s: %d tracks, %d of them new in %.1f s", report.path, report.tracks, report.computed, report.seconds)
