"""Lease: the right of one process to train a run and to write its files, also on file systems that nodes share.

Two things guard a run. `flock` on `runs/{run}/.lock` decides between processes wherever the file system passes it on;
the system releases it when a process ends. Because not every shared file system does so between nodes, the owner also
stands in run.json with a heartbeat: who finds one that is not known to be dead waits until it has been silent for
`SILENCE` seconds by his own clock. An owner that was silent for so long (a stopped process, a frozen node) finds at its
next beat that the run belongs to another one, and writes nothing more.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from musicrec.errors import MusicrecError
from musicrec.training.owner import Owner
from musicrec.training.run_record import RunRecord

log = logging.getLogger(__name__)

BEAT = 10.0  # seconds between two heartbeats
SILENCE = 60.0  # seconds without one after which an owner counts as dead
_POLL = 1.0
_SECONDS_BETWEEN_LINES = 30.0
# Seconds in which two processes that take over the same run at once would see each other.
_SETTLE = 2.0
# What flock says on file systems that have none.
_NO_FLOCK = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}


class TakenOver(MusicrecError):
    """The run belongs to another process now."""


class Lease:
    """The claim of this process to a run, renewed by a thread until `end`.

    Args:
        name: name of the run.
        path: its run.json.
        contested: whether a process on another machine may claim the run in the same moment.
    """

    def __init__(self, name: str, path: Path, contested: bool = False):
        self.name = name
        self.progress = ""
        self._path = path
        self._contested = contested
        self._owner = Owner.this_process()
        self._record: RunRecord | None = None
        self._taken_by: Owner | None = None
        self._last_beat = time.monotonic()
        self._writing = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"heartbeat of {name}", daemon=True)

    def write(self, record: RunRecord) -> None:
        """Writes run.json with this process as the owner; a finished run has none.

        Raises:
            TakenOver: if the run belongs to another process.
        """
        if self._record is not None:
            self.check()
        with self._writing:
            owned = record.status == "started"
            self._record = replace(record, owner=self._owner.alive(self.progress).to_json() if owned else None)
            self._record.write(self._path)
        if owned and not self._thread.is_alive():
            self._thread.start()
            if self._contested:
                time.sleep(_SETTLE)
                self.check()

    def check(self) -> None:
        """Makes sure, by reading run.json, that the run still belongs to this process.

        Raises:
            TakenOver: if it does not.
        """
        self._taken_by = self._taken_by or self._other()
        self.check_flag()

    def check_flag(self) -> None:
        """Does the same from what the last heartbeat found; only after a long silence it reads the file itself."""
        if self._taken_by is None and time.monotonic() - self._last_beat > SILENCE / 2:
            self._last_beat = time.monotonic()
            self._taken_by = self._other()
        if self._taken_by is not None:
            raise TakenOver(
                f"{self.name}: this process was silent for so long that {self._taken_by} took the run over; nothing "
                "more is written here"
            )

    def _other(self) -> Owner | None:
        """Returns the owner that run.json names if it is not this process."""
        found = None if self._record is None else _owner(self._path)
        return found if found and found.token != self._owner.token else None

    def end(self) -> None:
        """Gives the run back: whoever waits for it need not wait any longer."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(BEAT)
        with self._writing, suppress(MusicrecError, OSError):
            if self._record is not None and self._record.owner is not None:
                self.check()
                replace(self._record, owner=None).write(self._path)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            with self._writing, suppress(MusicrecError, OSError):  # a full disk is reported by what needs it
                if self._record is None or self._record.owner is None:
                    return
                self.check()
                self._record = replace(self._record, owner=self._owner.alive(self.progress).to_json())
                self._record.write(self._path)
                self._last_beat = time.monotonic()


@contextmanager
def owned(name: str, folder: Path, wait: bool = True) -> Iterator[Lease]:
    """Yields the lease of a run once no other process trains it.

    Args:
        name: name of the run.
        folder: its folder; it is created.
        wait: whether to wait for another process.

    Raises:
        MusicrecError: if another process trains the run and `wait` is False.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / "run.json"
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    waiting = _Waiting(name, record, wait)
    try:
        while not _lock(descriptor):
            waiting.step(may_be_dead=False)
        # A lock that other nodes do not see is no proof; a process of this machine would still hold it.
        while waiting.step(may_be_dead=True):
            pass
        lease = Lease(name, record, waiting.took_over)
        try:
            yield lease
        finally:
            lease.end()
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Returns whether the lock was free, or the file system has none."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _NO_FLOCK
    return True


class _Waiting:
    """Watches the owner of a run, says who it is and how far, and decides when it is dead.

    Attributes:
        took_over: whether a dead owner's run is taken over.
    """

    def __init__(self, name: str, record: Path, wait: bool):
        self._name = name
        self._record = record
        self._wait = wait
        self._seen: Owner | None = None
        self._changed = time.monotonic()
        self._asked = 0.0
        self._said = 0.0
        self._dead = False
        self.took_over = False

    def step(self, may_be_dead: bool) -> bool:
        """Returns whether another process owns the run, after waiting a moment if so.

        Args:
            may_be_dead: whether its heartbeat decides; otherwise it is known to live.
        """
        owner = _owner(self._record)
        now = time.monotonic()
        if owner != self._seen:
            self._seen, self._changed = owner, now
        if may_be_dead and (owner is None or self._is_dead(owner, now)):
            return False
        who = f"{owner}" if owner else "another process"
        progress = f", {owner.progress}" if owner and owner.progress else ""
        if not self._wait:
            raise MusicrecError(
                f"{self._name} is being trained by {who}{progress}; leave wait=false out to wait for it, or stop it"
            )
        if not self._said or now - self._said >= _SECONDS_BETWEEN_LINES:
            log.info("%s is being trained by %s%s; waiting for it", self._name, who, progress)
            self._said = now
        time.sleep(_POLL)
        return True

    def _is_dead(self, owner: Owner, now: float) -> bool:
        silent = now - self._changed >= SILENCE
        if not silent and now - self._asked >= BEAT:  # squeue should not be asked every second
            self._asked, self._dead = now, owner.is_dead()
        if silent or self._dead:
            why = f"has been silent for {SILENCE:.0f} s" if silent else "has ended"
            log.info("%s: %s, which trained it, %s; taking it over", self._name, owner, why)
            self.took_over = True
        return silent or self._dead


def _owner(path: Path) -> Owner | None:
    """Returns the owner that a run.json names, None for a finished run or an unreadable file."""
    record = RunRecord.read(path)
    return Owner.from_json(record.owner) if record is not None and record.status == "started" else None
