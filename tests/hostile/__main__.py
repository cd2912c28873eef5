"""Runs the hostile trials: python -m tests.hostile [files|bombs|kills|disks|values …] [--count N] [--seed N]."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.hostile import bombs, damaged_files, disks, kills, values
from tests.hostile.trial import Count, report

TRIALS: dict[str, Callable[[Path, int, int], Count]] = {
    "files": damaged_files.trial,
    "bombs": bombs.trial,
    "kills": kills.trial,
    "disks": disks.trial,
    "values": values.trial,
}


def main() -> None:
    """Runs the trials that the command names, all by default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", default=list(TRIALS), metavar="|".join(TRIALS))
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if "disks" in given.kinds and not disks.can_mount():
        print("disk states: not tried, since mounting a file system needs root")
        given.kinds.remove("disks")
    with tempfile.TemporaryDirectory(prefix="musicrec-hostile-") as folder:
        counts = [TRIALS[kind](Path(folder) / kind, given.count, given.seed) for kind in given.kinds]
    sys.exit(0 if report(counts) else 1)


if __name__ == "__main__":
    main()
