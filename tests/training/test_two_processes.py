"""A run that is started twice, from one machine and from two nodes, ends with the numbers of an undisturbed one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from musicrec.config import config_dir

ROOT = config_dir().parent
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
# Started with the name of a node, a process sees no locks of others, as on a file system that does not pass them on.
TRAIN = """
import runpy, sys
from musicrec.training import lease, owner
node = sys.argv.pop(1)
lease.BEAT, lease.SILENCE = 0.3, 4.0
if node:
    lease._lock = lambda descriptor: True
    owner.machine = lambda: node
runpy.run_path(sys.argv[0], run_name="__main__")
"""
SETTINGS = (
    *("experiment=smoke", "recommender=bert", "embedding=random", "recommender.batch_size=4", "trainer=cpu"),
    *("trainer.max_epochs=10", "recommender.patience=100", "logger=csv", "callbacks.last_checkpoint.seconds=0"),
    "run_name=mine",
)


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []

    def started(root: Path, *more: str, node: str = "") -> subprocess.Popen[str]:
        script = f"import sys; sys.argv[0] = {str(ROOT / 'train.py')!r}\n{TRAIN}"
        command = [sys.executable, "-c", script, node, *SETTINGS, f"paths.root={root}", *more]
        process = subprocess.Popen(
            command,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
            cwd=root.parent,
        )
        processes.append(process)
        return process

    yield started
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def said(process: subprocess.Popen[str], text: str) -> str:
    """Returns what a process prints up to a text."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError("".join(lines))


def until(condition: Callable[[], object], process: subprocess.Popen[str], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def same(found: Path, expected: Path) -> None:
    for path in sorted((*expected.glob("preds/*.pqt"), *expected.glob("metrics/*.pqt"))):
        frame = pd.read_parquet(found / path.relative_to(expected))
        pd.testing.assert_frame_equal(frame, pd.read_parquet(path), check_exact=True)


@pytest.mark.slow
@pytest.mark.parametrize("nodes", [("", ""), ("00000001", "00000002")])
def test_a_run_started_twice_is_trained_once(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]], nodes: tuple[str, str]
) -> None:
    undisturbed, root = tmp_path / "undisturbed", tmp_path / "workspace"
    output, _ = start(undisturbed).communicate(timeout=300)
    assert (undisturbed / "preds" / "mine.pqt").is_file(), output

    first = start(root, node=nodes[0])
    last = root / "checkpoints" / "bert" / "mine_last.ckpt"
    until(last.is_file, first)
    first.send_signal(signal.SIGSTOP)
    stopped = last.stat().st_mtime_ns
    with_others = start(root, "wait=false", node=nodes[1])
    refused = with_others.communicate(timeout=120)[0]
    assert with_others.returncode == 1
    assert f"mine is being trained by process {first.pid} on " in refused
    assert "Traceback" not in refused

    second = start(root, node=nodes[1])
    said(second, f"mine is being trained by process {first.pid} on ")
    if nodes[0]:
        said(second, "taking it over")
        until(lambda: last.stat().st_mtime_ns != stopped, second)
    else:
        time.sleep(6)  # longer than an owner may be silent
        assert last.stat().st_mtime_ns == stopped
    second.kill()
    second.wait()
    first.send_signal(signal.SIGCONT)
    output, _ = first.communicate(timeout=300)
    assert first.returncode == 0, output
    assert ("took the run over" in output) is bool(nodes[0])
    same(root, undisturbed)
    again, once = (pd.read_csv(folder / "runs" / "mine" / "metrics.csv") for folder in (root, undisturbed))
    pd.testing.assert_frame_equal(again, once)
