"""Downloads Jukebox's published weights once; an interrupted transfer is resumed."""

from __future__ import annotations

import hashlib
import http.client
import logging
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from musicrec.embeddings.checkpoints.cache import cache_dir
from musicrec.embeddings.checkpoints.jukebox import PRIOR_FILE, VQVAE_FILE
from musicrec.errors import MusicrecError
from musicrec.files import exclusive, write_text

log = logging.getLogger(__name__)

# OpenAI's own address, and the copy that jukemirlib names.
ADDRESSES = (
    "https://openaipublic.azureedge.net/jukebox/models/5b",
    "https://storage.googleapis.com/jukebox-weights",
)
# Least bytes of a file: upstream publishes neither sizes nor checksums, but the tensors take 7.5 MB and 10.29 GB. A web
# page that says "gone" has fewer.
_LEAST = {VQVAE_FILE: 7_000_000, PRIOR_FILE: 10_000_000_000}
_ATTEMPTS = 5
_PIECE = 1 << 20
_SECONDS_BETWEEN_LINES = 30.0
_FAILURES = (urllib.error.URLError, http.client.HTTPException, OSError, ValueError)


def published(addresses: Sequence[str] = ADDRESSES, least: dict[str, int] = _LEAST) -> Path:
    """Returns the folder in the user's cache that holds both files of Jukebox 5b, fetched if they are not there.

    Args:
        addresses: of folders with the files; if one does not answer, the next is tried.
        least: file name -> the fewest bytes it can have.

    Raises:
        MusicrecError: unreachable, or not such a file; says how to do it by hand.
    """
    folder = cache_dir() / "jukebox" / "5b"
    names = list(least)
    if all((folder / name).is_file() for name in names):
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MusicrecError(
            f"the weights of Jukebox 5b cannot be stored in {folder} ({error.strerror}): set MUSICREC_CACHE to a "
            "folder with 16 GB of space"
        ) from None
    with exclusive(folder / ".lock", f"{folder}: waiting, another process downloads the weights of Jukebox"):
        for name in names:
            if not (folder / name).is_file():
                _fetch_any([f"{address.rstrip('/')}/{name}" for address in addresses], folder / name, least[name])
    return folder


def _fetch_any(urls: list[str], target: Path, least: int) -> None:
    """Fetches a file from the first address that gives it."""
    reasons = []
    for url in urls:
        try:
            fetch(url, target, least)
        except _FAILURES as error:
            reasons.append(f"{url}: {getattr(error, 'reason', None) or error}")
        else:
            return
    raise MusicrecError(
        f"the weights of Jukebox 5b cannot be fetched ({'; '.join(reasons)}). Bring {VQVAE_FILE} (8 MB) and "
        f"{PRIOR_FILE} (10.3 GB) here by other means and give their folder: python extract.py embedding=jukemir "
        "embedding.checkpoint=FOLDER; embedding.mirror=ADDRESS fetches them from elsewhere (docs/jukemir.md)"
    )


def fetch(url: str, target: Path, least: int = 0) -> None:
    """Downloads a file; what has arrived is kept beside it (`part_of`) and resumed, in this call or a later one.

    Args:
        url: http or https.
        target: appears when the file is complete.
        least: the fewest bytes it can have.

    Raises:
        OSError: no connection, an error of the server, no space; several attempts without progress.
        ValueError: it does not have the size that the server announced, or is too short.
    """
    part = part_of(url, target)
    target.parent.mkdir(parents=True, exist_ok=True)
    idle = 0
    while True:
        before = part.stat().st_size if part.is_file() else 0
        try:
            if _receive(url, part):
                break
            raise OSError("the connection was closed too early")
        except urllib.error.HTTPError:
            raise
        except (urllib.error.URLError, http.client.HTTPException, OSError):
            if not before and not part.is_file():
                raise
            after = part.stat().st_size if part.is_file() else 0
            idle = 0 if after > before and _version(part) else idle + 1
            if idle >= _ATTEMPTS:
                raise
            log.info("%s: the connection broke at %d bytes, resuming", url, after)
            time.sleep(min(idle, 3))
    size = part.stat().st_size
    if size < least:
        _forget(part)
        raise ValueError(f"it has {size} bytes, the weights have at least {least}")
    part.replace(target)
    for rest in target.parent.glob(f"{target.name}.*.part*"):  # the notes, and parts from other addresses
        rest.unlink(missing_ok=True)


def part_of(url: str, target: Path) -> Path:
    """Returns the file for what an address has sent so far; each has its own, as their files may differ."""
    return target.with_name(f"{target.name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part")


def _receive(url: str, part: Path) -> bool:
    """Appends what a server sends to `part`; returns whether it is complete."""
    version = _version(part)
    # Without a version there is no way to know whether the server's file is still the same.
    start = part.stat().st_size if version else 0
    request = urllib.request.Request(url, headers={"User-Agent": "musicrec"})
    if start:
        request.add_header("Range", f"bytes={start}-")
        request.add_header("If-Range", version)
    try:
        response = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # nothing is left after `start`: complete, or a different file now
            raise
        if _total(error.headers.get("Content-Range")) == start:
            return True
        _forget(part)
        return _receive(url, part)
    with response:
        if response.status == 206:
            total = _total(response.headers.get("Content-Range"))
        else:
            start = 0
            total = int(response.headers["Content-Length"]) if "Content-Length" in response.headers else None
        free = shutil.disk_usage(part.parent).free
        if total is not None and total - start > free:
            raise ValueError(f"{part.parent}: {(total - start) / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free")
        # Weak validators ("W/...") must not be used in If-Range (RFC 9110, section 13.1.5).
        tag = response.headers.get("ETag", "")
        version = tag if tag.startswith('"') else response.headers.get("Last-Modified", "")
        write_text(_note(part), version)
        shown = f" of {total / 1e6:.1f}" if total else ""
        log.info("%s: fetching %s%s MB to %s", url, f"from {start / 1e6:.1f}" if start else "", shown, part.parent)
        done = _append(response, part, start, shown)
    return total is None or done == total


def _append(response: http.client.HTTPResponse, part: Path, start: int, shown: str) -> int:
    """Writes a response after the first `start` bytes of `part`; returns the size reached."""
    last = time.monotonic()
    with part.open("r+b" if part.is_file() else "wb") as file:
        file.truncate(start)
        file.seek(start)
        while piece := response.read(_PIECE):
            file.write(piece)
            if time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
                last = time.monotonic()
                log.info("%s: %.1f%s MB", part.name, file.tell() / 1e6, shown)
        return file.tell()


def _total(content_range: str | None) -> int | None:
    """Returns the size of the whole file from a header like "bytes 5-9/10" or "bytes */10"."""
    number = (content_range or "").rpartition("/")[2]
    return int(number) if number.isdigit() else None


def _version(part: Path) -> str:
    """Returns the version of a part as the server named it, "" if there is no part to resume."""
    known = part.is_file() and _note(part).is_file()
    return _note(part).read_text(encoding="utf-8") if known else ""


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.version")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)
