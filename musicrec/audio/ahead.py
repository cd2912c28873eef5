"""Decodes files in worker processes ahead of their use, in order and with bounded memory."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from musicrec.audio.decode import Audio, AudioError, decode

# Files that a worker is ahead by, enough to even out long and short tracks; and samples above which no further file is
# started, 256 MB, so that hour-long files do not add up.
_AHEAD = 2
_AHEAD_SAMPLES = 1 << 26


def decode_ahead(
    paths: Iterable[Path], sample_rate: int | None, max_seconds: float | None, workers: int
) -> Generator[Audio | AudioError, None, None]:
    """Yields what `decode` gives or raises for each path, in the order of `paths`.

    If a file kills its worker (a crash of the decoder), its result is an `AudioError`, and the worker is replaced.

    Args:
        paths: read only a little faster than the results are taken.
        sample_rate: Hz; None = each file's own.
        max_seconds: what to decode of each file; None = all.
        workers: processes; 0 decodes in this one.
    """
    if workers == 0:
        for path in paths:
            try:
                yield decode(path, sample_rate, max_seconds)
            except AudioError as error:
                yield error
        return
    pool = _Pool()
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as threads:
        waiting: deque[Future[Audio | AudioError]] = deque()
        try:
            for path in paths:
                waiting.append(threads.submit(pool.decode, path, sample_rate, max_seconds))
                while waiting and (len(waiting) > _AHEAD * workers or _samples(waiting) > _AHEAD_SAMPLES):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            threads.shutdown(cancel_futures=True)
            pool.close()


def _samples(waiting: Iterable[Future[Audio | AudioError]]) -> int:
    """Returns how many samples are decoded and not yet taken."""
    done = (future.result() for future in waiting if future.done())
    return sum(len(audio.wave) for audio in done if isinstance(audio, Audio))


class _Pool:
    """One worker process for each thread that asks, all ended by `close`."""

    def __init__(self) -> None:
        self._own = threading.local()
        self._all: list[_Worker] = []

    def decode(self, path: Path, sample_rate: int | None, max_seconds: float | None) -> Audio | AudioError:
        worker: _Worker | None = getattr(self._own, "worker", None)
        if worker is None:
            worker = self._own.worker = _Worker()
            self._all.append(worker)
        answer = worker.ask(path, sample_rate, max_seconds)
        if answer is None:
            del self._own.worker
            self._all.remove(worker)
            return AudioError(f"crashed the decoder ({worker.close()})")
        return answer

    def close(self) -> None:
        for worker in self._all:
            worker.close()


class _Worker:
    """This process's side of `musicrec.audio.worker`."""

    def __init__(self) -> None:
        # In its own session, so that Ctrl-C reaches only the parent. What decoders print to stderr is dropped; the
        # reasons come back as answers.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "musicrec.audio.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            start_new_session=True,
        )

    def ask(self, path: Path, sample_rate: int | None, max_seconds: float | None) -> Audio | AudioError | None:
        """Returns the answer, or None if the worker crashed on this file."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        request = {"path": str(Path(path).absolute()), "sample_rate": sample_rate, "max_seconds": max_seconds}
        try:
            stdin.write(json.dumps(request).encode() + b"\n")
            stdin.flush()
        except OSError:
            return None
        line = stdout.readline()
        if not line.endswith(b"\n"):
            return None
        answer = json.loads(line)
        if "error" in answer:
            return AudioError(answer["error"])
        content = bytearray(4 * answer.pop("samples"))
        view = memoryview(content)
        filled = 0
        while filled < len(content):
            count = stdout.readinto(view[filled:])  # type: ignore[attr-defined]
            if not count:
                return None
            filled += count
        return Audio(np.frombuffer(content, dtype="<f4"), **answer)

    def close(self) -> str:
        """Ends the process; returns how it ended."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(OSError):  # already dead
            self._process.stdin.close()
        self._process.stdout.close()
        status = self._process.wait()
        return f"signal {-status}" if status < 0 else f"exit status {status}"
