"""Progress of long work: a bar in a terminal, a line now and then in a log file."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 30.0


class Advance(Protocol):
    """The function that `progress` yields."""

    def __call__(self, count: int, note: str | None = None) -> None:
        """Reports that `count` more units are done; `note` is shown beside the numbers until the next one."""


@contextmanager
def progress(
    description: str, total: int, unit: str = "tracks", done: int = 0, transient: bool = False
) -> Iterator[Advance]:
    """Yields the function to call with the number of units just done.

    Args:
        description: what is being done; the beginning of the bar or line.
        total: number of units.
        unit: plural noun.
        done: units that were done before, by an earlier attempt; they do not count as speed.
        transient: whether the bar disappears at the end.
    """
    with (
        _bar(description, total, unit, done, transient)
        if sys.stderr.isatty()
        else _lines(description, total, unit, done) as advance
    ):
        yield advance


@contextmanager
def _bar(description: str, total: int, unit: str, done: int, transient: bool) -> Iterator[Advance]:
    speed, left = TextColumn(f"{{task.fields[speed]:.1f}} {unit}/s"), TimeRemainingColumn()
    text, note_text = TextColumn("{task.description}"), TextColumn("{task.fields[note]}")
    columns = (text, BarColumn(), MofNCompleteColumn(), speed, left, note_text)
    start = time.perf_counter()
    first = done
    with Progress(*columns, console=Console(stderr=True), transient=transient) as bar:
        task = bar.add_task(description, total=total, completed=done, speed=0.0, note="")

        def advance(count: int, note: str | None = None) -> None:
            nonlocal done
            done += count
            bar.update(task, completed=done, speed=(done - first) / (time.perf_counter() - start))
            if note is not None:
                bar.update(task, note=note)

        yield advance


@contextmanager
def _lines(description: str, total: int, unit: str, done: int) -> Iterator[Advance]:
    start = last = time.perf_counter()
    first, latest = done, ""

    def advance(count: int, note: str | None = None) -> None:
        nonlocal done, last, latest
        done += count
        latest = latest if note is None else f", {note}"
        now = time.perf_counter()
        if now - last >= _SECONDS_BETWEEN_LINES and done > first:
            last = now
            speed = (done - first) / (now - start)
            left = f"{(total - done) / speed / 60:.0f} min left"
            log.info("%s: %d of %d %s, %.1f %s/s, %s%s", description, done, total, unit, speed, unit, left, latest)

    yield advance
