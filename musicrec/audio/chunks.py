"""Length of the audio in files made of chunks (WAV, RF64, W64, AIFF, CAF): whether the announced one fits the file."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Fit = Literal["fits", "odd", "longer"]

# Bytes of padding after the last chunk that are no music, and by which careless programs are off.
_PADDING = 64
# No file has more of them.
_MOST_SAMPLES = 1 << 48
_NOT_ZERO = re.compile(rb"[^\0]")
_NAME = re.compile(rb"[ -~]{4}")


@dataclass(frozen=True)
class _Form:
    """How chunks are written.

    Attributes:
        first: where the first chunk begins.
        name: bytes of its name, of which the first four are letters.
        size: bytes of its size.
        order: of the bytes of the size.
        align: chunks begin at multiples of it, counted from the beginning of the file.
        counts_itself: whether the size includes name and size.
        audio: name of the chunk with the samples.
        outer: bytes of the file that the size at the beginning does not count; None = there is no such size.
    """

    first: int
    name: int
    size: int
    order: Literal["little", "big"]
    align: int
    counts_itself: bool
    audio: bytes
    outer: int | None


_WAV = _Form(12, 4, 4, "little", 2, False, b"data", None)
_FORMS = {
    b"RIFF": _WAV,
    b"RF64": _WAV,
    b"BW64": _WAV,
    b"FORM": _Form(12, 4, 4, "big", 2, False, b"SSND", 8),
    b"caff": _Form(8, 4, 8, "big", 1, False, b"data", None),
    b"riff": _Form(40, 16, 8, "little", 8, True, b"data", 0),
}


def has_chunks(head: bytes) -> bool:
    """Returns whether a file that begins with these bytes is one of those made of chunks."""
    return head[:4] in _FORMS


def fit_of_chunks(content: mmap.mmap | bytes) -> Fit:
    """Returns whether the length that a file announces for its audio fits the file.

    Returns:
        "longer": what follows the audio is no chunk, so it may be more audio; "odd": another length is wrong, or the
        audio goes to the end of the file whatever it says; "fits": neither.
    """
    form = _FORMS[content[:4]]
    end = len(content)
    sizes: dict[bytes, int] = {}
    for name, at, size in _chunks(content, form):
        if form.audio in sizes and (name in _FORMS or not _NAME.fullmatch(name)):
            begin = at - form.name - form.size
            return "longer" if end - begin > _PADDING and _NOT_ZERO.search(content, begin) else "fits"
        if name == form.audio:
            sizes[name] = size
            if size <= 0 or size > end - at:
                return "fits" if form is _WAV else "odd"  # libsndfile reads such WAV files to their end, as ffmpeg does
        elif name == b"ds64" and int.from_bytes(content[at + 16 : at + 24], "little") > _MOST_SAMPLES:
            return "odd"
        elif name == b"COMM":
            frames, bits = int.from_bytes(content[at + 2 : at + 6], "big"), content[at + 7]
            sizes[name] = frames * content[at + 1] * (bits + 7 >> 3)
    if form.outer is not None:
        announced = int.from_bytes(content[form.name : form.name + form.size], form.order) + form.outer
        if announced < end - _PADDING or announced > end + _PADDING:
            return "odd"
    if b"COMM" in sizes and abs(sizes[b"COMM"] + 8 - sizes.get(form.audio, 0)) > _PADDING:
        return "odd"
    return "fits"


def _chunks(content: mmap.mmap | bytes, form: _Form) -> Iterator[tuple[bytes, int, int]]:
    """Yields the first four letters of each chunk's name, where its content begins, and how long it says that it is."""
    at = form.first
    # What looks like a chunk may be music: a million of them end the search.
    for _ in range(1 << 20):
        start = at + form.name + form.size
        if start > len(content):
            return
        size = int.from_bytes(content[at + form.name : start], form.order, signed=form.size == 8)
        name = content[at : at + 4]
        if form.counts_itself:
            size -= start - at
        if form is _WAV and name == b"data" and content[12:16] == b"ds64" and size == 0xFFFFFFFF:
            size = int.from_bytes(content[28:36], "little")  # RF64
        yield name, start, size
        at = start + max(0, size)
        at += -at % form.align
