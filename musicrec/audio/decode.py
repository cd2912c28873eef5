"""Decodes a file to a mono float32 waveform at the model's sample rate; unreadable files give `AudioError`."""

from __future__ import annotations

import shutil
import stat
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from musicrec.audio.chunks import Fit, has_chunks
from musicrec.audio.length import fit_of_length, length_is_estimated
from musicrec.audio.readers import UNDECODABLE, Wanted, read_ffmpeg, read_soundfile
from musicrec.audio.waveform import AudioError, Waveform

# Containers libsndfile never reads, by their first bytes (offset, bytes): MP4/M4A/MOV, ASF/WMA, Matroska/WebM, AVI.
_FFMPEG_MAGIC = ((4, b"ftyp"), (0, b"\x30\x26\xb2\x75"), (0, b"\x1a\x45\xdf\xa3"), (8, b"AVI "))
_ADTS_SUFFIXES = {".aac"}  # has no magic number of its own: its sync word is that of MPEG audio

# Two decoders may differ by a damaged frame; ffmpeg's result counts then.
_SAME_SECONDS = 0.1
_LONGER = "longer than its header says"


@dataclass(frozen=True)
class Audio:
    """A decoded file.

    Attributes:
        wave: (samples,) float32, mono. Not clipped, normalised or trimmed.
        rate: samples per second of `wave`.
        note: what was wrong although there is a waveform ("truncated: ..."), else None.
        decode_seconds: time spent in decoding.
        resample_seconds: time spent in resampling.
    """

    wave: np.ndarray
    rate: int
    note: str | None = None
    decode_seconds: float = 0.0
    resample_seconds: float = 0.0


def load_audio(path: str | Path, sample_rate: int, max_seconds: float | None = None) -> np.ndarray:
    """Returns the waveform of an audio file, (samples,) float32, mono, at `sample_rate` Hz.

    Channels are averaged first; then the signal is resampled by soxr, quality HQ, to exactly
    ceil(n * sample_rate / file rate) samples, which reproduces librosa >= 0.10 bit by bit. Both are done while it is
    decoded.

    Args:
        path: WAV, FLAC, OGG, MP3, OPUS and whatever else libsndfile reads; other containers (M4A, WMA, video) need the
            ffmpeg program on the PATH.
        sample_rate: Hz.
        max_seconds: only this much from the start is decoded; None = all, but at most an hour.

    Raises:
        AudioError: not audio, empty, or with samples that are not finite; the message is a short reason.
    """
    return decode(path, sample_rate, max_seconds).wave


def decode(path: str | Path, sample_rate: int | None, max_seconds: float | None = None) -> Audio:
    """Returns what `load_audio` does together with a note on damage and the time it took.

    Without a `sample_rate` the wave stays at the file's own rate.
    """
    start = time.perf_counter()
    wave, note = _decode(Path(path), Wanted(sample_rate, max_seconds))
    if not wave.frames:
        raise AudioError("empty: no audio samples" if note is None else note)
    samples = wave.result()
    if max_seconds is not None and sample_rate:
        samples = samples[: round(max_seconds * sample_rate)]
    seconds = time.perf_counter() - start
    return Audio(
        samples, wave.sample_rate, wave.too_long or note, seconds - wave.resample_seconds, wave.resample_seconds
    )


def _decode(path: Path, wanted: Wanted) -> tuple[Waveform, str | None]:
    """Returns the signal and a note on damage; tries libsndfile, then ffmpeg."""
    try:
        status = path.stat()
        if stat.S_ISFIFO(status.st_mode) or stat.S_ISSOCK(status.st_mode):
            raise AudioError("not a file: a pipe or socket")  # opening one would wait forever
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise AudioError(f"cannot be read: {error.strerror}") from None
    if not head:
        raise AudioError("empty file (0 bytes)")
    foreign = path.suffix.lower() in _ADTS_SUFFIXES or any(head[at:].startswith(magic) for at, magic in _FFMPEG_MAGIC)
    ffmpeg = shutil.which("ffmpeg")
    if not foreign:
        try:
            wave, note = read_soundfile(path, wanted)
        except AudioError:
            raise
        except (soundfile.LibsndfileError, RuntimeError, OSError):
            pass  # its reasons mislead: a text file named .mp3 "does not exist"
        else:
            return _checked(path, head, wanted, wave, note, ffmpeg)
    if ffmpeg:
        wave, note = read_ffmpeg(ffmpeg, path, wanted)
        if has_chunks(head) and not wave.is_complete and fit_of_length(path, head, wave.frames, wave.rate) == "longer":
            note = note or f"{_LONGER}: {wave.seconds:.1f} s decoded"
        return wave, note
    if foreign:
        raise AudioError(f"{path.suffix or 'this container'} needs the ffmpeg program, which is not on the PATH")
    raise AudioError(UNDECODABLE)


def _checked(
    path: Path, head: bytes, wanted: Wanted, wave: Waveform, note: str | None, ffmpeg: str | None
) -> tuple[Waveform, str | None]:
    """Returns what libsndfile decoded, or what ffmpeg decodes if that is more; what is missing is noted."""
    # What lacks a part that its header promises is damaged in any case.
    promised = note is not None and " of " in note and not length_is_estimated(path, head)
    cut = promised or (note is not None and note.endswith("missing") and head[:4] in (b"RIFF", b"FORM"))
    fit: Fit = "fits" if wave.is_complete or cut else fit_of_length(path, head, wave.frames, wave.rate)
    if ffmpeg and (fit != "fits" or (note and not cut)):
        # libsndfile believes headers, loses the last block of streams of unknown length, and (1.2.2) truncates
        # intact Opus streams whose header says less than 48 kHz.
        try:
            other, other_note = read_ffmpeg(ffmpeg, path, wanted)
        except AudioError:
            pass
        else:
            if fit == "fits" or not has_chunks(head):
                accepted = other.seconds > wave.seconds - _SAME_SECONDS or other_note is None
            else:
                accepted = other.seconds > wave.seconds + _SAME_SECONDS or (
                    fit == "odd" and other.frames == wave.frames
                )
            if accepted:
                return other, other_note
    if fit == "longer" and wave.frames:
        note = f"{_LONGER}: {wave.seconds:.1f} s decoded" + (
            "" if ffmpeg else "; the ffmpeg program, which is not on the PATH, may read more"
        )
    elif fit == "odd" and note is None:
        note = f"its header says another length: {wave.seconds:.1f} s decoded"
    return wave, note
