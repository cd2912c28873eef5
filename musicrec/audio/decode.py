"""Decodes a file to a mono float32 waveform at the model's sample rate; unreadable files give `AudioError`."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import stat
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import numpy as np
import soundfile

from musicrec.audio.length import length_is_estimated, longer_than_decoded
from musicrec.audio.resample import resample
from musicrec.errors import MusicrecError

# Frames decoded at a time: bounds the memory for multi-channel files and for headers that promise too much.
_BLOCK = 1 << 18
_SMALL_BLOCK = 1 << 10
# libsndfile's number of frames if a stream does not say: the largest integer.
_UNKNOWN_LENGTH = 1 << 60
# The longest page of an Ogg stream in bytes, and the flag of its last page (RFC 3533, section 6).
_OGG_PAGE = 65_307
_OGG_END = 4

# Containers libsndfile never reads, by their first bytes (offset, bytes): MP4/M4A/MOV, ASF/WMA, Matroska/WebM, AVI.
_FFMPEG_MAGIC = ((4, b"ftyp"), (0, b"\x30\x26\xb2\x75"), (0, b"\x1a\x45\xdf\xa3"), (8, b"AVI "))
# The demuxers ffmpeg may use: audio and video files proper, no playlists, devices or scripts.
_FFMPEG_FORMATS = (
    "mov,asf,matroska,avi,flv,mpeg,mpegts,aac,mp3,ogg,flac,wav,w64,aiff,caf,au,ape,wv,tta,mpc,mpc8,amr,ac3,eac3,dts,dsf"
)
_ADTS_SUFFIXES = {".aac"}  # has no magic number of its own: its sync word is that of MPEG audio

# Two decoders may differ by a damaged frame; ffmpeg's result counts then.
_SAME_SECONDS = 0.1
# Telephones have 8 kHz, SACDs 2.8 MHz.
_LOWEST_RATE, _HIGHEST_RATE = 1_000, 6_000_000

_UNDECODABLE = "not decodable as audio"


class AudioError(MusicrecError):
    """A file that gives no waveform; the message is a short reason that does not repeat the path."""


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

    Channels are averaged first; then the whole signal is resampled by soxr, quality HQ, to exactly
    ceil(n * sample_rate / file rate) samples, which reproduces librosa >= 0.10 bit by bit.

    Args:
        path: WAV, FLAC, OGG, MP3, OPUS and whatever else libsndfile reads; other containers (M4A, WMA, video) need the
            ffmpeg program on the PATH.
        sample_rate: Hz.
        max_seconds: only this much from the start is decoded; None = all.

    Raises:
        AudioError: not audio, empty, or with samples that are not finite; the message is a short reason.
    """
    return decode(path, sample_rate, max_seconds).wave


def decode(path: str | Path, sample_rate: int | None, max_seconds: float | None = None) -> Audio:
    """Returns what `load_audio` does together with a note on damage and the time it took.

    Without a `sample_rate` the wave stays at the file's own rate.
    """
    start = time.perf_counter()
    path = Path(path)
    mono, rate, note = _decode_native(path, max_seconds)
    if not len(mono):
        raise AudioError("empty: no audio samples" if note is None else note)
    if not np.isfinite(mono).all():
        raise AudioError("has NaN or infinite samples")
    decoded = time.perf_counter()
    wave = resample(mono, rate, sample_rate or rate)
    if max_seconds is not None and sample_rate:
        wave = wave[: round(max_seconds * sample_rate)]
    return Audio(wave, sample_rate or rate, note, decoded - start, time.perf_counter() - decoded)


def _decode_native(path: Path, max_seconds: float | None) -> tuple[np.ndarray, int, str | None]:
    """Returns the mono signal at the file's own rate, that rate and a note; tries libsndfile, then ffmpeg."""
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
            mono, rate, note = _read_soundfile(path, max_seconds)
        except AudioError:
            raise
        except (soundfile.LibsndfileError, RuntimeError, OSError):
            pass  # its reasons mislead: a text file named .mp3 "does not exist"
        else:
            # What lacks a part that its header promises is damaged in any case.
            promised = note is not None and " of " in note and not length_is_estimated(path, head)
            cut = promised or (note is not None and note.endswith("missing") and head[:4] in (b"RIFF", b"FORM"))
            ended = max_seconds is None or len(mono) < int(max_seconds * rate)
            longer = ended and not cut and longer_than_decoded(path, head, len(mono), rate)
            if ffmpeg and (longer or (note and not cut)):
                # libsndfile believes headers, loses the last block of streams of unknown length, and (1.2.2) truncates
                # intact Opus streams whose header says less than 48 kHz.
                with contextlib.suppress(AudioError):
                    other = _read_ffmpeg(ffmpeg, path, max_seconds)
                    if len(other[0]) / other[1] > len(mono) / rate - _SAME_SECONDS or other[2] is None:
                        return other
            if longer and len(mono):
                note = f"longer than its header says: only {len(mono) / rate:.1f} s decoded" + (
                    "" if ffmpeg else "; the ffmpeg program, which is not on the PATH, would read the rest"
                )
            return mono, rate, note
    if ffmpeg:
        return _read_ffmpeg(ffmpeg, path, max_seconds)
    if foreign:
        raise AudioError(f"{path.suffix or 'this container'} needs the ffmpeg program, which is not on the PATH")
    raise AudioError(_UNDECODABLE)


def _read_soundfile(path: Path, max_seconds: float | None, size: int = _BLOCK) -> tuple[np.ndarray, int, str | None]:
    """Decodes by libsndfile, `size` frames at a time."""
    blocks: list[np.ndarray] = []
    frames = 0
    damaged = False
    with soundfile.SoundFile(path) as source:
        rate, promised = int(source.samplerate), int(source.frames)
        _check_rate(rate)
        wanted = math.inf if max_seconds is None else int(max_seconds * rate)
        while frames < wanted:
            try:
                block = source.read(int(min(size, wanted - frames)), dtype="float32", always_2d=True)
            except soundfile.LibsndfileError:
                damaged = True
                break
            if not len(block):
                break
            blocks.append(_mono(block))
            frames += len(block)
    if damaged and size > _SMALL_BLOCK:
        # The whole block was lost to the error; with smaller blocks, more of the music before the damage is decoded.
        return _read_soundfile(path, max_seconds, _SMALL_BLOCK)
    mono = np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.float32)
    # MP3 headers without a frame count are estimates: one percent less than promised is not damage.
    if damaged or (frames < wanted and frames < 0.99 * promised < _UNKNOWN_LENGTH):
        length = f" of {promised / rate:.1f}" if promised < _UNKNOWN_LENGTH else ""
        return mono, rate, f"truncated: {frames / rate:.1f}{length} s decoded"
    cut = _cut_off(path) if frames < wanted else None
    return mono, rate, None if cut is None else f"truncated: {frames / rate:.1f} s decoded, {cut}"


def _check_rate(rate: int) -> None:
    """Refuses sample rates that no recording has, and that resampling would make gigabytes of (AudioError)."""
    if not _LOWEST_RATE <= rate <= _HIGHEST_RATE:
        raise AudioError(
            f"its header says {rate:,} samples per second; from {_LOWEST_RATE:,} to {_HIGHEST_RATE:,} are read"
        )


def _cut_off(path: Path) -> str | None:
    """Returns the evidence that a WAV, AIFF or OGG file lacks its end, None if there is none.

    libsndfile takes their length from the bytes that are there, so it reports nothing.
    """
    with path.open("rb") as file:
        magic, length = file.read(4), file.read(4)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _OGG_PAGE))
        tail = file.read()
    order: dict[bytes, Literal["little", "big"]] = {b"RIFF": "little", b"FORM": "big"}
    if magic in order:
        promised = int.from_bytes(length, order[magic])
        missing = 8 + promised - size
        # A stream of unknown length has the largest size; careless programs are off by a few bytes.
        return f"{missing} bytes are missing" if missing > 64 and promised < 0xFFFFFF00 else None
    if magic == b"OggS":
        page = tail[tail.rfind(b"OggS") :]
        segments = page[27 : 27 + page[26]] if len(page) > 26 else b""
        whole = len(segments) > 0 and len(page) >= 27 + len(segments) + sum(segments)
        return None if whole and page[5] & _OGG_END else "the end of the stream is missing"
    return None


def _mono(block: np.ndarray) -> np.ndarray:
    """Returns the mean over channels of (frames, channels)."""
    return block[:, 0].copy() if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)


def _read_ffmpeg(ffmpeg: str, path: Path, max_seconds: float | None) -> tuple[np.ndarray, int, str | None]:
    """Decodes by the ffmpeg program, at the file's own rate and channels: mixing and resampling are done here.

    The pipe carries Sun AU, whose 24-byte header has rate and channels and may leave the length open. Where to stop is
    also decided here: ffmpeg's own limit counts from the first timestamp, which may be well before the sound.
    """
    # A file that pretends to be a playlist must not make ffmpeg open anything else.
    safe = ["-protocol_whitelist", "file", "-format_whitelist", _FFMPEG_FORMATS]
    command = [ffmpeg, "-nostdin", "-v", "error", *safe, "-i", f"file:{path}", "-map", "0:a:0"]
    command += ["-c:a", "pcm_f32be", "-f", "au", "pipe:1"]
    # Error messages go to a file: a second pipe that nobody reads meanwhile could fill up and block ffmpeg.
    with (
        tempfile.TemporaryFile() as messages,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=messages) as process,
    ):
        assert process.stdout is not None
        header = process.stdout.read(24)
        blocks = []
        rate = frames = 0
        wanted = math.inf
        if len(header) == 24:
            _, offset, _, encoding, rate, channels = struct.unpack(">4s5I", header)
            process.stdout.read(offset - 24)
            if encoding != 6 or not 0 < channels < 1024:
                process.kill()
                raise AudioError("ffmpeg gave an unexpected stream")
            if not _LOWEST_RATE <= rate <= _HIGHEST_RATE:
                process.kill()
                _check_rate(rate)
            wanted = math.inf if max_seconds is None else int(max_seconds * rate)
            for block in _float_blocks(process.stdout, channels):
                blocks.append(_mono(block))
                frames += len(block)
                if frames >= wanted:
                    process.kill()
                    break
        process.wait()
        messages.seek(0)
        message = messages.read().decode(errors="replace").strip()
    last = message.splitlines()[-1].removeprefix(f"file:{path}: ") if message else ""
    if not blocks:
        raise AudioError(f"{_UNDECODABLE} (ffmpeg: {last or 'no audio samples'})")
    if frames >= wanted:
        return np.concatenate(blocks)[: int(wanted)], rate, None
    if last or process.returncode:
        return np.concatenate(blocks), rate, f"damaged: {last}"
    cut = _cut_off(path)
    return np.concatenate(blocks), rate, None if cut is None else f"truncated: {frames / rate:.1f} s decoded, {cut}"


def _float_blocks(stream: IO[bytes], channels: int) -> Iterator[np.ndarray]:
    """Yields (frames, channels) float32 from big-endian floats until the stream ends."""
    size = 4 * channels * _BLOCK
    while chunk := stream.read(size):
        whole = len(chunk) - len(chunk) % (4 * channels)
        yield np.frombuffer(chunk[:whole], dtype=">f4").astype(np.float32).reshape(-1, channels)
