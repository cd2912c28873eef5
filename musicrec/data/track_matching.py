"""Matching a log's tracks to the track index, by id or by artist and title in file and folder names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from musicrec.workspace import TrackIndex, composed

# 07, 1-07, 07., 07 - at the start of a file name
_NUMBER = re.compile(r"^\d{1,3}(?:-\d{1,3})?[\s._-]+(?=\S)")
_BETWEEN = " - "
# Between the artist and the title of a key, so that "A" by "BC" is not taken for "AB" by "C".
_SEPARATOR = "\0"
# Scripts whose accents are removed. The marks of others (vowel signs, tones, points) make another word.
_ACCENTED = ("LATIN", "GREEK", "CYRILLIC")
# Marks that make another letter: й and ў (breve), ї (diaeresis).
_OTHER_LETTERS = {("и", "\u0306"), ("у", "\u0306"), ("і", "\u0308")}
# Signs that file names replace or that stand for an apostrophe; other symbols (÷, ♥) can be a whole title.
_UNSAFE = set("<>|`^~")


@dataclass
class Matches:
    """The tracks of a log in the index.

    Attributes:
        rows: the idx of each track of the log, None for unknown tracks.
        ambiguous: why tracks that could be several of the index were not matched, by index in the log.
    """

    rows: list[int | None]
    ambiguous: dict[int, str] = field(default_factory=dict)


def match_tracks(track_ids: Sequence[str], tracks: TrackIndex, by_name: bool) -> Matches:
    """Returns the idx of each track of a log.

    Args:
        track_ids: the ids in the log.
        tracks: the index.
        by_name: whether ids are "artist - title". Unknown ids are then also looked for in paths such as
            Artist/Album/07 Title and Artist - Title: first as they are written (of several such paths the first one in
            the index is taken), then regardless of letter case, accents and punctuation, if exactly one track matches.
    """
    found = Matches(tracks.rows(track_ids))
    if not by_name or None not in found.rows:
        return found
    exact: dict[tuple[str, str], int] = {}
    folded: dict[str, dict[int, None]] = {}
    for row, path in enumerate(tracks.ids):
        for artist, title in _names(composed(path)):
            exact.setdefault((artist, title), row)
            key = plain(artist), plain(title)
            if all(key):
                for form in (_SEPARATOR.join(key), "".join(key)):
                    folded.setdefault(form, {})[row] = None
    for code, track in enumerate(track_ids):
        if found.rows[code] is not None:
            continue
        name = composed(track)
        splits = list(_splits(name))
        idx = next((exact[pair] for pair in splits if pair in exact), None)
        if idx is None:
            keys = [_SEPARATOR.join((plain(artist), plain(title))) for artist, title in splits] or [plain(name)]
            rows = list(dict.fromkeys(row for key in keys for row in folded.get(key, ())))
            if len(rows) == 1:
                idx = rows[0]
            elif rows:
                found.ambiguous[code] = "could be " + " or ".join(repr(tracks.ids[row]) for row in rows[:3])
        found.rows[code] = idx
    return found


def plain(text: str) -> str:
    """Returns a text without case, punctuation, and accents of Latin, Greek and Cyrillic letters.

    Marks of other scripts stay: Indic vowel signs, Thai and Japanese marks, Arabic and Hebrew points.

    >>> plain("Beyoncé - Déjà Vu (feat. JAY-Z)")
    'beyoncedejavufeatjayz'
    >>> plain("दिल") == plain("दाल")
    False
    """
    if text.isascii():
        return "".join(letter for letter in text.lower() if _kept(letter))
    letters: list[str] = []
    script = ""
    for letter in unicodedata.normalize("NFKD", text.casefold()):
        if unicodedata.category(letter).startswith("M"):
            # No base, as after punctuation, and variation selectors: nothing that could be heard.
            makes_a_word = script and (script not in _ACCENTED or (letters[-1], letter) in _OTHER_LETTERS)
            if makes_a_word and _script(letter) != "VARIATION":
                letters.append(letter)
        elif _kept(letter):
            letters.append(letter)
            script = _script(letter) if letter.isalnum() else ""  # marks on symbols only choose how they look
        else:
            script = ""
    return unicodedata.normalize("NFC", "".join(letters))


@lru_cache(maxsize=1 << 14)
def _kept(letter: str) -> bool:
    """Returns whether a character counts when names are compared: letters, digits and most symbols do."""
    return letter.isalnum() or (unicodedata.category(letter) in ("Sm", "Sc", "So") and letter not in _UNSAFE)


@lru_cache(maxsize=1 << 14)
def _script(letter: str) -> str:
    """Returns the first word of a character's name, which is its script."""
    return unicodedata.name(letter, "UNKNOWN").split(" ")[0]


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """Yields the ways to read a log's "artist - title"; either part may contain the separator."""
    pieces = name.split(_BETWEEN)
    for at in range(1, len(pieces)):
        yield _BETWEEN.join(pieces[:at]), _BETWEEN.join(pieces[at:])


def _names(path: str) -> Iterator[tuple[str, str]]:
    """Yields the artist and title that a path may stand for."""
    *folders, stem = path.split("/")
    for title in dict.fromkeys((stem, _NUMBER.sub("", stem))):
        yield from _splits(title)  # Artist - Title
        pieces = title.split(_BETWEEN)
        if len(pieces) > 2:
            yield pieces[0], pieces[-1]  # Artist - Album - 07 - Title
        for folder in folders:
            yield folder, title
            if len(pieces) > 1:
                yield folder, pieces[-1]  # Artist/07 - Artist - Title
