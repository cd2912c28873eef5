"""Disks and memory: full, read-only, no home, little memory; a stage ends with one line and loses nothing finished."""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
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
        temporary: where TMPDIR is: "" = the machine's own; `other` = a file system of its own; `full`; `missing`.
        home: what HOME is: "" = not set; `read-only`; `missing`.
        memory: bytes of address space; 0 = all.
    """

    options: str = "size=64m"
    fill: bool = False
    read_only: bool = False
    temporary: str = ""
    home: str = ""
    memory: int = 0


STATES = {
    "full": State(fill=True),
    "read-only": State(read_only=True),
    "full, TMPDIR full too,": State(fill=True, temporary="full"),
    "healthy (TMPDIR on another file system)": State(temporary="other"),
    "healthy (TMPDIR full)": State(temporary="full"),
    "healthy (no TMPDIR)": State(temporary="missing"),
    "healthy (HOME read-only)": State(home="read-only"),
    "healthy (HOME missing)": State(home="missing"),
    "nearly full": State(options="size=3m"),
    "healthy (3 GB of address space)": State(memory=3 << 30),
    "healthy (1.5 GB of address space)": State(memory=3 << 29),
}


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
    random.Random(seed).shuffle(cases)
    for state, stage, finished in cases[:count]:
        problem = _case(folder, world, STATES[state], stage, finished)
        counted.add(f"{stage} on a {state} disk, workspace {'finished' if finished else 'empty'}", problem)
    return counted


def _case(folder: Path, world: Path, state: State, stage: str, finished: bool) -> str | None:
    with ExitStack() as mounted:
        disk = mounted.enter_context(_mounted(folder / "disk", state.options))
        root = disk / "workspace"
        if finished:
            try:
                shutil.copytree(world, root)
            except OSError:  # a small disk holds a part of the world
                shutil.rmtree(root)
                root.mkdir()
        else:
            root.mkdir()
        if state.fill:
            _fill(disk / "filler")
        if state.read_only:
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        environment = {key: value for key, value in ENVIRONMENT.items() if key not in ("HOME", "TMPDIR")}
        if state.temporary == "missing":
            environment["TMPDIR"] = str(folder / "nowhere")
        elif state.temporary:
            other = mounted.enter_context(_mounted(folder / "temporary", "size=16m"))
            environment["TMPDIR"] = str(other)
            if state.temporary == "full":
                _fill(other / "filler")
        if state.home == "missing":
            environment["HOME"] = str(folder / "nobody")
        elif state.home:
            home = mounted.enter_context(_mounted(folder / "home", "size=1m"))
            subprocess.run(["mount", "-o", "remount,ro", str(home)], check=True)
            environment["HOME"] = str(home)
        before = results(root)
        name, words = STAGES[stage]
        more = ["overwrite=true"] if name == "train" else ["extract.overwrite=true"] if name == "extract" else []
        limit = (state.memory, state.memory)
        ended = subprocess.run(
            [sys.executable, str(ROOT / f"{name}.py"), f"paths.root={root}", *words, *more],
            env=environment,
            capture_output=True,
            text=True,
            cwd=disk,
            check=False,
            preexec_fn=(lambda: resource.setrlimit(resource.RLIMIT_AS, limit)) if state.memory else None,
        )
        return _judge(ended, differing(root, before), root)


@contextmanager
def _mounted(folder: Path, options: str) -> Iterator[Path]:
    """Yields a folder that is a file system of its own."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "musicrec-trial", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


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
    """Returns whether a line tells of disk or memory, or of files that an empty workspace lacks anyway."""
    return any(words in said for words in ("MB free)", "is missing: make it with", "there is not enough memory"))


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
