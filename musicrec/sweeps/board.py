"""Board: how far a sweep is, rewritten in place on a terminal, a line a minute in a log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from musicrec.sweeps.queue import Queued
from musicrec.sweeps.record import SweepRecord
from musicrec.sweeps.states import JobState, job_states, summary

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 60.0
_SECONDS_BETWEEN_LOOKS = 2.0


class Board:
    """Shows how far a sweep is, whenever `tick` is called and it is time.

    Args:
        sweep: its record; replaced when SLURM jobs are added.
        queue: returns what squeue knows of them by now.
    """

    def __init__(self, sweep: SweepRecord, queue: Callable[[], Mapping[str, Queued] | None]):
        self.sweep = sweep
        self._queue = queue
        self._live: Live | None = None
        self._looked = self._said = float("-inf")
        if sys.stderr.isatty():
            self._live = Live(Text(""), console=Console(stderr=True), auto_refresh=False, transient=True)

    def __enter__(self) -> Board:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def tick(self) -> list[JobState] | None:
        """Shows the state if it is time; returns it if it was looked at."""
        now = time.monotonic()
        if now - self._looked < _SECONDS_BETWEEN_LOOKS:
            return None
        self._looked = now
        states = job_states(self.sweep, self._queue())
        if self._live is not None:
            self._live.update(Text(summary(self.sweep, states)), refresh=True)
        elif now - self._said >= SECONDS_BETWEEN_LINES:
            self._said = now
            log.info("%s", summary(self.sweep, states))
        return states
