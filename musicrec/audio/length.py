"""Whether a file holds more audio than its header announces: what libsndfile, which believes headers, would miss."""

from __future__ import annotations

import mmap
import re
import struct
from pathlib import Path

from musicrec.audio.chunks import Fit, fit_of_chunks, has_chunks

# MPEG audio (ISO 11172-3, 13818-3): kbit/s by (version 1 or not, layer), Hz of version 1, samples per frame.
_BITRATES = {
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = (44_100, 48_000, 32_000)
_INFORMATION = (b"Xing", b"Info", b"VBRI")
# Frames that an encoder adds before and after the music, and the information frame itself.
_EXTRA_FRAMES = 6
_FLAC_TAIL = 1 << 18
# The beginning of an Ogg page: its mark and version.
_OGG_PAGE = b"OggS\0"
# How a frame begins, for the search of the next one, and how often it may turn out to be none.
_SYNC = re.compile(rb"(?=\xff[\xe2-\xff][\x10-\xef])", re.DOTALL)
_MOST_FALSE_STARTS = 1 << 16
# Bytes in which the first frame of an MP3 without tags must begin.
_MPEG_HEAD = 1 << 16
# The beginning of a FLAC stream: its mark and the header of its first block, the last one or not.
_FLAC_BEGINS = (b"fLaC\0\0\0\x22", b"fLaC\x80\0\0\x22")
# Samples of a FLAC frame by its code (RFC 9639, section 9.1.1); 6 and 7 say it at the end of the header.
_FLAC_BLOCKS = {1: 192, **{code: 144 << code for code in range(2, 6)}, **{code: 1 << code for code in range(8, 16)}}


def fit_of_length(path: Path, head: bytes, frames: int, rate: int) -> Fit:
    """Returns whether the `frames` that libsndfile decoded, to the end that the header announces, are all of the audio.

    Args:
        path: the file.
        head: its first bytes, at least four.
        frames: number of samples per channel that were decoded.
        rate: samples per second.

    Returns:
        "longer": there is more; "odd": the header is wrong about the length; "fits": neither.
    """
    if not frames:
        return "longer"
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if has_chunks(head):
                return fit_of_chunks(content)
            return "longer" if _is_longer(content, head, frames, rate) else "fits"
    except (OSError, ValueError, struct.error):
        return "fits"


def _is_longer(content: mmap.mmap, head: bytes, frames: int, rate: int) -> bool:
    if head.startswith(b"fLaC"):
        return _flac_samples(content) > frames or any(content.find(begin, 4) >= 0 for begin in _FLAC_BEGINS)
    if head.startswith(b"OggS"):
        return _is_chained(content)
    if head.startswith(b".snd"):
        offset, size = struct.unpack(">II", content[4:12])
        return bool(size < len(content) - offset and size != 0xFFFFFFFF)
    if head.startswith(b"ID3") or _next_frame(content[:_MPEG_HEAD], 0) >= 0:
        return mpeg_samples(content, rate) > frames
    return False


def length_is_estimated(path: Path, head: bytes) -> bool:
    """Returns whether a file is MPEG audio without an information frame, whose length decoders can only estimate."""
    with path.open("rb") as file:
        start = file.read(_MPEG_HEAD + len(head))
    if head.startswith(b"ID3"):
        with path.open("rb") as file:
            file.seek(_mpeg_start(start))
            start = file.read(_MPEG_HEAD)
    at = _next_frame(start, 0)
    return at >= 0 and not any(mark in start[at : at + 200] for mark in _INFORMATION)


def mpeg_samples(content: mmap.mmap | bytes, rate: int) -> int:
    """Returns the samples per channel of the frames in MPEG audio; with an information frame, at least that many."""
    at = _mpeg_start(content)
    frames = samples = 0
    informed = False
    while at + 4 <= len(content):
        found = _frame(content, at)
        if found is None:
            at = _next_frame(content, at + 1)
            if at < 0:
                break
            continue
        size, count, of_rate = found
        if not frames:
            start = content[at : at + 200]
            informed = any(mark in start for mark in _INFORMATION)
        frames += 1
        samples += count * rate // of_rate
        at += size
    return samples - _EXTRA_FRAMES * samples // max(frames, 1) if informed else samples


def is_mpeg(head: bytes) -> bool:
    """Returns whether the beginning of a file is that of MPEG audio: two frames, one after the other."""
    found = _frame(head, 0)
    return found is not None and _frame(head, found[0]) is not None


def _mpeg_start(content: mmap.mmap | bytes) -> int:
    """Returns where the frames begin, after ID3 tags."""
    at = 0
    while content[at : at + 3] == b"ID3":
        size = 0
        for byte in content[at + 6 : at + 10]:
            size = size << 7 | byte & 0x7F
        at += 10 + size
    return at


def _next_frame(content: mmap.mmap | bytes, at: int) -> int:
    """Returns the next index at which two frames follow each other, -1 if there is none."""
    for tried, begin in enumerate(_SYNC.finditer(content, at)):
        at = begin.start()
        found = _frame(content, at)
        if found is not None and (at + found[0] + 4 > len(content) or _frame(content, at + found[0]) is not None):
            return at
        if tried > _MOST_FALSE_STARTS:
            break
    return -1


def _frame(content: mmap.mmap | bytes, at: int) -> tuple[int, int, int] | None:
    """Returns bytes, samples and rate of the MPEG frame at an index, None if there is none."""
    header = content[at : at + 4]
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bits, frequency, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer == 4 or not 0 < bits < 15 or frequency == 3:
        return None
    first = version == 3
    rate = _RATES[frequency] >> (0 if first else 1 if version == 2 else 2)
    bitrate = 1000 * _BITRATES[first, layer][bits]
    if layer == 1:
        return (12 * bitrate // rate + padding) * 4, 384, rate
    samples = 1152 if layer == 2 or first else 576
    return samples // 8 * bitrate // rate + padding, samples, rate


def _is_chained(content: mmap.mmap) -> bool:
    """Returns whether another Ogg stream begins after the first one (RFC 3533): libsndfile reads only the first."""
    at, begun = 0, False
    while at >= 0 and (at := content.find(_OGG_PAGE, at)) >= 0:
        # Between pages there may be anything.
        is_first = bool(content[at + 5 : at + 6] > b"\1" and content[at + 5] & 2)
        if is_first and begun:
            return True
        begun |= not is_first
        segments = content[at + 26 : at + 27]
        at += 27 + sum(segments) + sum(content[at + 27 : at + 27 + sum(segments)])
    return False


def _flac_samples(content: mmap.mmap) -> int:
    """Returns the number of samples up to the end of the last frame, 0 if none is found."""
    fixed = struct.unpack(">H", content[8:10])[0]
    at = len(content)
    while (at := content.rfind(b"\xff", max(0, len(content) - _FLAC_TAIL), at)) >= 0:
        found = _flac_frame(content[at : at + 16], fixed)
        if found:
            return found
    return 0


def _flac_frame(header: bytes, fixed: int) -> int:
    """Returns the number of samples up to the end of the FLAC frame that begins with these bytes, 0 if none does."""
    if len(header) < 16 or header[1] & 0xFE != 0xF8:
        return 0
    code, length = header[2] >> 4, 1
    while length < 7 and header[4] << (length - 1) & 0x80 and header[4] << length & 0x80:
        length += 1
    number = header[4] if not header[4] & 0x80 else header[4] & (0x7F >> length)
    for byte in header[5 : 4 + length]:
        number = number << 6 | byte & 0x3F
    end = 4 + length
    block = _FLAC_BLOCKS.get(code, 0)
    if code in (6, 7):
        block = int.from_bytes(header[end : end + code - 5], "big") + 1
        end += code - 5
    end += {12: 1, 13: 2, 14: 2}.get(header[2] & 15, 0)
    if not block or end >= len(header) or _crc8(header[:end]) != header[end]:
        return 0
    return (number if header[1] & 1 else number * fixed) + block


def _crc8(data: bytes) -> int:
    """Returns the checksum of a FLAC frame's header (polynomial x^8 + x^2 + x + 1)."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x07) & 0xFF if crc & 0x80 else crc << 1
    return crc
