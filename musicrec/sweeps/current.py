"""Which sweep and which SLURM job this process belongs to."""

from __future__ import annotations

import os
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode


def in_sweep() -> bool:
    """Returns whether this process runs a job of a sweep (`-m`)."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def sweep() -> str | None:
    """Returns the name of the sweep a run belongs to (its folder in multirun/), None for a single run."""
    return Path(HydraConfig.get().sweep.dir).name if in_sweep() else None


def slurm_job() -> str | None:
    """Returns the id of the SLURM job this process belongs to as squeue shows it, e.g. 17 or 17_3; None outside."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")
