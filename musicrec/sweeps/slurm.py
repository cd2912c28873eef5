"""Submitit jobs watched through squeue; lost jobs count as failed.

Submitit waits forever for a job that was killed where there is no accounting (sacct), and gives up on all jobs of a
sweep when one is lost. It has no settings for either, so its classes are replaced while a sweep runs.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import CompactHydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from submitit.core.utils import FailedJobError, UncompletedJobError
from submitit.local import local
from submitit.slurm import slurm

from musicrec.sweeps.current import ENDED

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_QUERIES = 30
_SUBMITITS = (slurm.SlurmJob, local.LocalJob)


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
        return self.get_state(job_id, mode=mode).upper() in ENDED


class _Tolerant:
    """Mixin: a job without a result is a failed job of the sweep, and the others are still waited for."""

    job_id: str
    state: str
    paths: Any

    def results(self) -> list[Any]:
        """Returns the job's result, a failed `JobReturn` if there is none."""
        try:
            return super().results()  # type: ignore[misc]
        except (UncompletedJobError, FailedJobError) as error:
            kind = "was killed" if isinstance(error, UncompletedJobError) else "failed before it started"
            text = f"job {self.job_id} {kind} (state {self.state}); its log: {self.paths.stdout}"
            log.error("%s", text)
            return [JobReturn(status=JobStatus.FAILED, _return_value=CompactHydraException(text))]


class SlurmJob(_Tolerant, slurm.SlurmJob[Any]):
    """A SLURM job watched through squeue."""

    watcher = QueueWatcher(delay_s=_SECONDS_BETWEEN_QUERIES)


class LocalJob(_Tolerant, local.LocalJob[Any]):
    """A process of the submitit_local launcher."""


class LostJobs(Callback):
    """Makes submitit's launchers tolerate lost jobs during a sweep.

    The YAML of the launchers `slurm` and `local` names it. It is a callback and not a launcher because Hydra refuses a
    launcher whose `_target_` is outside its own namespace `hydra_plugins` (`Plugins.is_in_toplevel_plugins_module`).
    It has no state: Hydra sends it to the jobs.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Replaces submitit's classes."""
        _use(SlurmJob, LocalJob)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Restores submitit's classes; where a job failed, Hydra ends the program instead."""
        _use(*_SUBMITITS)


def _use(slurm_job: Any, local_job: Any) -> None:
    """Makes submitit's executors start jobs of these classes."""
    slurm.SlurmJob = slurm.SlurmExecutor.job_class = slurm_job  # type: ignore[misc]
    local.LocalJob = local.LocalExecutor.job_class = local_job  # type: ignore[misc]
