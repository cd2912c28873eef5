"""Merges a finished table and the parts of an extraction into the new table."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from typing import TypeVar

import numpy as np

from musicrec.embeddings.extraction.parts import Parts, Summary
from musicrec.embeddings.extraction.plan import Work
from musicrec.embeddings.extraction.request import Request
from musicrec.embeddings.extraction.results import reasons
from musicrec.embeddings.tables import store
from musicrec.embeddings.tables.embedding_info import EmbeddingInfo, versions
from musicrec.errors import MusicrecError

_Entry = TypeVar("_Entry")


def merge(request: Request, work: Work, parts: Parts) -> EmbeddingInfo:
    """Writes `{name}.npy` and `{name}.json`, deletes the parts, and returns what `{name}.json` says.

    Args:
        request: what is extracted.
        work: the plan and the finished table.
        parts: with a row for every track that the finished table lacks.

    Raises:
        MusicrecError: no track could be embedded.
    """
    info = _describe(request, work, parts.summary())
    if len(info.failed) == len(request.tracks):
        parts.delete()
        raise MusicrecError(f"none of the {len(request.tracks)} tracks could be embedded: {reasons(info.failed)}")
    for left in request.path.parent.glob(f".tmp-*-{glob.escape(request.path.name)}"):
        left.unlink()  # by a process that was killed while it merged
    finished = (work.base.tracks or 0) if work.base else 0
    with store.writing(request.path, (len(request.tracks), info.dim)) as matrix:
        if finished:
            matrix[:finished] = np.load(request.path, mmap_mode="r", allow_pickle=False)[:finished]
        for rows, vectors in parts.vectors():
            matrix[rows] = vectors
        matrix[[request.tracks.row(track) for track in info.failed]] = np.nan
    store.write_info(request.info_path, info)
    parts.delete()
    return info


def _describe(request: Request, work: Work, summary: Summary) -> EmbeddingInfo:
    """Returns the info of the merged table."""
    tracks, base, plan = request.tracks, work.base, work.plan

    def kept(entries: Mapping[str, _Entry]) -> dict[str, _Entry]:
        """Returns the entries of the finished table about rows that were not made again."""
        return {track: entry for track, entry in entries.items() if tracks.row(track) not in summary.rows}

    def by_row(entries: dict[str, _Entry]) -> dict[str, _Entry]:
        return {track: entries[track] for track in sorted(entries, key=tracks.row)}

    failed = kept(base.failed) if base else {}
    failed_files = kept(base.failed_files) if base else {}
    damaged = kept(base.damaged) if base else {}
    silent = kept(dict.fromkeys(base.silent)) if base else {}
    settings = request.embedding.settings()
    return EmbeddingInfo(
        name=request.embedding.name,
        model=str(settings["model"]),
        dim=summary.dim or (base.dim if base else 0),
        tracks=len(tracks),
        tracks_hash=tracks.fingerprint(),
        settings=settings,
        versions=versions(),
        precision=plan.precision,
        resampler=plan.resampler,
        checkpoint_sha256=plan.checkpoint_sha256 or (base.checkpoint_sha256 if base else None),
        failed=by_row(failed | summary.failed),
        failed_files=failed_files | summary.failed_files,
        silent=tuple(sorted([*silent, *summary.silent], key=tracks.row)),
        damaged=by_row(damaged | summary.damaged),
        throughput=summary.throughput(),
    )
