"""Progress of an extraction: a bar with tracks per second and time left; in a log file a line now and then."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 30.0


@contextmanager
def progress(name: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yields the function to call with the number of tracks just done."""
    with _bar(name, total) if sys.stderr.isatty() else _lines(name, total) as advance:
        yield advance


@contextmanager
def _bar(name: str, total: int) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    speed, left = TextColumn("{task.fields[speed]:.1f} tracks/s"), TimeRemainingColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), speed, left)
    start = time.perf_counter()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=total, speed=0.0)

        def advance(count: int) -> None:
            done = bar.tasks[0].completed + count
            bar.update(task, completed=done, speed=done / (time.perf_counter() - start))

        yield advance


@contextmanager
def _lines(name: str, total: int) -> Iterator[Callable[[int], None]]:
    start = last = time.perf_counter()
    done = 0

    def advance(count: int) -> None:
        nonlocal done, last
        done += count
        now = time.perf_counter()
        if now - last >= _SECONDS_BETWEEN_LINES:
            last = now
            speed = done / (now - start)
            left = f"{(total - done) / speed / 60:.0f} min left"
            log.info("%s: %d of %d tracks, %.1f tracks/s, %s", name, done, total, speed, left)

    yield advance
