"""The sweep, the job and the SLURM job that this process belongs to."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from musicrec.files import read_json, write_json

# States after which a job does not run again. PREEMPTED is not one: the job may be queued again, else it vanishes.
ENDED = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT", "GONE"}
_SQUEUE_SECONDS = 20

# In a job's folder: its number, status, run, SLURM job and error.
JOB_FILE = "job.json"


def in_sweep(config: DictConfig | None = None) -> bool:
    """Returns whether this process runs a job of a sweep (`-m`).

    Args:
        config: configuration with the node `hydra`; None = that of the current job.
    """
    if config is None:
        return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    return bool(config.hydra.mode == RunMode.MULTIRUN)


def sweep() -> str | None:
    """Returns the name of the sweep a run belongs to (its folder in multirun/), None for a single run."""
    return Path(HydraConfig.get().sweep.dir).name if in_sweep() else None


def sweep_folder() -> Path | None:
    """Returns the folder of the sweep that this process belongs to, None for a single run."""
    return Path(HydraConfig.get().sweep.dir) if in_sweep() else None


def slurm_job() -> str | None:
    """Returns the id of the SLURM job this process belongs to as squeue shows it, e.g. 17 or 17_3; None outside."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


def has_ended(job: str) -> bool:
    """Returns whether a SLURM job has certainly ended: squeue knows it as ended, or not at all.

    Args:
        job: the id, as SLURM_JOB_ID has it.
    """
    command = ["squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=_SQUEUE_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    if asked.returncode:
        return "invalid job id" in asked.stderr.lower()
    return set(asked.stdout.split()) <= ENDED


def record_job(folder: Path | None = None, **facts: Any) -> None:
    """Adds facts to the `job.json` of a job of a sweep; does nothing outside a sweep.

    Args:
        folder: the job's folder; None = that of the current job.
        facts: e.g. `run`, the name of its run.
    """
    if folder is None:
        if not in_sweep():
            return
        folder = Path(HydraConfig.get().runtime.output_dir)
    if os.environ.get("SLURM_PROCID", "0") == "0":  # only rank 0 of a job writes
        write_json(folder / JOB_FILE, {**read_job(folder / JOB_FILE), **facts})


def read_job(path: Path) -> dict[str, Any]:
    """Returns the content of a job.json, {} if it is missing or damaged."""
    try:
        content = read_json(path)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
