"""Links from the pages in listen/ to audio files that a browser finds as a file and through a web server."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from musicrec.files import temporary_name


def audio_links(folder: Path, files: Iterable[Path]) -> dict[Path, str]:
    """Returns the address of each audio file, relative to a folder of pages.

    A web server shows what is below its folder only, so the folder gets a link to the one that holds the files. Where a
    file system has no links, the addresses are those of the files, which work without a server.

    Args:
        folder: where the pages are.
        files: the audio files.
    """
    absolute = {path: Path(os.path.abspath(path)) for path in files}  # noqa: PTH100 (links in the path stay)
    if not absolute:
        return {}
    root = Path(os.path.commonpath([path.parent for path in absolute.values()]))
    name = f"audio-{hashlib.sha256(os.fsencode(root)).hexdigest()[:8]}"
    try:
        _link(folder / name, root)
    except OSError:
        return {path: place.as_uri() for path, place in absolute.items()}
    return {path: f"{name}/{quote(os.fsencode(place.relative_to(root)))}" for path, place in absolute.items()}


def _link(link: Path, target: Path) -> None:
    """Makes a link to a folder, or replaces one that leads elsewhere."""
    if link.is_symlink() and link.readlink() == target:
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    temporary = link.with_name(temporary_name(link.name))
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target, target_is_directory=True)
    temporary.replace(link)
