"""Whether W&B has a login and its server answers: asked of W&B itself, and the network once a sweep."""

from __future__ import annotations

import logging
import os
import socket
import urllib.request
from contextlib import suppress
from urllib.parse import urlsplit

from musicrec.errors import MusicrecError, first_line
from musicrec.files import write_text
from musicrec.sweeps.current import sweep_folder

log = logging.getLogger(__name__)

_SECONDS_TO_CONNECT = 5.0
# In a sweep's folder: why its runs are logged offline.
OFFLINE_FILE = "wandb_offline"
# Tag and note of the run of an agent that drew the settings of a finished one.
FINISHED_ALREADY = "finished already"


def logged_in() -> bool:
    """Returns whether W&B has credentials for its server, without prompting or asking the server.

    W&B itself is asked: it looks in the environment, in its settings and in .netrc, for the host of `wandb login`.
    """
    import wandb

    try:
        wandb.setup(settings=wandb.Settings(silent=True))
        try:
            return bool(wandb.login(prompt=False, verify=False))
        except TypeError:  # versions before 0.31 know no `prompt`
            return bool(wandb.api.api_key)
    except Exception as error:  # e.g. a key of a wrong length
        log.warning("W&B's login cannot be used: %s", first_line(error))
        return False


def offline_reason() -> str | None:
    """Returns why an online run would not reach W&B's server, None if it probably would.

    The first job of a sweep that finds out leaves a note for the others.
    """
    if reason := remembered():
        return reason
    reason = unreachable(_server())
    if reason is not None:
        remember(reason)
    return reason


def remembered() -> str | None:
    """Returns why an earlier job of this sweep could not reach W&B's server."""
    folder = sweep_folder()
    try:
        return None if folder is None else (folder / OFFLINE_FILE).read_text(encoding="utf-8").strip() or None
    except (OSError, ValueError):
        return None


def remember(reason: str) -> None:
    """Leaves a note for the other jobs of this sweep."""
    folder = sweep_folder()
    if folder is not None:
        with suppress(OSError, MusicrecError):  # the next job asks again
            write_text(folder / OFFLINE_FILE, f"{reason}\n")


def under_agent() -> bool:
    """Returns whether an agent of one of W&B's own sweeps started this process."""
    return bool(os.environ.get("WANDB_SWEEP_ID"))


def agents_run() -> str | None:
    """Returns the id that an agent chose for the run of this process."""
    return (os.environ.get("WANDB_RUN_ID") or None) if under_agent() else None


def unreachable(url: str) -> str | None:
    """Returns why nobody listens at a URL, None if somebody does or a proxy decides."""
    parts = urlsplit(url)
    if not parts.hostname or urllib.request.getproxies().get(parts.scheme):
        return None
    port = parts.port or (80 if parts.scheme == "http" else 443)
    try:
        socket.create_connection((parts.hostname, port), _SECONDS_TO_CONNECT).close()
    except OSError as error:
        return f"{parts.hostname}: {first_line(error)}"
    return None


def _server() -> str:
    """Returns the URL of the server that W&B is configured for."""
    import wandb

    try:
        return str(wandb.setup().settings.base_url)
    except Exception:  # W&B says later what is wrong with its settings
        return ""
