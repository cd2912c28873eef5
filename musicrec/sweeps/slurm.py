"""What submitit lacks on a cluster: it waits for ever for a job that was killed where there is no accounting (sacct),
and one lost job makes it forget the others."""

from __future__ import annotations

import logging
import os
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import CompactHydraException
from submitit.core.utils import FailedJobError, UncompletedJobError
from submitit.local import local
from submitit.slurm import slurm

log = logging.getLogger(__name__)

# States after which a job does not run again. PREEMPTED is none of them: the job may be queued again, else it vanishes.
_ENDED = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT", "GONE"}
_SECONDS_BETWEEN_QUERIES = 30


class QueueWatcher(slurm.SlurmInfoWatcher):
    """Asks squeue, which every cluster has; a job that the queue no longer knows has ended (`GONE`)."""

    def _make_command(self) -> list[str] | None:
        if not self._registered - self._finished:
            return None
        return ["squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}", "--format=%i|%T"]

    def read_info(self, string: bytes | str) -> dict[str, dict[str, str]]:
        """Returns the state of every job of ours from squeue's output."""
        text = string if isinstance(string, str) else string.decode()
        states = dict(line.strip().split("|", 1) for line in text.splitlines() if "|" in line)
        return {job: {"JobID": job, "State": states.get(job, "GONE")} for job in self._registered}

    def is_done(self, job_id: str, mode: str = "standard") -> bool:
        """Returns whether the job will not run (again)."""
        return self.get_state(job_id, mode=mode).upper() in _ENDED


class _Tolerant:
    """A job without a result is a failed job of the sweep, not the end of waiting for the others."""

    job_id: str
    state: str
    paths: Any

    def results(self) -> list[Any]:
        try:
            return super().results()  # type: ignore[misc]
        except (UncompletedJobError, FailedJobError) as error:
            kind = "was killed" if isinstance(error, UncompletedJobError) else "failed before it began"
            text = f"job {self.job_id} {kind} (state {self.state}); its log: {self.paths.stdout}"
            log.error("%s", text)
            return [JobReturn(status=JobStatus.FAILED, _return_value=CompactHydraException(text))]


class SlurmJob(_Tolerant, slurm.SlurmJob[Any]):
    """A SLURM job watched through squeue."""

    watcher = QueueWatcher(delay_s=_SECONDS_BETWEEN_QUERIES)


class LocalJob(_Tolerant, local.LocalJob[Any]):
    """A process of the submitit_local launcher."""


def tolerate_lost_jobs() -> None:
    """Makes submitit's executors use these jobs: it has no setting for it, and Hydra makes the executors."""
    slurm.SlurmJob = SlurmJob  # type: ignore[misc]
    slurm.SlurmExecutor.job_class = SlurmJob
    local.LocalJob = LocalJob  # type: ignore[misc]
    local.LocalExecutor.job_class = LocalJob
