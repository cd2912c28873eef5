"""What this process may use of the machine."""

from __future__ import annotations

import os
from pathlib import Path


def usable_cpus() -> int:
    """Returns the number of CPUs this process may use, which a cluster makes fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def available_memory(root: Path = Path("/")) -> int | None:
    """Returns the bytes that this process may still allocate without swapping; None where the system does not say.

    These are what the kernel calls available, and no more than the control groups of a container or cluster job leave
    (version 2).

    Args:
        root: of the file system that holds proc/ and sys/.
    """
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
        kilobytes = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    except (OSError, ValueError, IndexError):
        return None
    limits = [1024 * count for count in kilobytes]
    return min([*limits, *_control_groups(root)], default=None)


def _control_groups(root: Path) -> list[int]:
    """Returns what the memory limit of each control group of this process leaves, in bytes."""
    mounted, left = root / "sys/fs/cgroup", []
    try:
        own = (root / "proc/self/cgroup").read_text().splitlines()
        names = [line.removeprefix("0::/") for line in own if line.startswith("0::/")]
    except OSError:
        return []
    for name in names:
        for group in (mounted / name, *(mounted / name).parents):
            if not group.is_relative_to(mounted):
                break
            try:
                left.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
            except (OSError, ValueError):  # no limit: the file is missing or says "max"
                continue
    return [max(0, count) for count in left]
