"""Run: one run's identity, its files, and whether it is finished, resumable or to be started from scratch."""

from __future__ import annotations

import hashlib
import logging
import os
import time
import uuid
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from musicrec.config import differences
from musicrec.errors import MusicrecError
from musicrec.files import file_hash, parquet_damage
from musicrec.tracking.wandb_runs import WANDB_ID
from musicrec.training.lease import Lease
from musicrec.training.run_record import RunRecord
from musicrec.workspace import TrackIndex, Workspace

log = logging.getLogger(__name__)

# Lightning starts the other processes of trainer=ddp with the environment of the first.
_ATTEMPT = "MUSICREC_ATTEMPT"
# Where Lightning looks for the rank of a process; SLURM's counts last, since SLURM need not have started the processes.
_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
# What every run reads, as `input_hashes` names it.
INPUTS = {"tracks", "tracks_hash", "splits", "embedding", "artists"}
# Seconds that the processes of a SLURM job may start apart.
_LONGEST_WAIT = 600.0


@dataclass(frozen=True)
class Run:
    """A run of some settings and inputs.

    Attributes:
        name: name of the run.
        recommender: name of the recommender.
        workspace: where its files are written.
        settings: what decides its numbers.
        inputs: hashes of what it reads.
        previous: record of an earlier attempt with the same settings and inputs; None = start from scratch.
        overwrites: whether an earlier attempt does not count.
    """

    name: str
    recommender: str
    workspace: Workspace
    settings: dict[str, Any]
    inputs: dict[str, Any]
    previous: RunRecord | None
    overwrites: bool = False

    @classmethod
    def find(
        cls,
        name: str,
        recommender: str,
        workspace: Workspace,
        settings: dict[str, Any],
        inputs: dict[str, Any],
        overwrite: bool,
    ) -> Run:
        """Returns the run of that name with what is known of an earlier attempt.

        Raises:
            MusicrecError: if a run of that name has other settings and is not to be overwritten.
        """
        known = None if overwrite else RunRecord.read(_record_path(workspace, name))
        if known is not None and _besides_data(known.settings) != _besides_data(settings):
            raise MusicrecError(
                f"run {name!r} exists with other settings ({differences(known.settings, settings)}): choose another "
                "run_name, or set overwrite=true"
            )
        if known is not None and (known.inputs != inputs or known.settings != settings):
            log.info("%s was trained on different data or a different embedding; restarting", name)
            known = None
        return cls(name, recommender, workspace, settings, inputs, known, overwrite)

    @property
    def best(self) -> Path:
        """Returns the path of the checkpoint of the best epoch."""
        return self.workspace.checkpoint(self.recommender, self.name, "best")

    @property
    def last(self) -> Path:
        """Returns the path of the checkpoint that a run resumes from."""
        return self.workspace.checkpoint(self.recommender, self.name, "last")

    @property
    def finished(self) -> bool:
        """Returns whether nothing is left to do: also the predictions can be read."""
        if self.previous is None or self.previous.status != "finished":
            return False
        path = self.workspace.predictions(self.name)
        if not path.is_file():
            return False
        if broken := parquet_damage(path):
            log.warning("%s is damaged (%s); making it again", path, broken)
            return False
        return True

    def start(
        self, lease: Lease | None = None, resumes_from: str | None = None, reads_embedding: bool = True
    ) -> RunRecord:
        """Marks the run as started; one that is not resumed loses what an earlier attempt left.

        Args:
            lease: of the run; None: nobody else can train it.
            resumes_from: what `musicrec.training.checkpoints.resumable_from` returned.
            reads_embedding: whether the recommender reads one if it is given one.
        """
        record = RunRecord(
            "started",
            self.settings,
            self.inputs,
            _attempt(),
            resumes_from is not None,
            resumes_from,
            slurm_job=os.environ.get("SLURM_JOB_ID"),
            reads_embedding=reads_embedding,
        )
        if resumes_from:
            self._write(record, lease)
            log.info("%s: resuming from %s", self.name, self.checkpoint(record))
            return record
        # The record first: a run that is killed here must not take the old checkpoints for its own.
        folder = self.workspace.run_dir(self.name)
        self._write(replace(record, inputs={}), lease)
        for path in (self.best, self.last, folder / "metrics.csv", folder / WANDB_ID):
            path.unlink(missing_ok=True)
        self._write(record, lease)
        return record

    def checkpoint(self, record: RunRecord) -> Path | None:
        """Returns the path of the checkpoint that an attempt resumes from, None if it starts from scratch."""
        return {"last": self.last, "best": self.best}.get(record.resumes_from or "")

    def join(self) -> RunRecord | None:
        """Returns the record of this attempt, as soon as the main process has started it; None if it was finished.

        Raises:
            MusicrecError: if it does not.
        """
        deadline = time.monotonic() + _LONGEST_WAIT
        attempt, before = _attempt(), None
        while True:
            record = RunRecord.read(_record_path(self.workspace, self.name))
            if record is not None and record.attempt == attempt and record.inputs == self.inputs:
                return record if record.status == "started" else None
            if record != before:  # another process trains the run, and the main process waits for it
                before, deadline = record, time.monotonic() + _LONGEST_WAIT
            if time.monotonic() > deadline:
                raise MusicrecError(f"the main process of {self.name} did not start within {_LONGEST_WAIT:.0f} s")
            time.sleep(0.2)

    def finish(
        self, record: RunRecord, seconds: float, lease: Lease | None = None, device: dict[str, Any] | None = None
    ) -> None:
        """Marks the run as finished.

        Args:
            record: what `start` returned.
            seconds: duration of this attempt.
            lease: of the run.
            device: what it was computed on.
        """
        self._write(replace(record, status="finished", seconds=round(seconds, 1), device=device), lease)

    def _write(self, record: RunRecord, lease: Lease | None) -> None:
        if lease is None:
            record.write(_record_path(self.workspace, self.name))
        else:
            lease.write(record)


def is_main_process() -> bool:
    """Returns whether this process writes files: the only one, or rank 0 of trainer=ddp."""
    return int(next((os.environ[key] for key in _RANKS if key in os.environ), 0)) == 0


def input_hashes(workspace: Workspace, tracks: TrackIndex, vectors: np.ndarray) -> dict[str, Any]:
    """Returns hashes of everything a run reads.

    Args:
        workspace: has the splits.
        tracks: the track index.
        vectors: (tracks, dim) the embedding.
    """
    splits = {path.stem: file_hash(path) for path in sorted(workspace.data_dir.glob("*.pqt"))}
    digest = hashlib.blake2b(np.ascontiguousarray(vectors).data, digest_size=8).hexdigest()
    artists = workspace.data_dir / "artists.csv"
    more = {"artists": file_hash(artists)} if artists.is_file() else {}
    return {**tracks.stamp(), "splits": splits, "embedding": digest, **more}


def _besides_data(settings: dict[str, Any]) -> dict[str, Any]:
    """Returns the settings of the run itself: those of the data are compared through the files that were made."""
    return {key: value for key, value in settings.items() if key != "data"}


def _record_path(workspace: Workspace, name: str) -> Path:
    return workspace.run_record(name)


def _attempt() -> str:
    """Returns what the processes of one start of a run share: the SLURM job's start, or what rank 0 passes on."""
    if "SLURM_PROCID" in os.environ:
        return "{SLURM_JOB_ID}.{SLURM_STEP_ID}.{SLURM_RESTART_COUNT}".format_map(defaultdict(lambda: "0", os.environ))
    # Processes that an earlier run of this start has launched (LOCAL_RANK) know the name that it had then.
    if is_main_process() and not {"LOCAL_RANK", _ATTEMPT} <= os.environ.keys():
        os.environ[_ATTEMPT] = uuid.uuid4().hex
    return os.environ.get(_ATTEMPT, "")
