"""From the files of tracks to batches of waves for the model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from musicrec.audio import resample
from musicrec.audio.ahead import decode_ahead
from musicrec.audio.decode import AudioError
from musicrec.embeddings.base import AudioEmbedding
from musicrec.embeddings.extraction.inference import Batch
from musicrec.embeddings.extraction.parts import Result
from musicrec.errors import MusicrecError
from musicrec.system import usable_cpus
from musicrec.workspace import TrackIndex

# Peak below which a clip counts as silent: -80 dB of full scale, three steps of 16-bit audio.
SILENCE = 1e-4
# Samples held back at most in search of a batch of equal length, 128 MB.
_HELD_SAMPLES = 1 << 25


class Clips:
    """The waves of some tracks, decoded ahead in other processes; what fails on the way is noted in a `Result`."""

    def __init__(
        self,
        embedding: AudioEmbedding,
        tracks: TrackIndex,
        files: dict[str, Path],
        rows: list[int],
        workers: int,
        resampler: str,
        device: str,
    ):
        """
        Args:
            embedding: whose sample rate, `max_seconds` and `prepare` are used.
            tracks: names the rows.
            files: track id -> audio file.
            rows: in the order in which `batches` will be asked for them.
            workers: processes that decode ahead.
            resampler: "soxr", in those processes, or "torchaudio", on the device.
            device: torch device for torchaudio.
        """
        self._embedding = embedding
        self._tracks = tracks
        self._files = files
        self._resample = resample.on_device(device) if resampler == "torchaudio" else resample.resample
        rate = None if resampler == "torchaudio" else embedding.sample_rate
        paths = [files[tracks.ids[row]] for row in rows if tracks.ids[row] in files]
        self._decoded = decode_ahead(paths, rate, embedding.max_seconds, min(workers, len(paths)))

    def batches(self, rows: list[int], batch_size: int, result: Result) -> Iterator[Batch]:
        """Yields the waves of `rows` in batches of equal length (any length if the model takes that).

        A batch never goes beyond these rows, so that it is the same whenever they are asked for again.
        """
        held: dict[int, Batch] = {}
        for row in rows:
            wave = self._wave(row, result)
            if wave is None:
                continue
            key = len(wave) if self._embedding.same_length else 0
            held.setdefault(key, []).append((row, wave))
            if len(held[key]) == batch_size:
                yield held.pop(key)
            elif sum(len(wave) for batch in held.values() for _, wave in batch) > _HELD_SAMPLES:
                yield from held.values()
                held.clear()
        yield from held.values()

    def _wave(self, row: int, result: Result) -> np.ndarray | None:
        """Returns the wave of a track as the model wants it; None, with the reason in `result`, if there is none."""
        track = self._tracks.ids[row]
        file = self._files.get(track)
        if file is None:
            result.fail(row, track, "no audio file", None)
            return None
        begin = time.perf_counter()
        audio = next(self._decoded)
        result.seconds["waiting"] += time.perf_counter() - begin
        if isinstance(audio, AudioError):
            result.fail(row, track, str(audio), signature(file))
            return None
        begin = time.perf_counter()
        wave = self._resample(audio.wave, audio.rate, self._embedding.sample_rate)
        result.seconds["resample"] += audio.resample_seconds + time.perf_counter() - begin
        result.seconds["decode"] += audio.decode_seconds
        try:
            wave = self._embedding.prepare(wave)
        except AudioError as error:
            result.fail(row, track, f"{error}; {audio.note}" if audio.note else str(error), signature(file))
            return None
        if audio.note:
            result.damaged[track] = audio.note
        if np.abs(wave).max() < SILENCE:
            result.silent.append(track)
        result.audio_seconds += len(wave) / self._embedding.sample_rate
        return wave


def signature(file: Path | None) -> list[int] | None:
    """Returns what changes when a file is replaced: size and time of change; None if there is none."""
    try:
        return None if file is None else [file.stat().st_size, file.stat().st_mtime_ns]
    except OSError:
        return None


def decoding_processes(num_workers: int | str | None, device: str) -> int:
    """Returns the number of `extract.num_workers`: by default one core is left to the model."""
    if num_workers in (None, "auto"):
        cores = usable_cpus()
        return max(1, min(cores - 1, 4 if device == "cpu" else 16))
    try:
        workers = int(str(num_workers))
    except ValueError:
        workers = -1
    if workers < 0:
        raise MusicrecError(f"extract.num_workers={num_workers} must be auto or a number from 0")
    return workers
