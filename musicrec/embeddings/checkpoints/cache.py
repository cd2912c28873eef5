"""The user's cache folder: conversions of checkpoints, and which licences have been shown."""

from __future__ import annotations

import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)


def cache_dir() -> Path:
    """Returns `$MUSICREC_CACHE`, else `musicrec` in `$XDG_CACHE_HOME` or `~/.cache`; it may not exist yet."""
    own = os.environ.get("MUSICREC_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "musicrec"


def announce_licence(model: str, licence: str, source: str) -> None:
    """Logs the licence of a model's weights, the first time that this user loads them.

    Args:
        model: name to show, e.g. "MERT-v1-330M".
        licence: e.g. "CC BY-NC 4.0 (not for commercial use)".
        source: where the terms can be read.
    """
    marker = cache_dir() / "licences" / f"{model.replace('/', '--')}.txt"
    if marker.is_file():
        return
    log.info("the weights of %s are under %s: %s", model, licence, source)
    try:
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.write_text(f"{licence}\n{source}\n", encoding="utf-8")
    except OSError:  # a read-only home: it is shown again next time
        log.debug("cannot write %s", marker)
