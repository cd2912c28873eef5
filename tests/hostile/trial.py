"""Trial: what a stage did in a hostile case, and the count of clean ones."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from hydra import compose, initialize_config_dir

from musicrec import cli, stages
from musicrec.config import config_dir

# A world so small that a stage takes a second.
WORLD = (
    *("data=demo", "data.tracks_per_style=2", "data.listeners=40", "embedding=mfcc", "logger=none", "trainer=cpu"),
    *("recommender.max_epochs=3", "recommender.batch_size=64", "eval.k=5", "eval.top_k=10", "extract.num_workers=0"),
)
KNN = (*(word for word in WORLD if not word.startswith("recommender.")), "recommender=knn")
STAGES = {
    "prepare": ("prepare", KNN),
    "extract": ("extract", KNN),
    "train knn": ("train", KNN),
    "train shallow": ("train", (*WORLD, "recommender=shallow")),
    "evaluate": ("evaluate", KNN),
}


@dataclass
class Outcome:
    """What a stage did.

    Attributes:
        error: the line with which it ended; None = it succeeded.
        crashed: the exception that no user should see; None = none.
        said: what it logged as a warning or error.
    """

    error: str | None = None
    crashed: str | None = None
    said: list[str] = field(default_factory=list)


def run(stage: str, root: Path, *more: str) -> Outcome:
    """Runs a stage of STAGES in this process as the command line does."""
    name, overrides = STAGES[stage]
    outcome = Outcome()
    with _heard(outcome.said), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with initialize_config_dir(str(config_dir()), version_base="1.3"):
                cfg = compose("config", [f"paths.root={root}", *overrides, *more])
            cli.run(getattr(stages, name), cfg)
        except SystemExit as left:
            outcome.error = str(left.code)
        except BaseException as error:
            outcome.crashed = f"{type(error).__name__}: {error}"
    return outcome


@contextmanager
def _heard(said: list[str]) -> Iterator[None]:
    """Collects warnings and errors of the package."""

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    handler, logger = Collect(logging.WARNING), logging.getLogger("musicrec")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def results(root: Path) -> dict[str, pd.DataFrame]:
    """Returns the tables that a user would believe: splits, predictions, per-user metrics, comparison."""
    paths = [path for folder in ("data", "preds", "metrics") for path in sorted((root / folder).glob("[!.]*.pqt"))]
    paths += [path for path in (root / "comparison.csv", root / "data" / "stats.csv") if path.is_file()]
    found = {}
    for path in paths:
        try:
            found[str(path.relative_to(root))] = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
        except (OSError, ValueError):
            continue
    return found


def differing(root: Path, expected: dict[str, pd.DataFrame]) -> list[str]:
    """Returns the names of the results that are not as expected."""
    found = results(root)
    return [name for name, frame in expected.items() if name not in found or not found[name].equals(frame)]


@dataclass
class Count:
    """Counts the cases of one kind.

    Attributes:
        kind: what is tried.
        tried: number of cases.
        dirty: one line per case that was not clean.
    """

    kind: str
    tried: int = 0
    dirty: list[str] = field(default_factory=list)

    def add(self, case: str, problem: str | None) -> None:
        """Counts a case."""
        self.tried += 1
        if problem:
            self.dirty.append(f"{case}: {problem}")
            print(f"  {self.dirty[-1]}", flush=True)

    def __str__(self) -> str:
        """Returns e.g. `damaged files: 150 tried, 150 clean`."""
        return f"{self.kind}: {self.tried} tried, {self.tried - len(self.dirty)} clean"


def report(counts: Iterable[Count]) -> bool:
    """Prints the totals; returns whether all cases were clean."""
    counts = list(counts)
    for count in counts:
        print(count)
    return not any(count.dirty for count in counts)
