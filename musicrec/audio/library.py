"""Finds the audio files of a folder and gives each its track id."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from pathlib import Path

from musicrec.audio.length import is_mpeg
from musicrec.errors import MusicrecError
from musicrec.workspace import composed

log = logging.getLogger(__name__)

# Extensions of audio files. Of two files that differ only in their extension, the one listed first is used.
SUFFIXES = (
    *(".wav", ".flac", ".aiff", ".aif", ".aifc", ".w64", ".rf64", ".caf", ".au", ".snd"),  # lossless
    *(".opus", ".ogg", ".oga", ".mp3", ".mp2"),
    *(".m4a", ".aac", ".wma", ".mp4", ".m4b", ".mka", ".mkv", ".webm", ".mov", ".avi"),  # by ffmpeg
    *(".ape", ".wv", ".tta", ".mpc", ".mp+", ".mpp", ".dsf", ".ac3", ".eac3", ".dts", ".amr", ".asf", ".adts"),
    *(".mp1", ".mpga", ".ogx", ".ogv", ".spx", ".alac", ".m4r", ".3gp", ".3g2", ".flv", ".mpg", ".mpeg", ".ts", ".m4v"),
    *(".wave", ".bwf", ".voc", ".ircam", ".nist", ".sph", ".paf", ".avr", ".svx", ".wve"),  # by libsndfile
)
# First bytes of audio files (offset, bytes), by which files with other extensions are recognised.
_MAGIC = (
    *((0, b"fLaC"), (0, b"OggS"), (0, b"ID3"), (8, b"WAVE"), (8, b"AIF"), (0, b".snd"), (0, b"caff"), (0, b"riff\x2e")),
    *((0, b"MAC "), (0, b"wvpk"), (0, b"TTA1"), (0, b"MPCK"), (0, b"MP+"), (0, b"#!AMR"), (0, b"DSD ")),
    *((0, b"\x30\x26\xb2\x75"), (0, b"\x1a\x45\xdf\xa3"), (0, b"\x0b\x77"), (0, b"\x7f\xfe\x80\x01")),
    *((4, b"ftypM4A"), (4, b"ftypM4B"), (4, b"ftypmp4"), (4, b"ftypisom"), (4, b"ftypiso"), (4, b"ftypdash")),
)
_EXTENSION = re.compile(r"\.\w{1,5}$", re.ASCII)
_MAX_SHOWN = 8
_PREFERENCE = {suffix: rank for rank, suffix in enumerate(SUFFIXES)}


def scan(audio_dir: str | Path) -> dict[str, Path]:
    """Returns track id -> file for every audio file below `audio_dir`, sorted by track id.

    Files with the extensions of audio are taken, and others if their first bytes are those of audio; a message says how
    many were not. The track id is the path below `audio_dir` without its extension, with forward slashes, in
    composed Unicode form. Hidden files and folders are
    skipped; links to folders are followed. Two files with the same id (song.flac, song.mp3): the lossless one
    is used, and a warning says how many were skipped.

    Raises:
        MusicrecError: no such folder, or no audio files in it.
    """
    root = Path(audio_dir).expanduser()
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "does not exist"
        raise MusicrecError(f"data.audio_dir: {root} {what}; give the folder with the music: data.audio_dir=FOLDER")
    files: dict[str, Path] = {}
    doubles: list[str] = []
    others: Counter[str] = Counter()
    unnameable = 0
    for path in _visible_files(root):
        known = path.suffix.lower() in _PREFERENCE
        if not known and not _sounds(path):
            others[path.suffix.lower() or "none"] += 1
            continue
        track_id = path.relative_to(root).as_posix()
        if known or _EXTENSION.search(path.name):
            track_id = track_id.removesuffix(path.suffix)
        track_id = composed(track_id)  # file names copied from a Mac are decomposed
        try:
            track_id.encode()
        except UnicodeEncodeError:
            unnameable += 1
            continue
        other = files.get(track_id)
        if other is not None:
            doubles.append(track_id)
            if _rank(other) <= _rank(path):
                continue
        files[track_id] = path
    if unnameable:
        log.warning("%s: %d files skipped: their names are not valid UTF-8", root, unnameable)
    if doubles:
        log.warning(
            "%s: %d files skipped: same name with a different extension, e.g. %s", root, len(doubles), doubles[0]
        )
    most = sorted(others.items(), key=lambda item: (-item[1], item[0]))[:_MAX_SHOWN]
    shown = ", ".join(f"{extension} {count}" for extension, count in most)
    shown = f"{sum(others.values())} files with other extensions and contents: {shown}" if others else ""
    if len(others) > _MAX_SHOWN:
        shown += ", …"
    if not files:
        found = f" ({shown})" if shown else ""
        raise MusicrecError(f"{root} contains no audio files{found}; extensions looked for: {' '.join(SUFFIXES)}")
    if shown:
        log.info("%s: not taken: %s", root, shown)
    return dict(sorted(files.items()))


def _sounds(path: Path) -> bool:
    """Returns whether a file with another extension begins as audio files do."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            head = file.read(1 << 12)
    except OSError:
        return False
    return any(head[at:].startswith(magic) for at, magic in _MAGIC) or is_mpeg(head)


def _visible_files(root: Path) -> list[Path]:
    """Returns all visible files; each folder is visited once, however many links lead to it."""
    found = []
    visited = set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        identity = os.path.realpath(folder)
        if identity in visited:
            subfolders.clear()
            continue
        visited.add(identity)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        found += [Path(folder, name) for name in sorted(names) if not name.startswith(".")]
    return found


def _rank(path: Path) -> tuple[int, str]:
    return _PREFERENCE.get(path.suffix.lower(), len(_PREFERENCE)), path.name
