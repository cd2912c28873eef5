"""Errors a user can cause, and how their messages are put together.

The command line prints the message of a MusicrecError as one line, without a traceback.
"""

from __future__ import annotations

import re
from typing import Any

# Text that YAML would take for a number, a truth value or nothing.
_LIKE_ANOTHER = re.compile(
    r"|true|false|yes|no|on|off|y|n|null|~|[-+]?(\.?\d[\d_.]*(e[-+]?\d+)?|\.?inf|\.?nan)", re.IGNORECASE
)
_LONGEST = 120


class MusicrecError(Exception):
    r"""Something the user can fix. The message says what was wrong, what is allowed and the command that helps.

    It is one printable line, whatever names, ids and values it quotes.

    >>> print(MusicrecError("a" + chr(10) + chr(0) + "ü"))
    a\n\x00ü
    """

    def __str__(self) -> str:
        """Returns the message; what cannot be printed is escaped."""
        text = super().__str__()
        return text if text.isprintable() else "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


class DiskError(MusicrecError):
    """A file could not be written because the disk is full, read-only or forbidden."""


def first_line(error: BaseException) -> str:
    r"""Returns the first line of an error's message, or the name of its type if it has no message.

    >>> first_line(ValueError("bad value\ndetails"))
    'bad value'
    >>> first_line(EOFError())
    'EOFError'
    """
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def demand(key: str, value: Any, valid: bool, allowed: str) -> None:
    """Refuses the value of a configuration key.

    Args:
        key: as typed on the command line, e.g. `recommender.lr`.
        value: what was given.
        valid: whether it is allowed.
        allowed: what is allowed, to follow "must be".

    Raises:
        MusicrecError: if the value is not valid.

    >>> demand("recommender.lr", -1, False, "positive")
    Traceback (most recent call last):
    musicrec.errors.MusicrecError: recommender.lr=-1 is invalid; must be positive
    """
    if not valid:
        raise MusicrecError(f"{key}={shown(value)} is invalid; must be {allowed}")


def shown(value: Any) -> str:
    r"""Returns a value as YAML has it, on one line and cut if it is long; in quotes where it could be another type.

    >>> print(shown(None), shown(True), shown([1, "a"]), shown("abc"), shown("64"), shown("a" + chr(10)))
    null true [1, 'a'] abc '64' 'a\n'
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = str(value)
    if isinstance(value, str) and (not text.isprintable() or text.strip() != text or _LIKE_ANOTHER.fullmatch(text)):
        text = repr(value)
    if not text.isprintable():
        text = ascii(text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
