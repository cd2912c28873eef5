"""The device that work runs on, in words, and why it is not the GPU that is there or was asked for."""

from __future__ import annotations

import logging
import os
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from musicrec.errors import first_line

log = logging.getLogger(__name__)

_DOCS = "docs/installing.md"
# What SLURM sets in a job that was given GPUs: their ids, of which 0 is one, or their number.
_IDS = ("SLURM_JOB_GPUS", "SLURM_STEP_GPUS")
_NUMBERS = ("SLURM_GPUS_ON_NODE", "SLURM_GPUS")


@dataclass(frozen=True)
class Device:
    """What a run was computed on.

    Attributes:
        device: `cpu`, `cuda:0` or `mps`.
        precision: as Lightning names it, e.g. `32-true`.
        torch: its version, which names its CUDA.
        card: name of the GPU.
        driver: version of NVIDIA's driver.
        threads: their number, on a CPU.
    """

    device: str
    precision: str
    torch: str
    card: str | None = None
    driver: str | None = None
    threads: int | None = None

    def to_json(self) -> dict[str, str | int]:
        """Returns what run.json says of it."""
        return {key: value for key, value in vars(self).items() if value is not None}

    def __str__(self) -> str:
        """Returns e.g. `cuda:0 (NVIDIA H100, driver 570.86), precision 32-true, torch 2.11.0+cu126`."""
        inside = [self.card or "", f"driver {self.driver}" if self.driver else ""]
        inside += [f"{self.threads} thread{'s' if self.threads != 1 else ''}" if self.threads else ""]
        words = ", ".join(word for word in inside if word)
        return f"{self.device}{f' ({words})' if words else ''}, precision {self.precision}, torch {self.torch}"


def describe(device: torch.device, precision: str) -> Device:
    """Returns what there is to say of a device.

    Args:
        device: where the model is.
        precision: of the computation.
    """
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        return Device(f"cuda:{device.index or 0}", precision, torch.__version__, name, driver_version())
    return Device(device.type, precision, torch.__version__, threads=torch.get_num_threads())


@cache
def driver_version() -> str | None:
    """Returns the version of NVIDIA's driver on this machine, None if there is none."""
    try:
        return Path("/sys/module/nvidia/version").read_text(encoding="ascii").strip() or None
    except (OSError, ValueError):
        pass
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.stdout.strip().splitlines()[0] if asked.returncode == 0 and asked.stdout.strip() else None


def gpu_problem() -> str | None:
    """Returns why no GPU is used although one is there or was asked for; None if neither, or if it can be used."""
    if torch.cuda.is_available():
        return None
    asked = any(os.environ.get(name) for name in _IDS)
    asked = asked or any(os.environ.get(name, "0") not in ("", "0") for name in _NUMBERS)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    there = driver_version() is not None or any(Path("/dev").glob("nvidia[0-9]*"))
    if not asked and not there:
        return None
    seen = "the SLURM job was given a GPU" if asked else "this machine has a GPU"
    if torch.version.hip is None and torch.version.cuda is None:
        return f"{seen}, but torch {torch.__version__} is built for CPUs only: {_DOCS}"
    if visible is not None and visible.strip() in ("", "-1", "NoDevFiles"):
        return f"{seen}, but CUDA_VISIBLE_DEVICES={visible!r} hides it"
    if not there:
        return f"{seen}, but there is no NVIDIA driver on this node: ask for another node or partition"
    why = _refusal()
    return f"{seen}, but torch {torch.__version__} (CUDA {torch.version.cuda}) cannot use it: {why}: {_DOCS}"


def warn_of_unused_gpu() -> None:
    """Warns if work runs on the CPU although a GPU is there or was asked for."""
    if problem := gpu_problem():
        log.warning("the CPU is used: %s", problem)


def _refusal() -> str:
    """Returns what CUDA says when it is asked, with the driver's version."""
    driver = driver_version()
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        # The first sentence; the rest tells where to download drivers.
        return first_line(error).partition(". ")[0].rstrip(".") + (f" (driver {driver})" if driver else "")
    return f"it finds no device (driver {driver})"
