"""Errors a user can cause; the command line prints their message as one line, without a traceback."""


class MusicrecError(Exception):
    """Something the user can mend. The message says what was wrong, what is allowed and the command that helps."""
