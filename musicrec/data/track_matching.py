"""Matching a log's tracks to the track index, by id or by artist and title in file and folder names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from musicrec.workspace import TrackIndex

# 07, 1-07, 07., 07 - at the start of a file name
_NUMBER = re.compile(r"^\d{1,3}(?:-\d{1,3})?[\s._-]+(?=\S)")


def match_tracks(track_ids: Sequence[str], tracks: TrackIndex, by_name: bool) -> list[int | None]:
    """Returns the idx of each track of a log, None for unknown tracks.

    Args:
        track_ids: the ids in the log.
        tracks: the index.
        by_name: whether ids are "artist - title". Unknown ids are then also looked for in paths such as
            Artist/Album/07 Title and Artist - Title, regardless of letter case, accents and punctuation. If several
            paths match, the first one in the index is taken.
    """
    rows = [tracks.row(track) if track in tracks else None for track in track_ids]
    if not by_name or None not in rows:
        return rows
    names: dict[str, int] = {}
    for row, path in enumerate(tracks.ids):
        for name in _names(path):
            names.setdefault(name, row)
    names.pop("", None)
    return [names.get(plain(track)) if row is None else row for track, row in zip(track_ids, rows, strict=True)]


def plain(text: str) -> str:
    """Returns the letters and digits of a text, without accents and case.

    >>> plain("Beyoncé - Déjà Vu (feat. JAY-Z)")
    'beyoncedejavufeatjayz'
    """
    parts = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in parts if letter.isalnum())


def _names(path: str) -> Iterator[str]:
    """Yields the combinations of artist and title that a path may stand for, as `plain` text."""
    *folders, stem = path.split("/")
    for title in dict.fromkeys((stem, _NUMBER.sub("", stem))):
        pieces = title.split(" - ")
        if len(pieces) > 1:
            yield plain(title)  # Artist - Title
            yield plain(pieces[0] + pieces[-1])  # Artist - Album - 07 - Title
        for folder in folders:
            yield plain(folder + title)
            if len(pieces) > 1:
                yield plain(folder + pieces[-1])  # Artist/07 - Artist - Title
