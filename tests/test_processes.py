import os
import subprocess
import sys

from musicrec.processes import is_running, machine, started


def test_a_process_that_ended_does_not_run() -> None:
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    assert not is_running(process.pid)
    assert is_running(os.getpid())
    assert len(machine()) == 8


def test_another_process_of_the_same_id_is_not_the_same() -> None:
    assert is_running(os.getpid(), started(os.getpid()))
    assert not is_running(os.getpid(), "1")
    assert started(2**22 + 1) == ""
