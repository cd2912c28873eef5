"""Stage 1: from audio files to `{name}.npy`; can be killed at any moment, divided and continued."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from musicrec.embeddings import store
from musicrec.embeddings.base import AudioEmbedding
from musicrec.embeddings.extraction.job import ExtractionReport, Job, reasons
from musicrec.errors import MusicrecError

if TYPE_CHECKING:
    from musicrec.embeddings.base import Embedding
    from musicrec.workspace import TrackIndex, Workspace

log = logging.getLogger(__name__)


def extract(
    embedding: Embedding,
    workspace: Workspace,
    tracks: TrackIndex,
    files: dict[str, Path],
    *,
    device: str = "auto",
    precision: str = "fp32",
    resampler: str = "auto",
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
        precision: "fp32", "bf16" or "fp16", as far as the model offers it.
        resampler: "soxr", "torchaudio", or "auto": that of earlier rows, else torchaudio on a GPU where installed.
        batch_size: clips the model gets at once on a GPU.
        num_workers: processes that decode ahead; "auto" by the cores at hand, 0 = none.
        shard: which part to do, 0 to num_shards - 1; None = everything, and merge.
        num_shards: parts the work is divided into.
        overwrite: start anew whatever is there.
        strict: fail if any track fails.

    Raises:
        MusicrecError: made with other settings before; another process is at it; no track could be embedded.
    """
    if isinstance(embedding, AudioEmbedding):
        _check_options(embedding, precision, batch_size, shard, num_shards)
        job = Job(
            embedding,
            workspace,
            tracks,
            files,
            precision=precision,
            resampler=resampler,
            shard=shard,
            num_shards=num_shards,
        )
        report = job.run(device, batch_size, num_workers, overwrite)
    else:
        report = _write_table(embedding, workspace, tracks, overwrite)
    _summarise(embedding.name, report)
    if strict and report.failed:
        raise MusicrecError(f"extract.strict=true: {reasons(report.failed)}; see {report.path.with_suffix('.json')}")
    return report


def _write_table(embedding: Embedding, workspace: Workspace, tracks: TrackIndex, overwrite: bool) -> ExtractionReport:
    """Writes the table of an embedding that needs no audio."""
    start = time.perf_counter()
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


def _check_options(
    embedding: AudioEmbedding, precision: str, batch_size: int, shard: int | None, num_shards: int
) -> None:
    if precision not in embedding.precisions:
        allowed = ", ".join(embedding.precisions)
        raise MusicrecError(f"extract.precision={precision} is not offered by {embedding.name}; allowed: {allowed}")
    if batch_size < 1:
        raise MusicrecError(f"extract.batch_size={batch_size} must be at least 1")
    if num_shards < 1:
        raise MusicrecError(f"extract.num_shards={num_shards} must be at least 1")
    if shard is not None and not 0 <= shard < num_shards:
        raise MusicrecError(f"extract.shard={shard} must be between 0 and extract.num_shards - 1 = {num_shards - 1}")


def _summarise(name: str, report: ExtractionReport) -> None:
    info = report.path.with_suffix(".json").name
    if report.failed:
        log.warning("%s: %d tracks failed (%s); %s lists them", name, len(report.failed), reasons(report.failed), info)
    if report.damaged:
        log.warning("%s: %d damaged files embedded as far as they go; %s lists them", name, len(report.damaged), info)
    if report.silent:
        log.warning("%s: %d silent tracks were embedded; %s lists them", name, len(report.silent), info)
    if report.removed:
        some = ", ".join(report.removed[:3]) + (", ..." if len(report.removed) > 3 else "")
        log.warning("%s: %d tracks have no file any more, their rows are kept: %s", name, len(report.removed), some)
    if report.complete:
        log.info("%s: %d tracks, %d of them new in %.1f s", report.path, report.tracks, report.computed, report.seconds)
