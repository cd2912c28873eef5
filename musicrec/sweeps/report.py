"""Sweeps: one line before the first job says what is about to happen, and a report after the last what became of it.

Hydra itself names only the first job that failed, and the submitit launcher gives up on all jobs when one was killed.
Each job therefore leaves `job.json` in its folder below `hydra.sweep.dir`, and a killed SLURM job counts as one failed
job. Nothing heavy is imported here: the configuration names this module, so every command loads it.
"""

from __future__ import annotations

import atexit
import logging
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.experimental.callback import Callback

from musicrec.sweeps.current import slurm_job

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn
    from omegaconf import DictConfig

log = logging.getLogger(__name__)

JOB_FILE = "job.json"


class SweepReport(Callback):
    """Announces a sweep, records each of its jobs, and tells in the end which failed and why.

    Hydra makes one in the process that starts the sweep, and hands it to the processes of the jobs.
    """

    def __init__(self) -> None:
        self._swept: set[str] = set()

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        self._swept = set(_values(config))
        if config.hydra.sweeper.get("direction") is not None:
            maximise(config)
        log.info("%s", plan(config))
        if "submitit" in str(config.hydra.launcher.get("_target_")):
            from musicrec.sweeps.slurm import tolerate_lost_jobs

            tolerate_lost_jobs()
        # Not on_multirun_end: Hydra leaves that out when a job failed.
        atexit.register(report, Path(str(config.hydra.sweep.dir)), count_jobs(config))

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        if _in_sweep(config):
            self._record(config, "started")

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        if not _in_sweep(config):
            return
        from hydra.core.utils import JobStatus

        facts: dict[str, Any] = {"run": job_return.cfg.get("run_name") if job_return.cfg is not None else None}
        if job_return.status == JobStatus.COMPLETED:
            self._record(config, "finished", result=job_return.return_value, **facts)
        else:
            self._record(config, "failed", error=one_line(job_return._return_value), **facts)

    def _record(self, config: DictConfig, status: str, **facts: Any) -> None:
        from musicrec.files import write_json

        if os.environ.get("SLURM_PROCID", "0") != "0":
            return  # one process of a job speaks for all
        overrides = [str(override) for override in config.hydra.overrides.task]
        swept = [override for override in overrides if override.split("=")[0].lstrip("+~") in self._swept]
        content = {
            "number": int(config.hydra.job.num),
            "name": " ".join(swept) or str(config.hydra.job.name),
            "status": status,
            "slurm_job": slurm_job(),
            **facts,
        }
        write_json(Path(config.hydra.runtime.output_dir) / JOB_FILE, content)


def maximise(config: DictConfig) -> None:
    """Turns a search towards the best val score, which train.py returns, and seeds it; Optuna minimises by default.

    A file conf/hydra/sweeper/optuna.yaml could not say so: Hydra refuses one beside the plugin's own of that name.
    """
    from omegaconf import OmegaConf, read_write

    sweeper = config.hydra.sweeper
    with read_write(sweeper):
        sweeper.direction = "maximize"
        if OmegaConf.select(sweeper, "sampler.seed") is None and "seed" in (sweeper.get("sampler") or {}):
            sweeper.sampler.seed = config.seed


def plan(config: DictConfig) -> str:
    """Returns the line that tells how many jobs of what a sweep has and where they run."""
    launcher = str(config.hydra.runtime.choices["hydra/launcher"])
    stage = config.hydra.job.name
    return f"sweep of {stage}: {_jobs(config)}, {_where(launcher, config.hydra.launcher)}; {config.hydra.sweep.dir}"


def report(folder: Path, planned: int) -> None:
    """Logs how many jobs of the sweep in `folder` finished, and each other one by name with its own error.

    Args:
        folder: `hydra.sweep.dir`.
        planned: number of jobs of the sweep; those that never began left nothing in the folder.
    """
    from musicrec.files import read_json

    records = sorted((read_json(path) for path in folder.glob(f"*/{JOB_FILE}")), key=lambda record: record["number"])
    if not records:
        return
    counts = {status: sum(record["status"] == status for record in records) for status in ("finished", "failed")}
    lost = planned - sum(counts.values())
    parts = [f"{counts['finished']} of {planned} jobs finished"]
    parts += [f"{counts['failed']} failed"] if counts["failed"] else []
    parts += [f"{lost} did not end (killed, still queued, or never begun)"] if lost else []
    log.info("sweep %s: %s", folder, ", ".join(parts))
    for record in records:
        if record["status"] != "finished":
            job = f" (SLURM job {record['slurm_job']})" if record.get("slurm_job") else ""
            error = record.get("error", "did not end; the same command goes on with it")
            log.info("  #%d %s%s: %s", record["number"], record["name"], job, error)


def one_line(error: object) -> str:
    """Returns the first line of an error's message, with its type unless it is one of our own sentences."""
    from hydra.errors import CompactHydraException

    text = str(error).strip().splitlines()
    if isinstance(error, CompactHydraException):
        return text[0] if text else "failed"
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


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
        return f"{count} jobs ({search} seeks the best val score in {product}, {sweeper.n_jobs} at a time)"
    return f"{count} {'job' if count == 1 else 'jobs'}" + (f" ({product})" if product else "")


def _sizes(config: DictConfig) -> dict[str, int | str]:
    """Returns the number of values of each swept key, by its last name if that is clear."""
    values = _values(config)
    short = [key.rsplit(".", 1)[-1] for key in values]
    return {end if short.count(end) == 1 else key: size for (key, size), end in zip(values.items(), short, strict=True)}


def _values(config: DictConfig) -> dict[str, int | str]:
    """Returns the number of values of each swept key; an interval has `any`."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser

    arguments = [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
    arguments += config.hydra.overrides.task
    hydra = GlobalHydra.instance()
    parser = OverridesParser.create(config_loader=hydra.config_loader() if hydra.is_initialized() else None)
    # A key given twice counts once, as in Hydra: the last one wins.
    overrides = {override.get_key_element(): override for override in parser.parse_overrides(arguments)}
    sizes: dict[str, int | str] = {}
    for key, override in overrides.items():
        if override.is_sweep_override():
            discrete = override.is_discrete_sweep()
            sizes[key.lstrip("+~")] = sum(1 for _ in override.sweep_string_iterator()) if discrete else "any"
    return sizes


def _where(launcher: str, options: DictConfig) -> str:
    if "array_parallelism" in options:
        place = f" partition {options.partition}" if options.get("partition") else ""
        return f"on SLURM{place} ({launcher}), at most {options.array_parallelism} at a time"
    if "submitit_folder" in options:
        return f"all at the same time on this machine ({launcher}), each at most {options.timeout_min} minutes"
    if "n_jobs" in options:
        count = "as many as cores" if options.n_jobs == -1 else str(options.n_jobs)
        return f"{count} at a time on this machine ({launcher})"
    return f"one after the other on this machine ({launcher})"


def _in_sweep(config: DictConfig) -> bool:
    from hydra.types import RunMode

    return config.hydra.mode == RunMode.MULTIRUN
