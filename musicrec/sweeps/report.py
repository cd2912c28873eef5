"""SweepReport: prints the plan of a sweep before its first job and a list of failures after its last.

Hydra itself names only the first job that failed, and the submitit launcher gives up on all jobs when one was killed.
Each job therefore leaves `job.json` in its folder below `hydra.sweep.dir`, and a killed SLURM job counts as one failed
job. Nothing heavy is imported here: the configuration names this module, so every command loads it.
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import subprocess
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import CompactHydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, read_write

from musicrec.errors import MusicrecError, first_line
from musicrec.processes import machine, started
from musicrec.sweeps import queue
from musicrec.sweeps.current import JOB_FILE, in_sweep, record_job, slurm_job
from musicrec.sweeps.estimate import estimate
from musicrec.sweeps.grid import FittingGrid
from musicrec.sweeps.record import SweepRecord, now, record_path
from musicrec.sweeps.search import is_search, maximise, resume
from musicrec.sweeps.states import job_states, problems
from musicrec.workspace import Workspace

log = logging.getLogger(__name__)

_LONGEST_NAME = 100  # characters of a SLURM job's name


class SweepReport(Callback):
    """Announces a sweep, records each of its jobs, and reports at the end which failed and why.

    Hydra makes one in the process that starts the sweep, and hands it to the processes of the jobs.
    """

    def __init__(self) -> None:
        self._swept: set[str] = set()

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Logs the plan."""
        self._swept = set(_values(config))
        if is_search(config):
            maximise(config)
            resume(config)
        grid = FittingGrid(config)
        grid.install()
        line = plan(config, grid)
        log.info("%s", line)
        if needed := _time_needed(config, grid):
            log.info("%s", needed)
        name_jobs(config)
        sweep, workspace = SweepRecord.of(config, count_jobs(config, grid), line), _workspace(config)
        with suppress(OSError):
            for path in Path(sweep.folder).glob(f"*/{JOB_FILE}"):  # of an earlier sweep in the same folder
                path.unlink()
        with suppress(OSError, MusicrecError):  # a workspace that cannot be written is reported by the stage
            sweep.write(workspace)
        # Not on_multirun_end: Hydra leaves that out when a job failed.
        atexit.register(report, sweep, workspace)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Puts back what was replaced."""
        FittingGrid.remove()

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Records the job as started."""
        if not in_sweep(config):
            return
        pid = os.getpid()
        self._record(config, "started", began=now(), pid=pid, machine=machine(), since=started(pid), ended=None)
        if job := slurm_job():
            _rename(job, f"{config.hydra.job.name} {self._name(config)}")

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Records how the job ended."""
        if not in_sweep(config):
            return
        if job_return.status == JobStatus.COMPLETED:
            self._record(config, "finished", result=job_return.return_value, ended=now())
        else:
            self._record(config, "failed", error=one_line(job_return._return_value), ended=now())

    def _name(self, config: DictConfig) -> str:
        """Returns the swept settings of a job."""
        overrides = [str(override) for override in config.hydra.overrides.task]
        swept = [override for override in overrides if override.split("=")[0].lstrip("+~") in self._swept]
        return " ".join(swept) or str(config.hydra.job.name)

    def _record(self, config: DictConfig, status: str, **facts: Any) -> None:
        record_job(
            Path(config.hydra.runtime.output_dir),
            number=int(config.hydra.job.num),
            name=self._name(config),
            status=status,
            slurm_job=slurm_job(),
            **facts,
        )


def name_jobs(config: DictConfig) -> None:
    """Names the jobs of a SLURM array by what is swept; each takes the name of its own settings when it starts.

    A name that the user chose stays.
    """
    options = config.hydra.launcher
    if "array_parallelism" not in options or options.get("name") != f"musicrec-{config.hydra.job.name}":
        return
    words = [str(word) for word in config.hydra.overrides.task if "=" in str(word)]
    swept = [word for word in words if word.split("=")[0].lstrip("+~") in _values(config)]
    with read_write(config.hydra):
        options.name = " ".join([str(config.hydra.job.name), *swept])[:_LONGEST_NAME]


def _rename(job: str, name: str) -> None:
    """Gives a SLURM job a name; where that is not allowed it keeps its own."""
    command = ["scontrol", "update", f"JobId={job}", f"JobName={name[:_LONGEST_NAME]}"]
    with suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(command, capture_output=True, timeout=20, check=False)


def _workspace(config: DictConfig) -> Workspace:
    return Workspace(Path(str(config.paths.output)).expanduser())


def plan(config: DictConfig, grid: FittingGrid | None = None) -> str:
    """Returns one line: how many jobs of what a sweep has and where they run."""
    launcher, grid = str(config.hydra.runtime.choices["hydra/launcher"]), grid or FittingGrid(config)
    where = f"{_where(launcher, config.hydra.launcher)}; {config.hydra.sweep.dir}"
    return f"sweep of {config.hydra.job.name}: {_jobs(config, grid)}, {where}"


def report(sweep: SweepRecord, workspace: Workspace) -> None:
    """Logs how many jobs of a sweep finished, and each one that did not with the reason.

    Args:
        sweep: its record when it began.
        workspace: where its record is, which has its SLURM jobs by now.
    """
    sweep = SweepRecord.read(record_path(workspace, sweep.folder)) or sweep
    states = job_states(sweep, queue.ask(sweep.slurm), may_start=False)
    if not any(state.began for state in states) and not sweep.slurm:
        return
    counts = {status: sum(state.status == status for state in states) for status in ("done", "failed", "lost")}
    waiting = len(states) - sum(counts.values())
    parts = [f"{counts['done']} of {len(states)} jobs finished"]
    parts += [f"{counts['failed']} failed"] if counts["failed"] else []
    parts += [f"{counts['lost']} did not end"] if counts["lost"] else []
    parts += [f"{waiting} still pending or running"] if waiting else []
    log.info("sweep %s: %s", sweep.folder, ", ".join(parts))
    for line in problems(states):
        log.info("  %s", line)


def one_line(error: object) -> str:
    """Returns the first line of an error's message, with its type unless it is one of our own sentences."""
    if not isinstance(error, BaseException):
        return str(error)
    text, kind = first_line(error), type(error).__name__
    return text if isinstance(error, CompactHydraException) or text == kind else f"{kind}: {text}"


def count_jobs(config: DictConfig, grid: FittingGrid) -> int:
    """Returns the number of jobs of a sweep: of its grid, or as many as a search may try."""
    if is_search(config):
        return int(config.hydra.sweeper.n_trials)
    try:
        return grid.count(_arguments(config))
    except Exception:  # a mistake, which Hydra reports where it makes the jobs
        return math.prod(size for size in _sizes(config).values() if isinstance(size, int))


def _time_needed(config: DictConfig, grid: FittingGrid) -> str:
    """Returns an estimate of how long a sweep of train.py takes, empty if it is none or nothing is known."""
    if config.hydra.job.name != "train":
        return ""
    chosen = str(OmegaConf.select(config, "recommender.name"))
    if is_search(config):
        return estimate(_workspace(config).root, {chosen: count_jobs(config, grid)})
    try:
        jobs = grid.jobs(_arguments(config))
    except Exception:  # a mistake, which Hydra reports where it makes the jobs
        return ""
    names = [[word.partition("=")[2] for word in job if word.startswith("recommender=")] for job in jobs]
    return estimate(_workspace(config).root, Counter(name[-1] if name else chosen for name in names))


def _jobs(config: DictConfig, grid: FittingGrid) -> str:
    """Returns e.g. `8 jobs (2 recommender × 4 embedding)`."""
    sweeper, count = config.hydra.sweeper, count_jobs(config, grid)
    product = " × ".join(f"{size} {name}" for name, size in _sizes(config).items())
    if is_search(config):
        search = config.hydra.runtime.choices["hydra/sweeper"]
        return f"{count} jobs ({search} searches {product} for the best val score, {sweeper.n_jobs} at a time)"
    inside = "; ".join(part for part in (product, grid.note) if part)
    return f"{count} {'job' if count == 1 else 'jobs'}" + (f" ({inside})" if inside else "")


def _arguments(config: DictConfig) -> list[str]:
    """Returns the overrides of a sweep: of its experiment, then of the command line."""
    arguments = [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
    return arguments + [str(word) for word in config.hydra.overrides.task]


def _sizes(config: DictConfig) -> dict[str, int | str]:
    """Returns the number of values of each swept key, by its last name if that is clear."""
    values = _values(config)
    short = [key.rsplit(".", 1)[-1] for key in values]
    return {end if short.count(end) == 1 else key: size for (key, size), end in zip(values.items(), short, strict=True)}


def _values(config: DictConfig) -> dict[str, int | str]:
    """Returns the number of values of each swept key that has several; an interval has `any`."""
    hydra = GlobalHydra.instance()
    parser = OverridesParser.create(config_loader=hydra.config_loader() if hydra.is_initialized() else None)
    # A key given twice counts once, as in Hydra: the last one wins.
    overrides = {override.get_key_element(): override for override in parser.parse_overrides(_arguments(config))}
    sizes: dict[str, int | str] = {}
    for key, override in overrides.items():
        if override.is_sweep_override():
            discrete = override.is_discrete_sweep()
            sizes[key.lstrip("+~")] = sum(1 for _ in override.sweep_string_iterator()) if discrete else "any"
    return {key: size for key, size in sizes.items() if size != 1}


def _where(launcher: str, options: DictConfig) -> str:
    """Returns where the jobs of a launcher run and how many at a time, by the options that it has."""
    if "array_parallelism" in options:
        place = f" partition {options.partition}" if options.get("partition") else ""
        return f"on SLURM{place} ({launcher}), at most {options.array_parallelism} at a time"
    if "submitit_folder" in options:
        return f"all at the same time on this machine ({launcher}), each at most {options.timeout_min} minutes"
    if "n_jobs" in options:
        count = "as many as cores" if options.n_jobs == -1 else str(options.n_jobs)
        return f"{count} at a time on this machine ({launcher})"
    return f"one after the other on this machine ({launcher})"
