"""What the system says of its memory: the kernel's figure, and the limits of control groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from musicrec.system import available_memory

MEMINFO = "MemTotal:       24684092 kB\nMemFree:         3705920 kB\nMemAvailable:   11747560 kB\n"


def written(root: Path, **files: str) -> Path:
    """Returns the root of a file system with these files; `__` in a name stands for a slash."""
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("memory_", "memory.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_memory_is_what_the_kernel_calls_available(tmp_path: Path) -> None:
    assert available_memory(written(tmp_path, proc__meminfo=MEMINFO)) == 11747560 * 1024


def test_the_tightest_control_group_counts(tmp_path: Path) -> None:
    job = "sys__fs__cgroup__slurm__job"
    root = written(
        tmp_path,
        proc__meminfo=MEMINFO,
        proc__self__cgroup="0::/slurm/job\n",
        **{f"{job}__memory_max": "max\n", f"{job}__memory_current": "700\n"},
        **{"sys__fs__cgroup__slurm__memory_max": "1000\n", "sys__fs__cgroup__slurm__memory_current": "700\n"},
    )
    assert available_memory(root) == 300
    written(root, **{f"{job}__memory_max": "600\n"})
    assert available_memory(root) == 0
    written(root, **{f"{job}__memory_max": "5000\n", "sys__fs__cgroup__slurm__memory_max": "max\n"})
    assert available_memory(root) == 4300


@pytest.mark.parametrize("text", [None, "MemTotal: 5 kB\n", "MemAvailable: many\n", "MemAvailable:\n"])
def test_a_system_that_does_not_say_is_not_guessed(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        written(tmp_path, proc__meminfo=text)
    assert available_memory(tmp_path) is None
