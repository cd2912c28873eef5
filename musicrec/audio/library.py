"""Finds the audio files of a folder and gives each its track id."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from musicrec.errors import MusicrecError
from musicrec.workspace import composed

log = logging.getLogger(__name__)

# Extensions of audio files. Of two files that differ only in their extension, the one listed first is used.
SUFFIXES = (
    *(".wav", ".flac", ".aiff", ".aif", ".aifc", ".w64", ".rf64", ".caf", ".au", ".snd"),  # lossless
    *(".opus", ".ogg", ".oga", ".mp3", ".mp2"),
    *(".m4a", ".aac", ".wma", ".mp4", ".m4b", ".mka", ".mkv", ".webm", ".mov", ".avi"),  # by ffmpeg
)
_PREFERENCE = {suffix: rank for rank, suffix in enumerate(SUFFIXES)}


def scan(audio_dir: str | Path) -> dict[str, Path]:
    """Returns track id -> file for every audio file below `audio_dir`, sorted by track id.

    The track id is the path below `audio_dir` without its extension, with forward slashes, in
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
    unnameable = 0
    for path in _audio_files(root):
        track_id = path.relative_to(root).with_suffix("").as_posix()
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
    if not files:
        raise MusicrecError(f"{root} contains no audio files; extensions looked for: {' '.join(SUFFIXES)}")
    return dict(sorted(files.items()))


def _audio_files(root: Path) -> list[Path]:
    """Returns all visible files with an audio extension; each folder is visited once, however many links lead to it."""
    found = []
    visited = set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        identity = os.path.realpath(folder)
        if identity in visited:
            subfolders.clear()
            continue
        visited.add(identity)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        found += [
            Path(folder, name)
            for name in sorted(names)
            if not name.startswith(".") and Path(name).suffix.lower() in _PREFERENCE
        ]
    return found


def _rank(path: Path) -> tuple[int, str]:
    return _PREFERENCE[path.suffix.lower()], path.name
