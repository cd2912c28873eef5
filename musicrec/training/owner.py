"""Owner: which process trains a run, as run.json names it, and whether it still lives."""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from musicrec.processes import is_running, machine, started
from musicrec.sweeps.current import has_ended


@dataclass(frozen=True)
class Owner:
    """A process that trains a run.

    Attributes:
        host: name of its machine, for people.
        machine: of its machine, see `musicrec.processes.machine`.
        pid: its id there.
        since: when it started, see `musicrec.processes.started`.
        slurm_job: the SLURM job that it belongs to.
        slurm_restart: how often that job was queued again.
        heartbeat: when it last said that it lives, ISO 8601.
        progress: how far it is, e.g. "epoch 3 of 100".
        token: tells this process's claim from any other.
    """

    host: str = ""
    machine: str = ""
    pid: int = 0
    since: str = ""
    slurm_job: str | None = None
    slurm_restart: int = 0
    heartbeat: str = ""
    progress: str = ""
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    @classmethod
    def this_process(cls) -> Owner:
        """Returns a new claim of this process."""
        return cls(
            host=socket.gethostname(),
            machine=machine(),
            pid=os.getpid(),
            since=started(os.getpid()),
            slurm_job=os.environ.get("SLURM_JOB_ID"),
            slurm_restart=_restarts(),
            heartbeat=_now(),
        )

    @classmethod
    def from_json(cls, content: object) -> Owner | None:
        """Returns the owner that run.json names; None if it names none that can be understood."""
        if not isinstance(content, dict) or not content:
            return None
        types: dict[str, type] = {"pid": int, "slurm_restart": int}
        for name in cls.__dataclass_fields__:
            value = content.get(name)
            if value is not None and type(value) is not types.get(name, str):
                return None
        return cls(**{key: value for key, value in content.items() if key in cls.__dataclass_fields__})

    def to_json(self) -> dict[str, Any]:
        """Returns what run.json says of it."""
        return {key: value for key, value in asdict(self).items() if value not in (None, "")}

    def alive(self, progress: str) -> Owner:
        """Returns the owner with the time of now."""
        return replace(self, heartbeat=_now(), progress=progress)

    def is_dead(self) -> bool:
        """Returns whether the process has certainly ended; False also means that it cannot be known."""
        if self.machine == machine():
            return not is_running(self.pid, self.since)
        if self.slurm_job is None:
            return False
        if self.slurm_job == os.environ.get("SLURM_JOB_ID"):
            return self.slurm_restart < _restarts()
        return has_ended(self.slurm_job)

    def __str__(self) -> str:
        """Returns e.g. `process 4711 on node3 (SLURM job 17)`."""
        return f"process {self.pid} on {self.host}" + (f" (SLURM job {self.slurm_job})" if self.slurm_job else "")


def _restarts() -> int:
    text = os.environ.get("SLURM_RESTART_COUNT", "0")
    return int(text) if text.isdigit() else 0


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
