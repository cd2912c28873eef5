"""Submitit jobs watched through squeue, with a line that tells how far they are; lost jobs count as failed.

Submitit waits silently, and forever for a job that was killed where there is no accounting (sacct); it gives up on all
jobs of a sweep when one is lost. It has no settings for either, so its classes are replaced while a sweep runs.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import time
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import CompactHydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from submitit.core.utils import FailedJobError, UncompletedJobError
from submitit.local import local
from submitit.slurm import slurm

from musicrec.errors import MusicrecError, first_line
from musicrec.sweeps import queue
from musicrec.sweeps.board import Board
from musicrec.sweeps.current import ENDED
from musicrec.sweeps.record import SweepRecord, record_path
from musicrec.workspace import Workspace

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_QUERIES = 30
_SUBMITITS = (slurm.SlurmJob, local.LocalJob, slurm.SlurmExecutor._submit_command)


class QueueWatcher(slurm.SlurmInfoWatcher):
    """Asks squeue, which every cluster has; a job that the queue no longer knows has ended (`GONE`)."""

    def _make_command(self) -> list[str] | None:
        if not self._registered - self._finished:
            return None
        return ["squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}", "--format=%i|%T|%r"]

    def read_info(self, string: bytes | str) -> dict[str, dict[str, str]]:
        """Returns the state of every job of ours, and why it waits, from squeue's output."""
        found = queue.parse(string if isinstance(string, str) else string.decode())
        known = {job: found.get(job, queue.GONE) for job in self._registered}
        return {job: {"JobID": job, "State": each.state, "Reason": each.reason} for job, each in known.items()}

    def is_done(self, job_id: str, mode: str = "standard") -> bool:
        """Returns whether the job will not run (again)."""
        return self.get_state(job_id, mode=mode).upper() in ENDED

    def queued(self) -> dict[str, queue.Queued]:
        """Returns what squeue said last; a job it was not asked about yet is waiting."""
        known = {job: self._info_dict.get(job, {}) for job in self._registered}
        return {job: queue.Queued(row.get("State", "PENDING"), row.get("Reason", "")) for job, row in known.items()}

    @property
    def jobs(self) -> list[str]:
        """Returns the ids of all jobs in the order of their numbers; an array's own id stands for none."""
        arrays = {job.partition("_")[0] for job in self._registered if "_" in job}
        ids = [tuple(map(int, job.split("_"))) for job in self._registered - arrays]
        return ["_".join(map(str, parts)) for parts in sorted(ids)]


class _Sweep:
    """The sweep that this process waits for.

    Attributes:
        workspace: where its record is.
        folder: its `hydra.sweep.dir`.
        partition: of SLURM.
        asked: what each job asks for.
        board: open while jobs are waited for.
    """

    workspace: Workspace | None = None
    folder: str = ""
    partition: str | None = None
    asked: str = ""
    board: Board | None = None

    @classmethod
    def begin(cls, config: DictConfig) -> None:
        """Remembers where the sweep that begins is."""
        options = config.hydra.launcher
        cls.workspace, cls.folder = Workspace(Path(str(config.paths.output)).expanduser()), str(config.hydra.sweep.dir)
        cls.partition, cls.board = options.get("partition"), None
        memory, gres = options.get("mem_gb"), options.get("gres")
        cores = options.get("cpus_per_task") or 1
        parts = [f"{cores} core{'s' if cores != 1 else ''}", *([f"{memory:g} GB"] if memory else [])]
        parts += [*([str(gres)] if gres else []), f"{options.get('timeout_min')} min"]
        cls.asked = ", ".join(parts)

    @classmethod
    def wait(cls, job: Any) -> None:
        """Waits for a job; Ctrl-C ends the program and says what becomes of the jobs."""
        watcher = job.watcher if isinstance(job.watcher, QueueWatcher) else None
        board = cls._open(watcher)
        try:
            with board or nullcontext():
                while not job.done():
                    if board is not None and (states := board.tick()) and watcher is not None:
                        cls._explain([state.why for state in states if state.status == "pending"])
                    time.sleep(1)
        except KeyboardInterrupt:
            sys.exit(cls._left(board))

    @classmethod
    def _open(cls, watcher: QueueWatcher | None) -> Board | None:
        """Returns the board of the sweep, with the SLURM jobs that there are by now."""
        record = cls.workspace and SweepRecord.read(record_path(cls.workspace, cls.folder))
        if not record or cls.workspace is None:
            return None
        if watcher is not None and record.slurm != watcher.jobs:
            record = record.with_slurm(watcher.jobs[len(record.slurm) :])
            with suppress(OSError, MusicrecError):
                record.write(cls.workspace)
        if cls.board is None:
            cls.board = Board(record, watcher.queued if watcher else lambda: None)
        cls.board.sweep = record
        return cls.board

    @classmethod
    def _explain(cls, reasons: list[str]) -> None:
        """Says once what the nodes have, if the size of the jobs may be why they wait."""
        if not cls.asked or not {reason.strip("() ") for reason in reasons} & (queue.SIZES - {"None"}):
            return
        if limits := queue.limits(cls.partition):
            log.info("each job asks for %s; %s", cls.asked, limits)
        cls.asked = ""

    @classmethod
    def _left(cls, board: Board | None) -> str:
        record = board.sweep if board else None
        if record is None or not record.slurm:
            return "\ninterrupted, and its jobs on this machine too; run the same command again to resume them"
        root = cls.workspace.root if cls.workspace else ""
        return (
            f"\nno longer waiting; the jobs of SLURM array {', '.join(record.arrays)} go on\n"
            f"  cancel them:  scancel {' '.join(record.arrays)}\n"
            f"  watch them:   python {record.stage}.py status=watch paths.root={root}\n"
            "  once they have ended, the same command resumes what is not finished"
        )


class _Tolerant:
    """Mixin: a job without a result is a failed job of the sweep, and the others are still waited for."""

    job_id: str
    state: str
    paths: Any

    def wait(self) -> None:
        """Waits until the job has ended, showing how far the sweep is."""
        _Sweep.wait(self)

    def results(self) -> list[Any]:
        """Returns the job's result, a failed `JobReturn` if there is none."""
        self.wait()
        started = self.paths.stdout.exists()
        if not started:
            self._results_timeout_s = 0  # the result of a job that never ran need not be waited for
        try:
            return super().results()  # type: ignore[misc]
        except (UncompletedJobError, FailedJobError) as error:
            kind = "was killed" if isinstance(error, UncompletedJobError) else "failed before it started"
            text = f"job {self.job_id} {kind} (state {self.state}); its log: {self.paths.stdout}"
            if not started:
                text = f"job {self.job_id} was cancelled before it started (state {self.state})"
            log.log(logging.ERROR if started else logging.DEBUG, "%s", text)
            return [JobReturn(status=JobStatus.FAILED, _return_value=CompactHydraException(text))]


class SlurmJob(_Tolerant, slurm.SlurmJob[Any]):
    """A SLURM job watched through squeue."""

    watcher = QueueWatcher(delay_s=_SECONDS_BETWEEN_QUERIES)


class LocalJob(_Tolerant, local.LocalJob[Any]):
    """A process of the submitit_local launcher."""


class LostJobs(Callback):
    """Makes submitit's launchers tolerate lost jobs, and tell how far the jobs are, during a sweep.

    The YAML of the launchers `slurm` and `local` names it. It is a callback and not a launcher because Hydra refuses a
    launcher whose `_target_` is outside its own namespace `hydra_plugins` (`Plugins.is_in_toplevel_plugins_module`).
    It has no state: Hydra sends it to the jobs.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Replaces submitit's classes."""
        if "array_parallelism" in config.hydra.launcher and shutil.which("srun") is None:
            sys.exit(
                "musicrec: hydra/launcher=slurm needs SLURM, and there is no srun on this machine; start the sweep on "
                "a login node of the cluster, or use hydra/launcher=local"
            )
        _Sweep.begin(config)
        SlurmJob.watcher = QueueWatcher(delay_s=_SECONDS_BETWEEN_QUERIES)
        _use(SlurmJob, LocalJob, _submitted)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Restores submitit's classes; where a job failed, Hydra ends the program instead."""
        _use(*_SUBMITITS)


def _submitted(self: Any, command: str) -> Any:
    """Submits a job or an array and tells its id; what sbatch dislikes is one line."""
    try:
        job = _SUBMITITS[2](self, command)
    except FailedJobError as error:
        lines = [line.strip() for line in str(error).splitlines() if "error:" in line]
        said = " ".join(lines).replace("sbatch: error: ", "") or first_line(error)
        limits = queue.limits(_Sweep.partition)
        more = f"; each job asks for {_Sweep.asked}" + (f", and {limits}" if limits else "")
        raise MusicrecError(
            f"SLURM refuses the jobs: {said}{more}; see hydra.launcher.… and conf/local/slurm.yaml"
        ) from None
    count = self.parameters.get("map_count") or 1
    what = f"SLURM array {job.job_id} of {count} jobs" if count > 1 else f"SLURM job {job.job_id}"
    log.info("%s was submitted; cancel it with: scancel %s", what, job.job_id)
    return job


def _use(slurm_job: Any, local_job: Any, submit: Any) -> None:
    """Makes submitit's executors start jobs of these classes."""
    slurm.SlurmJob = slurm.SlurmExecutor.job_class = slurm_job  # type: ignore[misc]
    local.LocalJob = local.LocalExecutor.job_class = local_job  # type: ignore[misc]
    slurm.SlurmExecutor._submit_command = submit  # type: ignore[method-assign]
