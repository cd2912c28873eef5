"""Text of any age as UTF-8 with line feeds: encodings, byte order marks, carriage returns, lines without an end."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from typing import BinaryIO, cast

import numpy as np

from musicrec.data.log.formats import AUTO, Layout
from musicrec.data.log.json_documents import GeneratedStream
from musicrec.errors import MusicrecError, demand

# No line of a log is longer.
MAX_LINE = 1 << 20
_CHUNK = 1 << 20
# UTF-32 first: its mark begins like that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LONE_RETURN = re.compile(rb"\r(?!\n)")
_LINE_FEED = 10
_IN_CACHE = 1 << 17  # bytes
_END_OF_FILE = b"\x1a"  # written by programs of DOS


def utf8_text(stream: io.BufferedReader, encoding: str, name: str) -> io.BufferedReader:
    """Returns the text as UTF-8, with line feeds if its only line ends are carriage returns.

    Args:
        stream: the file, decompressed.
        encoding: `auto` or a name that Python knows.
        name: of the file, for messages.

    Raises:
        MusicrecError: if the encoding is unknown. Reading raises it if the text does not have the encoding.
    """
    head = stream.peek(_CHUNK)
    if encoding == AUTO:
        encoding = next((known for mark, known in _MARKS if head.startswith(mark)), "utf-8")
    try:
        known = codecs.lookup(encoding)
        readable = known._is_text_encoding
    except (LookupError, ValueError):
        readable = False
    demand(
        "data.encoding", encoding, readable, "auto, or an encoding that Python knows, such as latin-1, cp1252, utf-16"
    )
    if known.name not in ("utf-8", "utf-8-sig"):
        stream = _stream(_transcoded(stream, known, name))
        head = stream.peek(_CHUNK)
    if b"\r" in head and b"\n" not in head:
        stream = _stream(_with_line_feeds(stream))
    return stream


def _stream(parts: Iterator[bytes]) -> io.BufferedReader:
    return io.BufferedReader(cast(io.RawIOBase, GeneratedStream(parts)), _CHUNK)


def _transcoded(stream: BinaryIO, known: codecs.CodecInfo, name: str) -> Iterator[bytes]:
    decoder = known.incrementaldecoder()
    line = 1
    while True:
        data = stream.read(_CHUNK)
        try:
            text = decoder.decode(data, not data)
        except UnicodeError as error:
            before = getattr(error, "object", b"")[: getattr(error, "start", 0)]
            line += before.decode(known.name, "ignore").count("\n")
            raise MusicrecError(f"{name}, line {line}: the text is not {known.name} (data.encoding)") from None
        line += text.count("\n")
        if text:
            yield text.encode("utf-8", "replace")
        if not data:
            return


def _with_line_feeds(stream: BinaryIO) -> Iterator[bytes]:
    while data := stream.read(_CHUNK):
        if data.endswith(b"\r"):
            data += stream.read(1)
        yield data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def head_lines(stream: io.BufferedReader, name: str, count: int, size: int) -> list[bytes]:
    """Returns the first lines of a stream; a carriage return alone ends one, too.

    Args:
        stream: the text; what follows the lines is left in it.
        name: of the file, for messages.
        count: the most lines.
        size: bytes after which no further line is read.
    """
    lines: list[bytes] = []
    total = 0
    while len(lines) < count and total < size and (line := stream.readline(MAX_LINE + 1)):
        check_length(name, len(lines) + 1, len(line))
        total += len(line)
        lines.append(line)
    if lines:
        header = re.sub(rb"\r+\n$", b"\n", lines[0])
        pieces = [piece + b"\n" for piece in header.rstrip(b"\r\n").split(b"\r") if piece]
        lines[:1] = pieces if len(pieces) > 1 else [header]
    return lines


def check_length(name: str, line: int, length: int) -> None:
    """Refuses a line that is too long for a log (MusicrecError)."""
    if length > MAX_LINE:
        raise MusicrecError(f"{name}, line {line:,} is longer than 1 MiB, so it is not a listening log")


def count_lines(text: bytes | bytearray) -> int:
    """Returns the number of line feeds, twice as fast as the count of bytes does."""
    letters = np.frombuffer(text, np.uint8)
    starts = range(0, len(letters), _IN_CACHE)
    return sum(int(np.count_nonzero(letters[start : start + _IN_CACHE] == _LINE_FEED)) for start in starts)


def with_line_feeds(block: bytes | bytearray, layout: Layout) -> bytes | bytearray:
    """Returns a block whose rows end in a line feed, where some end in a carriage return alone.

    A carriage return within a row is part of a name unless both sides of it have all columns.
    """
    if b"\r" not in block or block.count(b"\r") == block.count(b"\r\n"):
        return block
    block = re.sub(rb"\r{2,}\n", b"\n", block)
    if not layout.delimiter:
        return _LONE_RETURN.sub(b"\n", block)
    delimiter = layout.delimiter.encode()
    lines = block.split(b"\n")
    for index, line in enumerate(lines):
        if b"\r" in line[:-1] and not (layout.quoted and b'"' in line):
            pieces = [piece for piece in line.split(b"\r") if piece]
            if all(piece.count(delimiter) == layout.width - 1 for piece in pieces):
                lines[index] = b"\n".join(pieces)
    return b"\n".join(lines)


def without_end_mark(tail: bytes | bytearray) -> bytes | bytearray:
    """Returns the end of a text, with a line feed and without DOS's mark of the end of a file."""
    tail = tail.rstrip(_END_OF_FILE)
    return tail if not tail or tail.endswith(b"\n") else tail + b"\n"
