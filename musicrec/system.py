"""What this process may use of the machine."""

from __future__ import annotations

import os


def usable_cpus() -> int:
    """Returns the number of CPUs this process may use, which a cluster makes fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
