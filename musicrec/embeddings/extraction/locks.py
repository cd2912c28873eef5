"""Locks that keep two processes off one embedding or shard.

They are files beside the embedding, released by the system when a process ends, even if it is killed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from musicrec.files import exclusive

# Seconds to wait for a lock: another process may hold it for a moment only to see whether it is free.
_PROBE_SECONDS = 2.0


class Locks:
    """The locks of one embedding.

    A process that works on everything holds "all" and checks that no shard is held; a shard holds its own lock and
    checks that "all" is not held. Of two processes that start at the same time, at least one sees the other.
    """

    def __init__(self, path: Path):
        self._path = path

    @contextmanager
    def working(self, shard: int | None, num_shards: int) -> Iterator[None]:
        """Holds the right to work on a shard, or on everything (None).

        Args:
            shard: number of the shard.
            num_shards: number of shards that other processes may be working on.

        Raises:
            MusicrecError: another process is doing the same work.
        """
        with self._hold(shard):
            for other in [None] if shard is not None else range(num_shards):
                with self._hold(other):
                    pass
            yield

    def refuse_other_shards(self, shard: int | None, num_shards: int) -> None:
        """Raises MusicrecError if a process is working on another shard."""
        for other in range(num_shards):
            if other != shard:
                with self._hold(other):
                    pass

    def merging(self) -> AbstractContextManager[None]:
        """Holds the right to list, merge and delete parts; waits for it."""
        return exclusive(self._file("merge"))

    def _file(self, which: str) -> Path:
        return self._path.with_name(f".{self._path.stem}.{which}.lock")

    def _hold(self, shard: int | None) -> AbstractContextManager[None]:
        doing = "extracts it" if shard is None else f"extracts shard {shard} of it"
        return exclusive(
            self._file("all" if shard is None else f"shard-{shard}"),
            patience=_PROBE_SECONDS,
            refusal=f"{self._path}: another process {doing} right now; wait for it, or stop it and start again",
        )
