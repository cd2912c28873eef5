"""Runs a model over batches of clips: on which device, in which threads, and what happens to a clip it fails on."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch

from musicrec.devices import warn_of_unused_gpu
from musicrec.embeddings.base import AudioEmbedding
from musicrec.embeddings.extraction.results import DecodedClip, Embedded, Failed, Outcome, signature
from musicrec.errors import MusicrecError, first_line

log = logging.getLogger(__name__)

# Units of x86 CPUs for matrix products in half precision. AVX512-BF16 and -FP16 alone were slower than fp32
# (benchmarks/RESULTS.md).
_UNITS = {"bf16": "amx_bf16", "fp16": "amx_fp16"}


def torch_device(device: str) -> str:
    """Returns the torch device of `extract.device`; "auto" is CUDA if available.

    Raises:
        MusicrecError: unknown or not available.
    """
    cuda = torch.cuda.is_available()
    if device == "auto":
        if not cuda:
            warn_of_unused_gpu()
        return "cuda" if cuda else "cpu"
    if device != "cpu" and not device.startswith("cuda"):
        raise MusicrecError(f"extract.device={device} is unknown; allowed: auto, cpu, cuda, cuda:N")
    if device.startswith("cuda") and not cuda:
        raise MusicrecError(f"extract.device={device}: torch finds no CUDA GPU here; use extract.device=auto or cpu")
    return device


def warn_of_slow_precision(device: str, precision: str) -> None:
    """Warns if half precision takes longer than fp32, because the CPU has no units for it."""
    if device != "cpu" or precision not in _UNITS:
        return
    found: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # later than torch 2.11
    if found.get("architecture") == "x86_64" and not found.get(_UNITS[precision]):
        unit = _UNITS[precision].upper().replace("_", "-")
        log.warning("extract.precision=%s takes longer than fp32 on this CPU, which has no %s", precision, unit)


def run_model(
    embedding: AudioEmbedding, batches: Iterable[list[DecodedClip] | Failed], device: str
) -> Generator[Outcome, None, None]:
    """Yields the outcome of every clip: on a CPU one clip per core at a time, on a GPU one batch after the other.

    A clip on one core beats all cores on one clip: the cores need not wait for each other between operations, which
    costs a multiple of the work itself on a busy machine, and the numbers do not depend on the number of cores.

    Args:
        embedding: loaded.
        batches: read only a little ahead of the model; failures are passed on.
        device: torch device of the model.
    """
    with _executor(device) as (executor, limit):
        waiting: deque[Future[list[Outcome]]] = deque()
        for batch in batches:
            if isinstance(batch, Failed):
                yield batch
                continue
            while waiting and (len(waiting) >= limit or waiting[0].done()):
                yield from waiting.popleft().result()
            waiting.append(executor.submit(embed, embedding, batch))
        while waiting:
            yield from waiting.popleft().result()


@contextmanager
def _executor(device: str) -> Iterator[tuple[ThreadPoolExecutor, int]]:
    """Yields the threads that run the model and the number of batches to have in them at most."""
    cores = torch.get_num_threads()
    threads = cores if device == "cpu" else 1
    torch.set_num_threads(1 if device == "cpu" else cores)
    try:
        with ThreadPoolExecutor(threads, thread_name_prefix="model") as executor:
            try:
                yield executor, 2 * threads
            finally:
                executor.shutdown(cancel_futures=True)
    finally:
        torch.set_num_threads(cores)


def embed(embedding: AudioEmbedding, batch: list[DecodedClip]) -> list[Outcome]:
    """Returns the outcomes of a batch; if the model fails on it, the clips are tried one by one.

    Raises:
        RuntimeError: the device is lost, so every other clip would fail too.
    """
    start = time.perf_counter()
    try:
        vectors = embedding.embed([clip.wave for clip in batch])
    except (RuntimeError, MemoryError) as error:
        if _is_fatal(error):
            raise
        if len(batch) > 1:  # out of memory, or one bad clip: the others should not fail with it
            return [outcome for clip in batch for outcome in embed(embedding, [clip])]
        seconds = {**batch[0].seconds, "model": time.perf_counter() - start}
        return [_failed(batch[0], f"the model failed: {first_line(error)}", seconds)]
    spent = (time.perf_counter() - start) / len(batch)
    return [
        _outcome(clip, vector, {**clip.seconds, "model": spent}) for clip, vector in zip(batch, vectors, strict=True)
    ]


def _outcome(clip: DecodedClip, vector: np.ndarray, seconds: dict[str, float]) -> Outcome:
    if not np.isfinite(vector).all():
        return _failed(clip, "the model gave NaN or infinite values", seconds)
    return Embedded(clip.row, vector.astype(np.float32), clip.silent, clip.damaged, clip.audio_seconds, seconds)


def _failed(clip: DecodedClip, reason: str, seconds: dict[str, float]) -> Failed:
    return Failed(clip.row, reason, signature(clip.file), seconds)


def _is_fatal(error: Exception) -> bool:
    """Returns whether an error concerns the device rather than the clip, so that every other clip would fail too."""
    if isinstance(error, torch.OutOfMemoryError):
        return False
    return isinstance(error, getattr(torch, "AcceleratorError", ())) or "CUDA error" in str(error)
