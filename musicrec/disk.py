"""Why the disk made something fail, in one line: which file, on which file system, and how much is free."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path

_KINDS = {
    errno.ENOSPC: "no space is left",
    errno.EDQUOT: "your quota is used up",
    errno.EROFS: "it is read-only",
    errno.EACCES: "permission is denied",
    errno.EPERM: "permission is denied",
    errno.EFBIG: "it would be too large",
    errno.EIO: "the disk has an error",
    errno.ESTALE: "the file system was mounted again",
    errno.ENOTDIR: "a file is in the place of a folder",
    errno.EISDIR: "a folder is in its place",
    errno.EEXIST: "a file is in the place of a folder",
    errno.ENAMETOOLONG: "its name is too long",
    errno.EMFILE: "too many files are open (ulimit -n)",
    errno.ENFILE: "too many files are open",
}
_FULL = 1 << 20  # bytes; with less, libraries that do not say why failed for this reason
_TEMPORARY = re.compile(r"^\.tmp-[0-9a-f]{8}-\d+-")


def disk_problem(error: BaseException, path: Path) -> str | None:
    """Returns one line about the disk if that is why something failed, otherwise None.

    Args:
        error: what was raised. Not every library says why it could not write, so a full disk counts as the cause.
        path: what was to be written; the error may name another file.
    """
    found = _os_error(error)
    kind = None if found is None else _KINDS.get(found.errno or 0)
    if found is not None and found.filename is not None:
        path = Path(os.fsdecode(found.filename))
    if kind is None and free(path) < _FULL:
        kind = _KINDS[errno.ENOSPC]
    if kind is None:
        return None
    path = path.with_name(_TEMPORARY.sub("", path.name))
    return f"{path} cannot be written or read: {kind} (file system {mount(path)}, {free(path) / 1e6:,.1f} MB free)"


def free(path: Path) -> int:
    """Returns how many bytes are free where a file is or would be."""
    try:
        return shutil.disk_usage(_existing(path)).free
    except OSError:
        return 0


def mount(path: Path) -> Path:
    """Returns the mount point of the file system of a file that is or would be."""
    place = _existing(path)
    while not place.is_mount() and place != place.parent:
        place = place.parent
    return place


def _existing(path: Path) -> Path:
    """Returns the nearest folder above a path, or the path itself, that exists."""
    place = Path(os.path.abspath(path))  # noqa: PTH100 (a link that leads nowhere must not be followed)
    while not place.exists() and place != place.parent:
        place = place.parent
    return place


def _os_error(error: BaseException | None) -> OSError | None:
    """Returns the first OSError with a number in the chain of an error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno:
            return error
        error = error.__cause__ or error.__context__
    return None
