"""Runs a model over clips: on which device, in which threads, and what happens to a clip it fails on."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from musicrec.errors import MusicrecError

if TYPE_CHECKING:
    from musicrec.embeddings.base import AudioEmbedding

# Clips by row.
Batch = list[tuple[int, np.ndarray]]
# Row -> vector, or the reason why there is none; and the seconds it took.
Outcome = tuple[dict[int, np.ndarray | str], float]


def torch_device(device: str) -> str:
    """Returns the torch device of `extract.device`; "auto" is CUDA where there is any.

    Raises:
        MusicrecError: unknown, or not there.
    """
    import torch

    cuda = torch.cuda.is_available()
    if device == "auto":
        return "cuda" if cuda else "cpu"
    if device != "cpu" and not device.startswith("cuda"):
        raise MusicrecError(f"extract.device={device} is unknown; allowed: auto, cpu, cuda, cuda:N")
    if device.startswith("cuda") and not cuda:
        raise MusicrecError(f"extract.device={device}: torch finds no CUDA GPU here; use extract.device=auto or cpu")
    return device


class ModelThreads:
    """Threads that run a model, with a bounded queue before them; outcomes are taken in the order of sending."""

    def __init__(self, embedding: AudioEmbedding, executor: ThreadPoolExecutor, limit: int):
        self._embedding = embedding
        self._executor = executor
        self._limit = limit
        self._waiting: deque[Future[Outcome]] = deque()

    def send(self, batch: Batch) -> Iterator[Outcome]:
        """Sends off a batch and yields what had to be taken to make room for it."""
        while len(self._waiting) >= self._limit:
            yield self._waiting.popleft().result()
        self._waiting.append(self._executor.submit(embed, self._embedding, batch))

    def drain(self) -> Iterator[Outcome]:
        """Yields the outcomes of everything that was sent off."""
        while self._waiting:
            yield self._waiting.popleft().result()


@contextmanager
def model_threads(embedding: AudioEmbedding, device: str) -> Iterator[ModelThreads]:
    """Yields what runs the model: on a CPU a clip on each core, on a GPU one batch after the other.

    A clip on one core beats all cores on one clip: there is no waiting for each other between operations, which costs
    a multiple of the work itself when the machine is busy, and the numbers do not depend on the number of cores.
    """
    import torch

    cores = torch.get_num_threads()
    threads = cores if device == "cpu" else 1
    torch.set_num_threads(1 if device == "cpu" else cores)
    try:
        with ThreadPoolExecutor(threads, thread_name_prefix="model") as executor:
            try:
                yield ModelThreads(embedding, executor, limit=2 * threads)
            finally:
                executor.shutdown(cancel_futures=True)
    finally:
        torch.set_num_threads(cores)


def embed(embedding: AudioEmbedding, batch: Batch) -> Outcome:
    """Returns the outcome of a batch; when the model fails on it, clip by clip.

    Raises:
        RuntimeError: the device is lost, so that going on would fail all other clips.
    """
    begin = time.perf_counter()
    rows: dict[int, np.ndarray | str] = {}
    try:
        values = embedding.embed([wave for _, wave in batch])
    except (RuntimeError, MemoryError) as error:
        if _is_fatal(error):
            raise
        if len(batch) > 1:  # too much at once, or one bad clip: the others need not suffer
            for single in batch:
                rows |= embed(embedding, [single])[0]
        else:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            rows[batch[0][0]] = f"the model failed: {reason}"
    else:
        for (row, _), vector in zip(batch, values, strict=True):
            finite = np.isfinite(vector).all()
            rows[row] = vector.astype(np.float32) if finite else "the model gave NaN or infinite values"
    return rows, time.perf_counter() - begin


def _is_fatal(error: Exception) -> bool:
    """Returns whether an error concerns the device, not the clip: going on would fail every other track."""
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        return False
    return isinstance(error, getattr(torch, "AcceleratorError", ())) or "CUDA error" in str(error)
