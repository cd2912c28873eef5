"""Disks: full, read-only, without a home; a stage ends with one line, and what was finished stays as it was."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.hostile.damaged_files import make_world
from tests.hostile.kills import ENVIRONMENT, ROOT
from tests.hostile.trial import STAGES, Count, differing, results


@dataclass(frozen=True)
class State:
    """A state of the disk.

    Attributes:
        options: of the tmpfs that the workspace lies on, which leave so much room.
        fill: whether the rest is filled up.
        read_only: whether it is mounted again for reading.
    """

    options: str = "size=64m"
    fill: bool = False
    read_only: bool = False


STATES = {"full": State(fill=True), "read-only": State(read_only=True)}


def can_mount() -> bool:
    """Returns whether this process may mount a file system."""
    return os.getuid() == 0 and shutil.which("mount") is not None


def trial(folder: Path, count: int, seed: int = 0) -> Count:
    """Runs every stage on every state of the disk, over a finished workspace and over an empty one."""
    counted = Count("disk states")
    world = folder / "world"
    make_world(world)
    cases: list[tuple[str, str, bool]] = [
        (state, stage, finished) for state in STATES for stage in STAGES for finished in (True, False)
    ]
    for state, stage, finished in cases[:count]:
        problem = _case(folder, world, STATES[state], stage, finished)
        counted.add(f"{stage} on a {state} disk, workspace {'finished' if finished else 'empty'}", problem)
    return counted


def _case(folder: Path, world: Path, state: State, stage: str, finished: bool) -> str | None:
    disk = folder / "disk"
    disk.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", state.options, "musicrec-trial", str(disk)], check=True)
    try:
        root = disk / "workspace"
        if finished:
            shutil.copytree(world, root)
        else:
            root.mkdir()
        if state.fill:
            _fill(disk / "filler")
        if state.read_only:
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        before = results(root)
        name, words = STAGES[stage]
        more = ["overwrite=true"] if name == "train" else ["extract.overwrite=true"] if name == "extract" else []
        ended = subprocess.run(
            [sys.executable, str(ROOT / f"{name}.py"), f"paths.root={root}", *words, *more],
            env={key: value for key, value in ENVIRONMENT.items() if key != "HOME"},
            capture_output=True,
            text=True,
            cwd=disk,
            check=False,
        )
        return _judge(ended, differing(root, before), root)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def _judge(ended: subprocess.CompletedProcess[str], lost: list[str], root: Path) -> str | None:
    said = ended.stdout + ended.stderr
    conditions: dict[str, Callable[[], bool]] = {
        f"a traceback: {said[-600:]}": lambda: "Traceback" in said or "HYDRA_FULL_ERROR" in said,
        f"lost {', '.join(lost)}": lambda: bool(lost),
        f"left {[str(path) for path in root.rglob('.tmp-*')]}": lambda: any(root.rglob(".tmp-*")),
        f"no line about the disk: {said[-400:]}": lambda: bool(ended.returncode) and not _explained(ended.stderr),
        f"ended with {ended.returncode}": lambda: ended.returncode not in (0, 1),
    }
    return next((problem for problem, holds in conditions.items() if holds()), None)


def _explained(said: str) -> bool:
    """Returns whether a line tells of the disk, or of files that an empty workspace lacks anyway."""
    return "MB free)" in said or "is missing: make it with" in said


def _fill(path: Path) -> None:
    """Writes a file until no byte is left."""
    with path.open("wb", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                if file.write(b"\0" * size) < size:
                    size //= 2
            except OSError:
                size //= 2
