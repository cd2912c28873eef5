"""Decodes the files of tracks ahead of the model and groups the clips into batches."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from musicrec.audio import resample
from musicrec.audio.ahead import decode_ahead
from musicrec.audio.decode import Audio, AudioError
from musicrec.embeddings.base import AudioEmbedding
from musicrec.embeddings.extraction.results import DecodedClip, Failed, signature
from musicrec.errors import demand
from musicrec.system import usable_cpus
from musicrec.workspace import TrackIndex

# Peak below which a clip counts as silent: -80 dB of full scale, three steps of 16-bit audio.
SILENCE = 1e-4
# At most this many samples are held back in search of a batch of equal length, 128 MB.
_HELD_SAMPLES = 1 << 25
_MOST_WORKERS = 16


class Decoder:
    """Decodes files in other processes and prepares the waves for a model."""

    def __init__(self, embedding: AudioEmbedding, workers: int, resampler: str, device: str):
        """Takes what every clip has in common.

        Args:
            embedding: whose sample rate, maximum length and `prepare` are used.
            workers: processes that decode ahead.
            resampler: "soxr", in those processes, or "torchaudio", on the device.
            device: torch device for torchaudio.
        """
        self._embedding = embedding
        self._workers = workers
        self._resample = resample.on_device(device) if resampler == "torchaudio" else resample.resample
        self._decoded_rate = None if resampler == "torchaudio" else embedding.sample_rate

    def batches(
        self, tracks: TrackIndex, files: Mapping[str, Path], chunks: Sequence[Sequence[int]], batch_size: int
    ) -> Generator[list[DecodedClip] | Failed, None, None]:
        """Yields batches of clips of equal length (of any length if the model accepts that), and failures.

        A batch stays within its chunk, so that it is the same whenever the chunk is computed again.

        Args:
            tracks: names the rows.
            files: track id -> audio file.
            chunks: rows, chunk by chunk.
            batch_size: clips per batch.
        """
        known = [files.get(tracks.ids[row]) for chunk in chunks for row in chunk]
        paths = [file for file in known if file is not None]
        max_seconds = self._embedding.clip.max_seconds
        with closing(decode_ahead(paths, self._decoded_rate, max_seconds, min(self._workers, len(paths)))) as decoded:
            for chunk in chunks:
                yield from self._batches(
                    (self._clip(row, files.get(tracks.ids[row]), decoded) for row in chunk), batch_size
                )

    def _batches(self, clips: Iterator[DecodedClip | Failed], batch_size: int) -> Iterator[list[DecodedClip] | Failed]:
        held: dict[int, list[DecodedClip]] = {}
        for clip in clips:
            if isinstance(clip, Failed):
                yield clip
                continue
            key = len(clip.wave) if self._embedding.same_length else 0
            held.setdefault(key, []).append(clip)
            if len(held[key]) == batch_size:
                yield held.pop(key)
            elif sum(len(waiting.wave) for batch in held.values() for waiting in batch) > _HELD_SAMPLES:
                yield from held.values()
                held.clear()
        yield from held.values()

    def _clip(self, row: int, file: Path | None, decoded: Iterator[Audio | AudioError]) -> DecodedClip | Failed:
        """Returns the wave of a track as the model expects it."""
        if file is None:
            return Failed(row, "no audio file", None)
        start = time.perf_counter()
        audio = next(decoded)
        seconds = {"waiting": time.perf_counter() - start}
        if isinstance(audio, AudioError):
            return Failed(row, str(audio), signature(file), seconds)
        start = time.perf_counter()
        wave = self._resample(audio.wave, audio.rate, self._embedding.sample_rate)
        seconds["resample"] = audio.resample_seconds + time.perf_counter() - start
        seconds["decode"] = audio.decode_seconds
        try:
            wave = self._embedding.prepare(wave)
        except AudioError as error:
            reason = f"{error}; {audio.note}" if audio.note else str(error)
            return Failed(row, reason, signature(file), seconds)
        silent = bool(np.abs(wave).max() < SILENCE)
        length = len(wave) / self._embedding.sample_rate
        return DecodedClip(row, wave, file, silent, audio.note, length, seconds)


def decoding_processes(num_workers: int | str | None, device: str) -> int:
    """Returns the number of processes for `extract.num_workers`.

    "auto" is enough to keep up with the fastest model: on a CPU MusicNN, whose network takes as long as decoding does,
    so half the cores; for a GPU all cores but one.
    """
    if num_workers in (None, "auto"):
        cores = usable_cpus()
        return max(1, min((cores + 1) // 2 if device == "cpu" else cores - 1, _MOST_WORKERS))
    try:
        workers = int(str(num_workers))
    except ValueError:
        workers = -1
    demand("extract.num_workers", num_workers, workers >= 0, "auto or a number from 0")
    return workers
