"""Errors a user can cause, and how their messages are put together.

The command line prints the message of a MusicrecError as one line, without a traceback.
"""

from __future__ import annotations

from typing import Any


class MusicrecError(Exception):
    """Something the user can fix. The message says what was wrong, what is allowed and the command that helps."""


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
        raise MusicrecError(f"{key}={value} is invalid; must be {allowed}")
