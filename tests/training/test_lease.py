"""Lease: one process owns a run; the others wait for it, and take over what a dead one left."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from musicrec.errors import MusicrecError
from musicrec.files import read_json
from musicrec.training import lease as module
from musicrec.training.lease import Lease, TakenOver, owned
from musicrec.training.owner import Owner
from musicrec.training.run_record import RunRecord

STARTED = RunRecord("started", {"seed": 0}, {})


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"BEAT": 0.05, "SILENCE": 0.6, "_POLL": 0.02, "_SETTLE": 0.01}.items():
        monkeypatch.setattr(module, name, seconds)


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    return process.pid


def leave(folder: Path, owner: Owner) -> None:
    """Writes what a process that was killed leaves."""
    replace(STARTED, owner=owner.to_json()).write(folder / "run.json")


def elsewhere(**facts: object) -> Owner:
    return replace(Owner(host="node3", machine="ffffffff", pid=4711), **facts)  # type: ignore[arg-type]


@pytest.mark.usefixtures("quick")
def test_the_owner_stands_in_the_record_while_the_run_lasts(tmp_path: Path) -> None:
    with owned("mine", tmp_path) as lease:
        lease.write(STARTED)
        lease.progress = "epoch 3 of 100"
        owner = read_json(tmp_path / "run.json")["owner"]
        assert owner["pid"] == os.getpid()
        deadline = time.monotonic() + 5
        while "progress" not in read_json(tmp_path / "run.json")["owner"] and time.monotonic() < deadline:
            time.sleep(0.02)
        assert read_json(tmp_path / "run.json")["owner"]["progress"] == "epoch 3 of 100"
    assert read_json(tmp_path / "run.json") == STARTED.to_json()


@pytest.mark.usefixtures("quick")
def test_a_finished_run_has_no_owner(tmp_path: Path) -> None:
    with owned("mine", tmp_path) as lease:
        lease.write(STARTED)
        lease.write(replace(STARTED, status="finished"))
    assert read_json(tmp_path / "run.json")["status"] == "finished"
    assert "owner" not in read_json(tmp_path / "run.json")


@pytest.mark.usefixtures("quick")
def test_the_second_waits_until_the_first_has_ended(tmp_path: Path) -> None:
    order = []

    def second() -> None:
        with owned("mine", tmp_path):
            order.append("second")

    with owned("mine", tmp_path) as lease:
        lease.write(STARTED)
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(1.0)  # longer than SILENCE: who holds the lock lives, and its heart beats
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]


@pytest.mark.usefixtures("quick")
def test_who_does_not_want_to_wait_is_told_who_has_it(tmp_path: Path) -> None:
    with owned("mine", tmp_path) as lease:
        lease.progress = "epoch 3 of 100"
        lease.write(STARTED)
        with (
            pytest.raises(MusicrecError, match=rf"process {os.getpid()} on .*, epoch 3 of 100; leave wait=false out"),
            owned("mine", tmp_path, wait=False),
        ):
            pass


@pytest.mark.parametrize(
    "owner", [replace(Owner.this_process(), pid=dead_process()), replace(Owner.this_process(), since="1")]
)
def test_a_dead_owner_of_this_machine_is_replaced_at_once(tmp_path: Path, owner: Owner) -> None:
    leave(tmp_path, owner)
    start = time.monotonic()
    with owned("mine", tmp_path, wait=False):
        assert time.monotonic() - start < 5


@pytest.mark.usefixtures("quick")
def test_an_owner_elsewhere_is_replaced_when_it_has_been_silent(tmp_path: Path) -> None:
    leave(tmp_path, elsewhere())
    with (
        pytest.raises(MusicrecError, match="is being trained by process 4711 on node3;"),
        owned("mine", tmp_path, False),
    ):
        pass
    start = time.monotonic()
    with owned("mine", tmp_path):
        assert time.monotonic() - start >= 0.6


@pytest.mark.usefixtures("quick")
def test_an_owner_elsewhere_is_waited_for_while_its_heart_beats(tmp_path: Path) -> None:
    ended = threading.Event()

    def beat() -> None:
        for count in range(30):
            leave(tmp_path, elsewhere(heartbeat=str(count), token="theirs"))
            time.sleep(0.05)
        ended.set()

    leave(tmp_path, elsewhere())
    thread = threading.Thread(target=beat)
    thread.start()
    with owned("mine", tmp_path):
        assert ended.is_set()
    thread.join()


def test_the_queue_knows_that_a_job_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("musicrec.training.owner.has_ended", lambda job: job == "17")
    leave(tmp_path, elsewhere(slurm_job="17"))
    monkeypatch.setattr(module, "_SETTLE", 0.0)
    with owned("mine", tmp_path, wait=False):
        pass
    leave(tmp_path, elsewhere(slurm_job="18"))
    with pytest.raises(MusicrecError, match=r"SLURM job 18"), owned("mine", tmp_path, wait=False):
        pass


def test_a_requeued_job_replaces_its_earlier_self(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert elsewhere(slurm_job="17").is_dead()
    assert not elsewhere(slurm_job="17", slurm_restart=1).is_dead()


@pytest.mark.usefixtures("quick")
def test_an_owner_that_was_silent_for_too_long_writes_nothing_more(tmp_path: Path) -> None:
    with owned("mine", tmp_path) as lease:
        lease.write(STARTED)
        other = Lease("mine", tmp_path / "run.json")  # on a file system without locks
        other.write(replace(STARTED, attempt="theirs"))
        with pytest.raises(TakenOver, match=r"took the run over"):
            lease.write(replace(STARTED, status="finished"))
        with pytest.raises(TakenOver):
            lease.check_flag()
    record = read_json(tmp_path / "run.json")
    assert (record["status"], record["attempt"]) == ("started", "theirs")
    other.end()


def test_without_locks_the_heartbeat_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_lock", lambda descriptor: True)
    with owned("mine", tmp_path) as lease:
        lease.write(STARTED)
        with pytest.raises(MusicrecError, match="is being trained by"), owned("mine", tmp_path, wait=False):
            pass


@pytest.mark.parametrize("content", [None, {}, [], 3, {"pid": "x"}, {"token": 1}, {"host": ["a"]}, {"pid": True}])
def test_an_owner_that_cannot_be_understood_is_none(content: object) -> None:
    assert Owner.from_json(content) is None
