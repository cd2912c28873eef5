"""SweepRecord: what the workspace knows of a sweep, in sweeps/{sweep}.json: its folder, its process, its SLURM jobs."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from musicrec.files import read_json, write_json
from musicrec.processes import is_running, machine, started
from musicrec.workspace import Workspace


@dataclass(frozen=True)
class SweepRecord:
    """A sweep as the process that started it recorded it.

    Attributes:
        folder: its absolute `hydra.sweep.dir`.
        stage: e.g. `train`.
        jobs: number of its jobs; of a search the most it may try.
        plan: one line, see `musicrec.sweeps.report.plan`.
        launcher: option of `hydra/launcher`.
        at_once: how many jobs run at the same time at most; None = not known.
        began: when, ISO 8601.
        host: name of the machine of the process that started it.
        machine: of that machine, see `musicrec.processes.machine`.
        pid: id of that process.
        since: when that process started, see `musicrec.processes.started`.
        slurm: the SLURM job of each job, in the order of their numbers.
    """

    folder: str
    stage: str
    jobs: int
    plan: str = ""
    launcher: str = ""
    at_once: int | None = None
    began: str = ""
    host: str = ""
    machine: str = ""
    pid: int = 0
    since: str = ""
    slurm: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Returns the name of its folder."""
        return Path(self.folder).name

    @property
    def arrays(self) -> list[str]:
        """Returns the ids of its SLURM arrays, as scancel takes them."""
        return list(dict.fromkeys(job.partition("_")[0] for job in self.slurm))

    def may_live(self) -> bool:
        """Returns whether the process that started it may still run: False only if it is known to have ended."""
        return self.machine != machine() or is_running(self.pid, self.since)

    def with_slurm(self, jobs: Iterable[str]) -> SweepRecord:
        """Returns the record with the SLURM jobs of further jobs."""
        return replace(self, slurm=[*self.slurm, *jobs])

    def write(self, workspace: Workspace) -> None:
        """Writes the record."""
        write_json(record_path(workspace, self.folder), asdict(self))

    @classmethod
    def of(cls, config: DictConfig, jobs: int, plan: str) -> SweepRecord:
        """Returns the record of a sweep that this process begins.

        Args:
            config: what Hydra hands to its callbacks.
            jobs: their number.
            plan: one line about it.
        """
        options = config.hydra.launcher
        at_once = options.get("array_parallelism", options.get("n_jobs"))
        alone = "submitit_folder" not in options and at_once is None
        return cls(
            folder=str(Path(str(config.hydra.sweep.dir)).absolute()),
            stage=str(config.hydra.job.name),
            jobs=jobs,
            plan=plan,
            launcher=str(config.hydra.runtime.choices["hydra/launcher"]),
            at_once=1 if alone else at_once if isinstance(at_once, int) and at_once > 0 else None,
            began=now(),
            host=socket.gethostname(),
            machine=machine(),
            pid=os.getpid(),
            since=started(os.getpid()),
        )

    @classmethod
    def read(cls, path: Path) -> SweepRecord | None:
        """Returns the record in a file, None if it is missing or damaged."""
        try:
            content = read_json(path)
        except (ValueError, OSError, RecursionError):
            return None
        if not isinstance(content, dict):
            return None
        types: dict[str, Any] = {"jobs": int, "pid": int, "at_once": (int, type(None)), "slurm": list}
        known = {key: content[key] for key in cls.__dataclass_fields__ if key in content}
        if not {"folder", "stage", "jobs"} <= known.keys():
            return None
        if not all(isinstance(value, types.get(key, str)) for key, value in known.items()):
            return None
        return cls(**{**known, "slurm": [str(job) for job in known.get("slurm", [])]})


def record_path(workspace: Workspace, folder: str | Path) -> Path:
    """Returns the path of the record of the sweep in a folder; two folders of one name have two records."""
    place = str(Path(folder).absolute())
    digest = hashlib.sha256(place.encode(errors="surrogateescape")).hexdigest()[:8]
    return workspace.sweeps_dir / f"{Path(place).name}_{digest}.json"


def all_records(workspace: Workspace) -> list[SweepRecord]:
    """Returns the sweeps of a workspace, the latest first; those whose folder was deleted are left out."""
    found = [SweepRecord.read(path) for path in workspace.sweeps_dir.glob("[!.]*.json")]
    there = [record for record in found if record is not None and Path(record.folder).is_dir()]
    return sorted(there, key=lambda record: record.began, reverse=True)


def now() -> str:
    """Returns the time of now, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
