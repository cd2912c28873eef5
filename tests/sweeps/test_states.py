"""How far a sweep is: from job.json, from squeue, and from whether its processes live."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from musicrec.errors import MusicrecError
from musicrec.files import write_json
from musicrec.processes import machine, started
from musicrec.sweeps import board, queue, status
from musicrec.sweeps.current import JOB_FILE
from musicrec.sweeps.queue import Queued
from musicrec.sweeps.record import SweepRecord, all_records, now, record_path
from musicrec.sweeps.states import JobState, counted, job_states, left, problems, summary
from musicrec.workspace import Workspace

BEGAN = "2026-01-01T10:00:00+00:00"


def sweep(folder: Path, jobs: int, **facts: Any) -> SweepRecord:
    alive = {"machine": machine(), "pid": os.getpid(), "since": started(os.getpid()), "began": now()}
    return SweepRecord(**{"folder": str(folder), "stage": "train", "jobs": jobs, **alive, **facts})


def record(folder: Path, number: int, status_: str, **facts: Any) -> None:
    content = {"number": number, "name": f"seed={number}", "status": status_, "began": BEGAN, **facts}
    write_json(folder / str(number) / JOB_FILE, content)


@pytest.fixture
def array(tmp_path: Path) -> SweepRecord:
    record(tmp_path, 0, "finished", ended="2026-01-01T10:10:00+00:00")
    record(tmp_path, 1, "failed", error="musicrec train: no file")
    for number in (2, 3, 4):
        record(tmp_path, number, "started")
    return sweep(tmp_path, 8, slurm=[f"17_{number}" for number in range(8)], at_once=2)


QUEUE = {
    "17_2": Queued("RUNNING"),
    "17_3": Queued("OUT_OF_MEMORY"),
    "17_4": Queued("PENDING", "BeginTime"),
    "17_5": Queued("PENDING", "PartitionConfig"),
    "17_6": Queued("PENDING", "PartitionConfig"),
}


def test_what_squeue_says_decides_about_jobs_that_have_not_said_how_they_ended(array: SweepRecord) -> None:
    states = job_states(array, QUEUE)
    expected = ["done", "failed", "running", "lost", "pending", "pending", "pending", "lost"]
    assert [state.status for state in states] == expected
    assert counted(states) == (
        "3 pending (2 PartitionConfig: asks for more than this partition allows or its nodes have; 1 BeginTime: was "
        "queued again and starts in two minutes at the latest), 1 running, 1 done, 1 failed, 2 lost"
    )
    again = "; run the same command again to resume it"
    assert problems(states) == [
        "#1 seed=1 (SLURM job 17_1): musicrec train: no file",
        "#3 seed=3 (SLURM job 17_3): ran out of memory: give it more with hydra.launcher.mem_gb" + again,
        "#7: 1 job of SLURM array 17 was cancelled before it started",
    ]
    assert summary(array, states).startswith("SLURM array 17: 3 pending (2 PartitionConfig")


def test_an_array_cancelled_before_it_starts_is_one_line(tmp_path: Path) -> None:
    states = job_states(sweep(tmp_path, 3, slurm=["9_0", "9_1", "9_2"]), {"9_1": Queued("CANCELLED")})
    assert problems(states) == ["#0, #1, #2: 3 jobs of SLURM array 9 were cancelled before they started"]


def test_without_squeue_jobs_live_as_long_as_their_processes(tmp_path: Path) -> None:
    mine = {"machine": machine(), "pid": os.getpid(), "since": started(os.getpid())}
    record(tmp_path, 0, "started", **mine)
    record(tmp_path, 1, "started", **{**mine, "pid": 2**22 + 1})
    record(tmp_path, 2, "started", machine="another", pid=1)
    living = sweep(tmp_path, 4)
    assert [state.status for state in job_states(living, None)] == ["running", "lost", "running", "pending"]
    dead = replace(living, pid=2**22 + 1)
    assert [state.status for state in job_states(dead, None)] == ["lost", "lost", "running", "lost"]
    # What the process of the sweep says of itself when it ends.
    assert [state.status for state in job_states(living, None, may_start=False)] == ["lost", "lost", "running", "lost"]
    assert problems(job_states(dead, None))[-1] == "#3: 1 job never started"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"number": "x", "name": 3, "status": []}', "\x00"])
def test_a_damaged_job_file_counts_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / JOB_FILE).write_text(content)
    assert [state.status for state in job_states(sweep(tmp_path, 1), None)] == ["pending"]


def test_the_estimate_counts_what_is_left_over_what_runs_at_once() -> None:
    def job(status_: Any, seconds: float | None = None) -> JobState:
        return JobState(0, status_, seconds=seconds)

    assert left([job("pending"), job("running", 5.0)], None) is None
    # Two lanes: 100 + 40 seconds of work; a job that found its run finished does not count.
    states = [job("done", 100.0), job("done", 0.1), job("running", 60.0), job("running", 100.0), job("pending")]
    assert left(states, 64) == 70.0
    assert left(states, 1) == 140.0
    assert left([job("done", 100.0)], 1) is None


def test_reasons_have_plain_words() -> None:
    assert queue.explain("(Resources)") == "Resources: waits until enough cores, memory or GPUs are free"
    assert queue.explain("ReqNodeNotAvail, UnavailableNodes:n1").startswith("ReqNodeNotAvail: the nodes that it needs")
    assert queue.explain("AssocGrpCpuLimit") == "AssocGrpCpuLimit: a limit of your account is reached"
    assert queue.explain("SomethingNew") == "SomethingNew"
    assert queue.parse("17_3|PENDING|Resources\nnoise\n") == {"17_3": Queued("PENDING", "Resources")}


def test_a_record_is_read_as_written_and_a_damaged_one_is_left_out(tmp_path: Path) -> None:
    workspace, folder = Workspace(tmp_path / "workspace"), tmp_path / "sweep"
    folder.mkdir()
    written = sweep(folder, 2, slurm=["17_0"])
    written.write(workspace)
    assert all_records(workspace) == [written]
    for content in ("", "[]", '{"folder": 3, "stage": "train", "jobs": 2}', '{"jobs": "x"}', "[" * 5000):
        record_path(workspace, folder).write_text(content)
        assert all_records(workspace) == []


def test_a_log_gets_a_line_a_minute(
    array: SweepRecord, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    clock = [0.0]
    monkeypatch.setattr(board.time, "monotonic", lambda: clock[0])
    with board.Board(array, lambda: QUEUE) as shown:
        for clock[0] in (0.0, 1.0, 5.0, 59.0, 61.0, 100.0):
            shown.tick()
    assert [message[:22] for message in caplog.messages] == ["SLURM array 17: 3 pend"] * 2


def test_status_shows_sweeps_and_the_jobs_of_one(
    array: SweepRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    workspace = Workspace(tmp_path / "workspace")
    status.show_status(workspace, True)
    assert caplog.messages == [f"no sweep was started in {workspace.root}"]
    monkeypatch.setattr(queue, "ask", lambda jobs: QUEUE)
    replace(array, plan="sweep of train: 8 jobs").write(workspace)
    owner = {"host": "node3", "progress": "epoch 3 of 100", "heartbeat": BEGAN}
    write_json(workspace.run_dir("mine") / "run.json", {"status": "started", "owner": owner})
    record(Path(array.folder), 2, "started", run="mine")
    for which in (True, array.name, "watch"):
        caplog.clear()
        if which == "watch":
            monkeypatch.setattr(queue, "ask", lambda jobs: {})
        status.show_status(workspace, which)
        assert caplog.messages[0] == "sweep of train: 8 jobs"
        if which is True:
            assert caplog.messages[-1] == f"run mine: epoch 3 of 100 on node3, heartbeat {BEGAN}"
        if which == array.name:
            line = f"  running #2 seed=2 (SLURM job 17_2), epoch 3 of 100 on node3, heartbeat {BEGAN}"
            assert line in caplog.messages
    with pytest.raises(MusicrecError, match="status=other is no sweep of this workspace; must be true, watch or one"):
        status.show_status(workspace, "other")
