"""Estimates how long a sweep takes, from the runs of its workspace that are finished."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from musicrec.files import read_json


def estimate(root: Path, recommenders: Sequence[str], jobs: int) -> str:
    """Returns a sentence, empty if no run of any of the recommenders is finished.

    Args:
        root: `paths.root`.
        recommenders: the values of `recommender` that the sweep has, or the one that is chosen.
        jobs: number of jobs, equally many of each recommender.
    """
    known = durations(root)
    each = jobs / max(len(recommenders), 1)
    missing = [name for name in recommenders if name not in known]
    found = [name for name in recommenders if name in known]
    if not found:
        return ""
    total = sum(each * median(known[name]) for name in found)
    runs = sum(len(known[name]) for name in found)
    text = f"about {readable(total)} of computing by {runs} finished run{'s' if runs > 1 else ''} here"
    if missing:
        text += (
            f", without the {round(each * len(missing))} jobs of {', '.join(missing)}, of which none is finished yet"
        )
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
