"""SweepReport: prints the plan of a sweep before its first job and a list of failures after its last.

Hydra itself names only the first job that failed, and the submitit launcher gives up on all jobs when one was killed.
Each job therefore leaves `job.json` in its folder below `hydra.sweep.dir`, and a killed SLURM job counts as one failed
job. Nothing heavy is imported here: the configuration names this module, so every command loads it.
"""

from __future__ import annotations

import atexit
import logging
import math
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import CompactHydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, read_write

from musicrec.errors import first_line
from musicrec.sweeps.current import JOB_FILE, in_sweep, read_job, record_job, slurm_job
from musicrec.sweeps.estimate import estimate

log = logging.getLogger(__name__)


class SweepReport(Callback):
    """Announces a sweep, records each of its jobs, and reports at the end which failed and why.

    Hydra makes one in the process that starts the sweep, and hands it to the processes of the jobs.
    """

    def __init__(self) -> None:
        self._swept: set[str] = set()

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Logs the plan."""
        self._swept = set(_values(config))
        if config.hydra.sweeper.get("direction") is not None:
            maximise(config)
        log.info("%s", plan(config))
        if needed := _time_needed(config):
            log.info("%s", needed)
        # Not on_multirun_end: Hydra leaves that out when a job failed.
        atexit.register(report, Path(str(config.hydra.sweep.dir)), count_jobs(config))

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Records the job as started."""
        if in_sweep(config):
            self._record(config, "started")

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Records how the job ended."""
        if not in_sweep(config):
            return
        if job_return.status == JobStatus.COMPLETED:
            self._record(config, "finished", result=job_return.return_value)
        else:
            self._record(config, "failed", error=one_line(job_return._return_value))

    def _record(self, config: DictConfig, status: str, **facts: Any) -> None:
        overrides = [str(override) for override in config.hydra.overrides.task]
        swept = [override for override in overrides if override.split("=")[0].lstrip("+~") in self._swept]
        record_job(
            Path(config.hydra.runtime.output_dir),
            number=int(config.hydra.job.num),
            name=" ".join(swept) or str(config.hydra.job.name),
            status=status,
            slurm_job=slurm_job(),
            **facts,
        )


def maximise(config: DictConfig) -> None:
    """Makes a search maximise the val score that train.py returns, and seeds it; Optuna minimises by default.

    A file conf/hydra/sweeper/optuna.yaml could not do so: Hydra refuses one beside the plugin's own of that name.
    """
    sweeper = config.hydra.sweeper
    with read_write(sweeper):
        sweeper.direction = "maximize"
        if OmegaConf.select(sweeper, "sampler.seed") is None and "seed" in (sweeper.get("sampler") or {}):
            sweeper.sampler.seed = config.seed


def plan(config: DictConfig) -> str:
    """Returns one line: how many jobs of what a sweep has and where they run."""
    launcher = str(config.hydra.runtime.choices["hydra/launcher"])
    stage = config.hydra.job.name
    return f"sweep of {stage}: {_jobs(config)}, {_where(launcher, config.hydra.launcher)}; {config.hydra.sweep.dir}"


def _time_needed(config: DictConfig) -> str:
    """Returns an estimate of how long a sweep of train.py takes, empty if it is none or nothing is known."""
    recommenders = _swept_values(config).get("recommender")
    chosen = OmegaConf.select(config, "recommender.name")
    if config.hydra.job.name != "train" or (recommenders is None and chosen is None):
        return ""
    root = Path(str(OmegaConf.select(config, "paths.output") or config.paths.root)).expanduser()
    return estimate(root, recommenders or [str(chosen)], count_jobs(config))


def report(folder: Path, planned: int) -> None:
    """Logs how many jobs of the sweep in `folder` finished, and each other one by name with its own error.

    Args:
        folder: `hydra.sweep.dir`.
        planned: number of jobs of the sweep; those that never started left nothing in the folder.
    """
    found = [read_job(path) for path in folder.glob(f"*/{JOB_FILE}")]
    whole = [record for record in found if record.keys() >= {"number", "name", "status"}]
    records = sorted(whole, key=lambda record: int(record["number"]))
    if not records:
        return
    counts = {status: sum(record["status"] == status for record in records) for status in ("finished", "failed")}
    lost = planned - sum(counts.values())
    parts = [f"{counts['finished']} of {planned} jobs finished"]
    parts += [f"{counts['failed']} failed"] if counts["failed"] else []
    parts += [f"{lost} did not end (killed, still queued, or never started)"] if lost else []
    log.info("sweep %s: %s", folder, ", ".join(parts))
    for record in records:
        if record["status"] != "finished":
            job = f" (SLURM job {record['slurm_job']})" if record.get("slurm_job") else ""
            error = record.get("error", "did not end; run the same command again to resume it")
            log.info("  #%d %s%s: %s", record["number"], record["name"], job, error)


def one_line(error: object) -> str:
    """Returns the first line of an error's message, with its type unless it is one of our own sentences."""
    if not isinstance(error, BaseException):
        return str(error)
    text, kind = first_line(error), type(error).__name__
    return text if isinstance(error, CompactHydraException) or text == kind else f"{kind}: {text}"


def count_jobs(config: DictConfig) -> int:
    """Returns the number of jobs of a sweep: of its grid, or as many as a search may try."""
    trials = config.hydra.sweeper.get("n_trials")
    return math.prod(size for size in _sizes(config).values() if isinstance(size, int)) if trials is None else trials


def _jobs(config: DictConfig) -> str:
    """Returns e.g. `8 jobs (2 recommender × 4 embedding)`."""
    sweeper, count = config.hydra.sweeper, count_jobs(config)
    product = " × ".join(f"{size} {name}" for name, size in _sizes(config).items())
    if sweeper.get("n_trials") is not None:
        search = config.hydra.runtime.choices["hydra/sweeper"]
        return f"{count} jobs ({search} searches {product} for the best val score, {sweeper.n_jobs} at a time)"
    return f"{count} {'job' if count == 1 else 'jobs'}" + (f" ({product})" if product else "")


def _sizes(config: DictConfig) -> dict[str, int | str]:
    """Returns the number of values of each swept key, by its last name if that is clear."""
    values = _values(config)
    short = [key.rsplit(".", 1)[-1] for key in values]
    return {end if short.count(end) == 1 else key: size for (key, size), end in zip(values.items(), short, strict=True)}


def _values(config: DictConfig) -> dict[str, int | str]:
    """Returns the number of values of each swept key; an interval has `any`."""
    return {key: len(values) if values else "any" for key, values in _swept_values(config).items()}


def _swept_values(config: DictConfig) -> dict[str, list[str]]:
    """Returns the values of each swept key; an interval has none."""
    arguments = [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
    arguments += config.hydra.overrides.task
    hydra = GlobalHydra.instance()
    parser = OverridesParser.create(config_loader=hydra.config_loader() if hydra.is_initialized() else None)
    # A key given twice counts once, as in Hydra: the last one wins.
    overrides = {override.get_key_element(): override for override in parser.parse_overrides(arguments)}
    values: dict[str, list[str]] = {}
    for key, override in overrides.items():
        if override.is_sweep_override():
            discrete = override.is_discrete_sweep()
            values[key.lstrip("+~")] = [str(each) for each in override.sweep_string_iterator()] if discrete else []
    return values


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
