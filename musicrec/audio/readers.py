"""Reading the samples of a file: by libsndfile, or by the ffmpeg program."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import numpy as np
import soundfile

from musicrec.audio.waveform import AudioError, Waveform

# Values decoded at a time and channel, and in all: bounds the memory for many channels and for headers that promise too
# much.
_BLOCK = 1 << 18
_BLOCK_VALUES = 1 << 22
_SMALL_BLOCK = 1 << 10
# libsndfile's number of frames if a stream does not say: the largest integer.
_UNKNOWN_LENGTH = 1 << 60
# The longest page of an Ogg stream in bytes, and the flag of its last page (RFC 3533, section 6).
_OGG_PAGE = 65_307
_OGG_END = 4

# The demuxers ffmpeg may use: audio and video files proper, no playlists, devices or scripts.
_FFMPEG_FORMATS = (
    "mov,asf,matroska,avi,flv,mpeg,mpegts,aac,mp3,ogg,flac,wav,w64,aiff,caf,au,ape,wv,tta,mpc,mpc8,amr,ac3,eac3,dts,dsf"
)

# Bytes of ffmpeg's messages in which the last one is looked for.
_MAX_MESSAGE = 1 << 12

# What differs from run to run in them.
_ADDRESS = re.compile(r" @ 0x[0-9a-f]+")

UNDECODABLE = "not decodable as audio"


@dataclass(frozen=True)
class Wanted:
    """What is wanted of a file.

    Attributes:
        sample_rate: Hz of the result; None = the file's own.
        max_seconds: how much from the start; None = all, at most an hour.
    """

    sample_rate: int | None
    max_seconds: float | None


def read_soundfile(path: Path, wanted: Wanted, size: int = _BLOCK) -> tuple[Waveform, str | None]:
    """Returns what libsndfile decodes, `size` frames at a time, and a note on damage.

    Raises:
        AudioError: see Waveform.
        soundfile.LibsndfileError: if it does not know the format. It also raises RuntimeError and OSError.
    """
    damaged = False
    with soundfile.SoundFile(path) as source:
        promised, at_once = int(source.frames), max(1, min(size, _BLOCK_VALUES // source.channels))
        wave = Waveform(int(source.samplerate), wanted.sample_rate, wanted.max_seconds)
        while not wave.is_complete:
            try:
                block = source.read(min(at_once, wave.needed), dtype="float32", always_2d=True)
            except soundfile.LibsndfileError:
                damaged = True
                break
            if not len(block):
                break
            wave.add(block)
    if damaged and size > _SMALL_BLOCK:
        # The whole block was lost to the error; with smaller blocks, more of the music before the damage is decoded.
        return read_soundfile(path, wanted, _SMALL_BLOCK)
    # MP3 headers without a frame count are estimates: one percent less than promised is not damage.
    if damaged or (not wave.is_complete and wave.frames < 0.99 * promised < _UNKNOWN_LENGTH):
        length = f" of {promised / wave.rate:.1f}" if promised < _UNKNOWN_LENGTH else ""
        return wave, f"truncated: {wave.seconds:.1f}{length} s decoded"
    return wave, None if wave.is_complete else _note_of_cut(path, wave)


def _note_of_cut(path: Path, wave: Waveform) -> str | None:
    """Returns the note on a file that lacks its end, None if it does not."""
    cut = _cut_off(path)
    return None if cut is None else f"truncated: {wave.seconds:.1f} s decoded, {cut}"


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


def read_ffmpeg(ffmpeg: str, path: Path, wanted: Wanted) -> tuple[Waveform, str | None]:
    """Returns what the ffmpeg program decodes, and a note on damage; mixing and resampling are done here.

    The pipe carries Sun AU, whose 24-byte header has rate and channels and may leave the length open. Where to stop is
    also decided here: ffmpeg's own limit counts from the first timestamp, which may be well before the sound.

    Raises:
        AudioError: see Waveform; or if ffmpeg cannot decode the file.
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
        try:
            wave = _received(process.stdout, wanted)
        except BaseException:
            process.kill()
            raise
        if wave is not None and wave.is_complete:
            process.kill()
        process.wait()
        messages.seek(max(0, messages.seek(0, os.SEEK_END) - _MAX_MESSAGE))
        message = messages.read().decode(errors="replace").strip()
    last = message.splitlines()[-1].removeprefix(f"file:{path}: ") if message else ""
    last = _ADDRESS.sub("", last)
    if wave is None or not wave.frames:
        raise AudioError(f"{UNDECODABLE} (ffmpeg: {last or 'no audio samples'})")
    if wave.is_complete:
        return wave, None
    if last or process.returncode:
        return wave, f"damaged: {last}"
    return wave, _note_of_cut(path, wave)


def _received(stream: IO[bytes], wanted: Wanted) -> Waveform | None:
    """Returns the samples of a Sun AU stream of floats, None if it has no header."""
    header = stream.read(24)
    if len(header) < 24:
        return None
    _, offset, _, encoding, rate, channels = struct.unpack(">4s5I", header)
    stream.read(offset - 24)
    if encoding != 6 or not 0 < channels < 1024:
        raise AudioError("ffmpeg gave an unexpected stream")
    wave = Waveform(rate, wanted.sample_rate, wanted.max_seconds)
    size = 4 * channels * max(1, min(_BLOCK, _BLOCK_VALUES // channels))
    while not wave.is_complete and (chunk := stream.read(size)):
        whole = len(chunk) - len(chunk) % (4 * channels)
        wave.add(np.frombuffer(chunk[:whole], dtype=">f4").astype(np.float32).reshape(-1, channels))
    return wave
