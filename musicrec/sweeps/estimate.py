"""Estimates how long a sweep takes, from the runs of its workspace that are finished."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from musicrec.files import read_json


def estimate(root: Path, jobs: Mapping[str, int]) -> str:
    """Returns a sentence, empty if no run of any of the recommenders is finished.

    Args:
        root: the folder of the workspace.
        jobs: recommender to its number of jobs in the sweep.
    """
    known = durations(root)
    found = {name: known[name] for name in jobs if name in known}
    missing = {name: count for name, count in jobs.items() if name not in known}
    if not found:
        return ""
    total = sum(jobs[name] * median(seconds) for name, seconds in found.items())
    runs = sum(map(len, found.values()))
    text = f"about {readable(total)} of computing by {runs} finished run{'s' if runs > 1 else ''} here"
    if missing:
        count = sum(missing.values())
        text += f", without the {count} jobs of {', '.join(missing)}, of which none is finished yet"
    return text


def durations(root: Path) -> Mapping[str, list[float]]:
    """Returns recommender to the seconds of each finished run in runs/; damaged records are left out."""
    found: dict[str, list[float]] = {}
    for path in sorted(root.glob("runs/*/run.json")):
        try:
            record = read_json(path)
            seconds, name = float(record["seconds"]), str(record["settings"]["recommender"]["name"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if record.get("status") == "finished" and math.isfinite(seconds):
            found.setdefault(name, []).append(seconds)
    return found


def readable(seconds: float) -> str:
    """Returns a duration in the largest unit that has two digits or fewer.

    >>> [readable(each) for each in (4, 90, 5400, 200_000)]
    ['4 s', '2 min', '1.5 h', '2.3 days']
    """
    for size, unit in ((86400.0, "days"), (3600.0, "h")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"
