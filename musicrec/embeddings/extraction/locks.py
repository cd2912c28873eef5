"""Who may work on an embedding: one process for everything, or one a shard.

Locks are files beside the embedding, released by the system when a process dies, however it dies.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from musicrec.errors import MusicrecError

# Seconds to wait for a lock: another process may hold it for a moment only to see whether it is free.
_PROBE_SECONDS = 2.0


class Locks:
    """The locks of one embedding.

    A process for everything holds "all" and makes sure that no shard is held; a shard holds its own and makes sure that
    "all" is not held. Of two that start at once at least one sees the other.
    """

    def __init__(self, path: Path):
        self._path = path

    @contextmanager
    def working(self, shard: int | None, num_shards: int) -> Iterator[None]:
        """Holds the right to work on a shard, or on everything (None).

        Args:
            shard: which part.
            num_shards: how many parts there may be at work.

        Raises:
            MusicrecError: another process is at the same work.
        """
        with self._hold(shard):
            for other in [None] if shard is not None else range(num_shards):
                with self._hold(other):
                    pass
            yield

    def refuse_other_shards(self, shard: int | None, num_shards: int) -> None:
        """Raises MusicrecError if another shard is at work."""
        for other in range(num_shards):
            if other != shard:
                with self._hold(other):
                    pass

    def merging(self) -> AbstractContextManager[object]:
        """Holds the right to list, merge and delete parts; waits for it."""
        return FileLock(self._file("merge"))

    def _file(self, which: str) -> Path:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return self._path.with_name(f".{self._path.stem}.{which}.lock")

    @contextmanager
    def _hold(self, shard: int | None) -> Iterator[None]:
        lock = FileLock(self._file("all" if shard is None else f"shard-{shard}"))
        try:
            lock.acquire(timeout=_PROBE_SECONDS)
        except Timeout:
            doing = "extracts it" if shard is None else f"extracts shard {shard} of it"
            raise MusicrecError(
                f"{self._path}: another process {doing} right now; wait for it, or end it and start again"
            ) from None
        try:
            yield
        finally:
            lock.release()
