"""JSON documents as JSON lines: an array of plays, or an object that holds one, written over any number of lines."""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from musicrec.errors import MusicrecError

# The longest play that is read.
MAX_ENTRY = 1 << 20
_CHUNK = 1 << 18
_ARRAY = re.compile(r'"[^"\\]*"\s*:\s*\[\s*\{')
_USER = re.compile(r'"(?:user_?name|user|user_id)"\s*:\s*"([^"\\]+)"')
_BETWEEN = " \t\r\n,\ufeff"


class GeneratedStream(io.RawIOBase):
    """A readable stream of the bytes that an iterator gives."""

    def __init__(self, parts: Iterable[bytes]):
        self._parts = iter(parts)
        self._rest = b""

    def readable(self) -> bool:
        """Returns True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills the buffer with the next bytes; returns how many there were."""
        while not self._rest:
            part = next(self._parts, None)
            if part is None:
                return 0
            self._rest = part
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


def is_document(head: bytes) -> bool:
    """Returns whether a file that begins like this is one JSON document rather than a JSON object per line."""
    text = head.decode("utf-8-sig", "replace").lstrip()
    if text.startswith("["):
        return True
    if not text.startswith("{"):
        return False
    line, has_end, _ = text.partition("\n")
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        # The object goes on after the line, or the line goes on after the head.
        return bool(_ARRAY.search(text)) and not (has_end and line.rstrip().endswith("}"))
    return isinstance(entry, dict) and "track_metadata" not in entry and _holds_plays(entry)


def _holds_plays(entry: dict[str, Any]) -> bool:
    """Returns whether an object, or one within it, has an array of objects."""
    values = list(entry.values())
    values += [inner for value in values if isinstance(value, dict) for inner in value.values()]
    return any(isinstance(value, list) and value and isinstance(value[0], dict) for value in values)


def document_lines(stream: BinaryIO, name: str) -> Iterator[bytes]:
    """Yields the objects of a document's (first) array, each as one line.

    Args:
        stream: the document, UTF-8.
        name: of the file, for messages.

    Raises:
        MusicrecError: if something in the array is not JSON.
    """
    decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
    text = decode(stream.read(_CHUNK))
    user = ""
    if text.lstrip(_BETWEEN).startswith("["):
        at = text.index("[") + 1
    else:
        found = _ARRAY.search(text)
        if found is None:
            raise MusicrecError(f"{name} is a JSON document without an array of plays")
        at = found.end() - 1
        named = _USER.search(text, 0, at)
        user = named[1] if named else ""
    scan = json.JSONDecoder(strict=False).raw_decode
    entries = 0
    while True:
        while at < len(text) and text[at] in _BETWEEN:
            at += 1
        if text.startswith("]", at):
            return
        try:
            entry, end = scan(text, at)
            if end == len(text):  # a number may go on
                raise ValueError
        except RecursionError:
            raise MusicrecError(f"{name}: entry {entries + 1:,} is nested too deeply to be a play") from None
        except ValueError:
            more = decode(stream.read(_CHUNK))
            if not more:
                if rest := text[at:].strip(_BETWEEN):  # cut off
                    yield _line(rest)
                return
            if len(text) - at > MAX_ENTRY:
                raise MusicrecError(f"{name}: entry {entries + 1:,} is not JSON, or longer than 1 MiB") from None
            text, at = text[at:] + more, 0
            continue
        entries += 1
        if user and isinstance(entry, dict) and not {"user_name", "username", "user_id", "user"} & entry.keys():
            yield _line(json.dumps({**entry, "user_name": user}))
        else:
            yield _line(text[at:end])
        at = end


def _line(text: str) -> bytes:
    return text.replace("\r", " ").replace("\n", " ").encode("utf-8", "surrogateescape") + b"\n"
