"""What `status=true` prints: the sweeps of a workspace, and the runs that are being trained."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from musicrec.errors import MusicrecError
from musicrec.files import read_json
from musicrec.sweeps import queue
from musicrec.sweeps.board import Board
from musicrec.sweeps.record import SweepRecord, all_records
from musicrec.sweeps.states import JobState, job_states, problems, summary
from musicrec.workspace import Workspace

log = logging.getLogger(__name__)

_POLL = 2.0
_SECONDS_BETWEEN_QUERIES = 15.0
_OLDER = 5  # sweeps that have ended and are shown in a line each


def show_status(workspace: Workspace, which: bool | str) -> None:
    """Logs how far the sweeps of a workspace are.

    Args:
        workspace: where their records are.
        which: True = every sweep that has not ended and the latest that has; `watch` = the same for the latest sweep,
            again and again until it has ended; or the name of a sweep, whose jobs are all listed.

    Raises:
        MusicrecError: if there is no such sweep.
    """
    records = all_records(workspace)
    if not records:
        log.info("no sweep was started in %s", workspace.root)
    elif which is True:
        _show_all(records)
    elif which == "watch":
        _watch(records[0])
    else:
        record = _named(records, str(which))
        states = _look(record)
        _show(record, states)
        for state in states:
            if state.status not in ("failed", "lost"):
                log.info("  %s %s%s", state.status, state, _progress(workspace, state))
        return
    for line in _training(workspace):
        log.info("%s", line)


def _named(records: Sequence[SweepRecord], name: str) -> SweepRecord:
    """Returns the latest sweep of a name or a folder."""
    found = [record for record in records if record.name == name or Path(record.folder) == Path(name).absolute()]
    if not found:
        known = ", ".join(record.name for record in records[:_OLDER])
        raise MusicrecError(f"status={name} is no sweep of this workspace; must be true, watch or one of {known}")
    return found[0]


def _look(record: SweepRecord) -> list[JobState]:
    return job_states(record, queue.ask(record.slurm))


def _ended(states: Sequence[JobState]) -> bool:
    return not any(state.status in ("pending", "running") for state in states)


def _show_all(records: Sequence[SweepRecord]) -> None:
    for shown, record in enumerate(records):
        states = _look(record)
        if shown == 0 or not _ended(states):
            _show(record, states)
        elif shown <= _OLDER:
            log.info("%s: %s", record.folder, summary(record, states))
        else:
            break


def _show(record: SweepRecord, states: Sequence[JobState]) -> None:
    log.info("%s", record.plan or f"sweep of {record.stage}: {record.folder}")
    log.info("  %s", summary(record, states))
    for line in problems(states):
        log.info("  %s", line)


def _watch(record: SweepRecord) -> None:
    """Shows a sweep until it has ended."""
    log.info("%s", record.plan)
    asked, known = float("-inf"), queue.ask(record.slurm)

    def from_queue() -> dict[str, queue.Queued] | None:
        nonlocal asked, known
        if time.monotonic() - asked >= _SECONDS_BETWEEN_QUERIES:
            asked, known = time.monotonic(), queue.ask(record.slurm)
        return known

    with Board(record, from_queue) as board:
        while (states := board.tick()) is None or not _ended(states):
            time.sleep(_POLL)
    _show(record, states)


def _progress(workspace: Workspace, state: JobState) -> str:
    """Returns how far the run of a job is, e.g. `, epoch 3 of 100`."""
    return f", {text}" if state.status == "running" and state.run and (text := _owner(workspace, state.run)) else ""


def _owner(workspace: Workspace, run: str) -> str:
    """Returns what the owner of a run says of its progress; "" without an owner."""
    try:
        content = read_json(workspace.run_record(run))
        owner = content["owner"]
        where = f" on {owner['host']}" if owner.get("host") else ""
        return f"{owner.get('progress') or 'started'}{where}, heartbeat {owner['heartbeat']}"
    except (ValueError, OSError, KeyError, TypeError, AttributeError, RecursionError):
        return ""


def _training(workspace: Workspace) -> list[str]:
    """Returns a line for each run that a process owns."""
    runs = workspace.recorded_runs()
    return [f"run {run}: {text}" for run in runs if (text := _owner(workspace, run))]
