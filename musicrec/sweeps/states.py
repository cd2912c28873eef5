"""How far the jobs of a sweep are: from their job.json, from squeue, and from whether their processes live."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from musicrec.processes import is_running, machine
from musicrec.sweeps.current import ENDED, JOB_FILE, read_job
from musicrec.sweeps.queue import GONE, WAITING, Queued, explain
from musicrec.sweeps.record import SweepRecord, now

Status = Literal["pending", "running", "done", "failed", "lost"]
_SHORT = 2.0  # seconds; a job that took less found its run finished, and says nothing about the others

_ENDS = {
    "CANCELLED": "was cancelled",
    "TIMEOUT": "ran out of time",
    "OUT_OF_MEMORY": "ran out of memory: give it more with hydra.launcher.mem_gb",
    "NODE_FAIL": "lost its node",
    "BOOT_FAIL": "had a node that did not start",
    "DEADLINE": "missed its deadline",
}


@dataclass(frozen=True)
class JobState:
    """How far one job of a sweep is.

    Attributes:
        number: its number.
        status: `lost` is a job that has ended without saying how.
        name: its swept settings; "" for one that has not started.
        why: the reason why it waits, its error, or what became of a lost one.
        slurm_job: its id in SLURM.
        run: name of its run.
        seconds: how long it took, or runs by now; None = not known.
        began: whether it ever started.
    """

    number: int
    status: Status
    name: str = ""
    why: str = ""
    slurm_job: str | None = None
    run: str | None = None
    seconds: float | None = None
    began: bool = False

    def __str__(self) -> str:
        """Returns e.g. `#3 embedding=mert (SLURM job 17_3): ran out of time`."""
        job = f" (SLURM job {self.slurm_job})" if self.slurm_job else ""
        return f"#{self.number} {self.name}".rstrip() + job + (f": {self.why}" if self.why else "")


def job_records(folder: Path) -> dict[int, dict[str, Any]]:
    """Returns the job.json of each job of a sweep by its number; damaged ones are left out."""
    found = [read_job(path) for path in folder.glob(f"*/{JOB_FILE}")]
    whole = [record for record in found if record.keys() >= {"number", "name", "status"}]
    return {int(record["number"]): record for record in whole if type(record["number"]) is int}


def job_states(sweep: SweepRecord, queue: Mapping[str, Queued] | None, may_start: bool | None = None) -> list[JobState]:
    """Returns the state of every job of a sweep.

    Args:
        sweep: its record.
        queue: what squeue knows of its SLURM jobs; None = it cannot be asked.
        may_start: whether further jobs without SLURM may start; None = as long as the process that starts them lives.
    """
    records = job_records(Path(sweep.folder))
    alive = sweep.may_live() if may_start is None else may_start
    states = []
    for number in sorted({*range(max(sweep.jobs, len(sweep.slurm))), *records}):
        slurm = sweep.slurm[number] if number < len(sweep.slurm) else None
        known = None if queue is None or slurm is None else queue.get(slurm, GONE)
        states.append(_state(number, records.get(number, {}), slurm, known, alive))
    return states


def _state(
    number: int, record: dict[str, Any], slurm: str | None, queued: Queued | None, sweep_alive: bool
) -> JobState:
    began, ended = record.get("began"), record.get("ended")
    running = record.get("status") == "started"
    seconds = _seconds(began, ended or (now() if running else None))
    slurm = record.get("slurm_job") or slurm
    state = JobState(
        number, "pending", str(record.get("name", "")), "", slurm, record.get("run"), seconds, began=bool(record)
    )
    if record.get("status") == "finished":
        return _with(state, "done")
    if record.get("status") == "failed":
        return _with(state, "failed", str(record.get("error", "failed")))
    if queued is not None:
        if queued.state in WAITING:
            return _with(state, "pending", queued.reason)
        if queued.state not in ENDED:
            return _with(state, "running")
        return _with(state, "lost", _end(queued.state, bool(record)))
    if not record:
        return state if sweep_alive else _with(state, "lost", "never started")
    pid = record.get("pid")
    here = pid if record.get("machine") == machine() and isinstance(pid, int) else None
    ending = here == os.getpid() and not sweep_alive  # this process, which reports what it leaves
    if here is not None and (ending or not is_running(here, str(record.get("since", "")))):
        return _with(state, "lost", "did not end; run the same command again to resume it")
    return _with(state, "running")


def _with(state: JobState, status: Status, why: str = "") -> JobState:
    return JobState(**{**vars(state), "status": status, "why": why})


def _end(state: str, began: bool) -> str:
    """Returns what became of a SLURM job that left no result."""
    if not began:
        cancelled = state in ("CANCELLED", "GONE")
        return "was cancelled before it started" if cancelled else f"failed before it started ({state})"
    if state in _ENDS:
        return f"{_ENDS[state]}; run the same command again to resume it"
    return "did not end; run the same command again to resume it"


def _seconds(began: object, ended: object) -> float | None:
    """Returns the seconds between two times, None if one is not known."""
    try:
        return (datetime.fromisoformat(str(ended)) - datetime.fromisoformat(str(began))).total_seconds()
    except ValueError:
        return None


def counted(states: Sequence[JobState]) -> str:
    """Returns e.g. `2 pending (Priority: jobs of others come first), 1 running, 5 done, 1 failed`."""
    parts = []
    for status in ("pending", "running", "done", "failed", "lost"):
        of_it = [state for state in states if state.status == status]
        if not of_it and status not in ("running", "done"):
            continue
        reasons = Counter(state.why for state in of_it if state.why) if status == "pending" else Counter()
        why = "; ".join(
            explain(reason) if len(reasons) == 1 else f"{count} {explain(reason)}"
            for reason, count in reasons.most_common()
        )
        parts.append(f"{len(of_it)} {status}" + (f" ({why})" if why else ""))
    return ", ".join(parts)


def left(states: Sequence[JobState], at_once: int | None) -> float | None:
    """Returns the seconds that the rest of a sweep probably takes; None if no job has ended yet or none is left.

    Args:
        states: of all jobs.
        at_once: how many may run at the same time.
    """
    took = [state.seconds for state in states if state.status == "done" and state.seconds is not None]
    long = [seconds for seconds in took if seconds >= _SHORT] or took
    open_ = [state for state in states if state.status in ("pending", "running")]
    if not long or not open_:
        return None
    each = sum(long) / len(long)
    work = sum(max(each - (state.seconds or 0.0), 0.0) if state.status == "running" else each for state in open_)
    running = sum(state.status == "running" for state in open_)
    # What runs now is what the cluster gives; nothing runs while the first jobs wait.
    lanes = max(running, 1) if running < len(open_) else len(open_)
    return work / min(lanes, at_once or lanes)


def duration(seconds: float) -> str:
    """Returns a time in words.

    >>> [duration(seconds) for seconds in (20, 100, 5000, 200000)]
    ['less than a minute', '2 min', '1 h 23 min', '2 d 7 h']
    """
    minutes = round(seconds / 60)
    if seconds < 60:
        return "less than a minute"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 60 * 24:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def summary(sweep: SweepRecord, states: Sequence[JobState]) -> str:
    """Returns one line: the SLURM arrays, how many jobs are in which state, and when the last will end."""
    where = f"SLURM array {', '.join(sweep.arrays)}: " if sweep.slurm else ""
    seconds = left(states, sweep.at_once)
    return where + counted(states) + (f"; about {duration(seconds)} left" if seconds is not None else "")


def problems(states: Sequence[JobState]) -> list[str]:
    """Returns a line for each job that failed or was lost; jobs that never started share one."""
    never: dict[str, list[JobState]] = {}
    for state in states:
        if state.status == "lost" and not state.began:
            never.setdefault(state.why, []).append(state)
    lines = [str(state) for state in states if state.status == "failed" or (state.status == "lost" and state.began)]
    for why, of_it in never.items():
        numbers = ", ".join(f"#{state.number}" for state in of_it[:8]) + (", …" if len(of_it) > 8 else "")
        arrays = dict.fromkeys(state.slurm_job.partition("_")[0] for state in of_it if state.slurm_job)
        array = f" of SLURM array {', '.join(arrays)}" if arrays else ""
        many = len(of_it) > 1
        words = why.replace("was ", "were ").replace("it started", "they started") if many else why
        lines.append(f"{numbers}: {len(of_it)} job{'s' if many else ''}{array} {words}")
    return lines
