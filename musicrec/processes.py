"""Processes of this machine and of others: which one this is, and whether another one still runs."""

from __future__ import annotations

import hashlib
import os
import socket
from functools import cache
from pathlib import Path


@cache
def machine() -> str:
    """Returns what processes share whose ids can be compared: the same system, started once; 8 hex digits."""
    parts = [socket.gethostname()]
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        try:  # containers have ids of their own
            parts.append(str(Path(path).readlink()) if path.endswith("pid") else Path(path).read_text("ascii"))
        except OSError:
            parts.append("")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def started(pid: int) -> str:
    """Returns when a process of this machine started, in the system's own unit; "" if it is not known.

    A process id is given again after a while, and never with the same start.
    """
    try:
        # The name in parentheses may itself have blanks and parentheses.
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def is_running(pid: int, since: str = "") -> bool:
    """Returns whether a process of this machine runs.

    Args:
        pid: its id.
        since: what `started` returned for it; "": any process of that id.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's
    return not since or started(pid) in ("", since)
