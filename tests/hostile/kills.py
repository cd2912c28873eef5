"""Kills: a stage or a sweep is killed at a random moment and run again; its files are those of an undisturbed one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from musicrec.config import config_dir
from tests.hostile.trial import KNN, WORLD, Count, differing, results

ROOT = config_dir().parent
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
COMMANDS: dict[str, tuple[str, ...]] = {
    "prepare": ("prepare.py", *KNN),
    "extract": ("extract.py", *KNN),
    "train": ("train.py", *WORLD, "recommender=shallow", "callbacks.last_checkpoint.seconds=0"),
    "sweep": ("train.py", "-m", *WORLD, "recommender=shallow", "seed=0,1", "callbacks.last_checkpoint.seconds=0"),
    "evaluate": ("evaluate.py", *KNN),
}


def start(command: str, root: Path) -> subprocess.Popen[str]:
    """Starts a command of COMMANDS in a process group of its own."""
    script, *words = COMMANDS[command]
    words += [f"paths.root={root}", *([f"hydra.sweep.dir={root.parent}/sweep"] if "-m" in words else [])]
    return subprocess.Popen(
        [sys.executable, str(ROOT / script), *words],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=root.parent,
        start_new_session=True,
    )


def trial(folder: Path, count: int, seed: int = 0) -> Count:
    """Kills `count` times, each command in turn; a killed one is killed again or ends, and its results are compared."""
    counted = Count("kills")
    rng = random.Random(seed)
    expected, seconds = folder / "undisturbed" / "workspace", {}
    expected.parent.mkdir(parents=True)
    for command in COMMANDS:
        began = time.monotonic()
        output, _ = start(command, expected).communicate()
        seconds[command] = time.monotonic() - began
        assert output is not None and "Traceback" not in output, output
    wanted = results(expected)
    round_ = 0
    while counted.tried < count:
        root = folder / f"round{round_}" / "workspace"
        root.parent.mkdir()
        round_ += 1
        for command in COMMANDS:
            problem, case = None, f"{command} in round {round_}"
            # Most moments after the imports, which take the larger part.
            process = start(command, root)
            delay = seconds[command] * rng.uniform(0.35, 1.0)
            try:
                process.wait(delay)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            output = start(command, root).communicate()[0]
            if "Traceback" in output:
                problem = f"killed after {delay:.1f} s: {output[-500:]}"
            counted.add(case, problem)
        if wrong := differing(root, wanted):
            counted.dirty.append(f"round {round_}: {', '.join(wrong)} differ")
            print(f"  {counted.dirty[-1]}", flush=True)
        if left := [str(path) for path in root.rglob(".tmp-*")]:
            counted.dirty.append(f"round {round_}: left {', '.join(left)}")
            print(f"  {counted.dirty[-1]}", flush=True)
    return counted
