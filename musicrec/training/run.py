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
from pytorch_lightning.utilities import rank_zero_only

from musicrec.config import differences
from musicrec.errors import MusicrecError
from musicrec.files import file_hash
from musicrec.tracking.wandb_runs import WANDB_ID
from musicrec.training.run_record import RunRecord
from musicrec.workspace import TrackIndex, Workspace

log = logging.getLogger(__name__)

# Lightning starts the other processes of trainer=ddp with the environment of the first.
_ATTEMPT = "MUSICREC_ATTEMPT"
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
    """

    name: str
    recommender: str
    workspace: Workspace
    settings: dict[str, Any]
    inputs: dict[str, Any]
    previous: RunRecord | None

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
        if known is not None and known.settings != settings:
            raise MusicrecError(
                f"run {name!r} exists with other settings ({differences(known.settings, settings)}): choose another "
                "run_name, or set overwrite=true"
            )
        if known is not None and known.inputs != inputs:
            log.info("%s was trained on different data or a different embedding; restarting", name)
            known = None
        return cls(name, recommender, workspace, settings, inputs, known)

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
        """Returns whether nothing is left to do."""
        done = self.previous is not None and self.previous.status == "finished"
        return done and self.workspace.predictions(self.name).is_file()

    @property
    def resumable(self) -> bool:
        """Returns whether an earlier attempt left a checkpoint to resume from."""
        return self.previous is not None and self.previous.status == "started" and self.last.is_file()

    def start(self) -> RunRecord:
        """Marks the run as started; one that cannot be resumed loses what an earlier attempt left."""
        resumes = self.resumable
        if resumes:
            log.info("%s: resuming from %s", self.name, self.last)
        else:
            folder = self.workspace.run_dir(self.name)
            for path in (self.best, self.last, folder / "metrics.csv", folder / WANDB_ID):
                path.unlink(missing_ok=True)
        record = RunRecord(
            "started", self.settings, self.inputs, _attempt(), resumes, slurm_job=os.environ.get("SLURM_JOB_ID")
        )
        record.write(_record_path(self.workspace, self.name))
        return record

    def join(self) -> RunRecord:
        """Returns the record of this attempt, as soon as the main process has started it.

        Raises:
            MusicrecError: if it does not.
        """
        deadline = time.monotonic() + _LONGEST_WAIT
        attempt = _attempt()
        while True:
            record = RunRecord.read(_record_path(self.workspace, self.name))
            if record is not None and record.attempt == attempt:
                return record
            if time.monotonic() > deadline:
                raise MusicrecError(f"the main process of {self.name} did not start within {_LONGEST_WAIT:.0f} s")
            time.sleep(0.2)

    def finish(self, record: RunRecord, seconds: float) -> None:
        """Marks the run as finished.

        Args:
            record: what `start` returned.
            seconds: duration of this attempt.
        """
        replace(record, status="finished", seconds=round(seconds, 1)).write(_record_path(self.workspace, self.name))


def is_main_process() -> bool:
    """Returns whether this process writes files: the only one, or rank 0 of trainer=ddp."""
    return int(getattr(rank_zero_only, "rank", 0) or 0) == 0


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


def _record_path(workspace: Workspace, name: str) -> Path:
    return workspace.run_dir(name) / "run.json"


def _attempt() -> str:
    """Returns what the processes of one start of a run share: the SLURM job's start, or what rank 0 passes on."""
    if "SLURM_PROCID" in os.environ:
        return "{SLURM_JOB_ID}.{SLURM_STEP_ID}.{SLURM_RESTART_COUNT}".format_map(defaultdict(lambda: "0", os.environ))
    if is_main_process():
        os.environ[_ATTEMPT] = uuid.uuid4().hex
    return os.environ.get(_ATTEMPT, "")
