"""Item ids of other programs' predictions: track idx, or the tracks' own ids; which of them are known."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd

from musicrec.columns import ITEM, TRACK
from musicrec.errors import MusicrecError
from musicrec.workspace import TrackIndex

log = logging.getLogger(__name__)


def known_items(predictions: pd.DataFrame, tracks: TrackIndex | None, count: int, name: str) -> pd.DataFrame:
    """Returns predictions whose item_id is the track idx; unknown items keep their place as ids beyond the index.

    Args:
        predictions: item_id: track idx, or the tracks' own ids; or a column track_id of the tracks' own ids.
        tracks: the track index, None where there is none any more: only track idx are known then.
        count: number of tracks of the index.
        name: of the file, for messages.

    Raises:
        MusicrecError: if no item is known, or the ids are missing or fractions.
    """
    column = ITEM if ITEM in predictions else TRACK
    if column not in predictions or predictions.empty:
        return predictions
    ids = predictions[column]
    if ids.isna().any():
        raise MusicrecError(f"{column} has missing values")
    codes, distinct = pd.factorize(ids)
    names = [_text(one) for one in distinct]
    own = np.array([tracks.row(one) if tracks and one in tracks else -1 for one in names], np.int64)
    idx = np.full(len(names), -1, np.int64)
    if column == ITEM:
        idx = np.array([_idx(one, count) for one in names], np.int64)
    # Ids that are all within the index are idx, as documented, even where tracks are called 0, 1, 2 …
    found = own if (own >= 0).sum() > (idx >= 0).sum() else idx
    unknown = found < 0
    if unknown.all():
        example = f", such as {tracks.ids[0]!r}" if tracks else ""
        raise MusicrecError(
            f"none of its {len(names):,} items, such as {names[0][:60]!r}, is in trackid_sorted.csv: {column} is "
            f"{'the track idx (0, 1, 2 …) or ' if column == ITEM else ''}the track's own id{example}"
        )
    if unknown.any():
        rows = int(unknown[codes].sum())
        log.warning(
            "%s: %s of %s items (%s of %s rows), such as %r, are not in trackid_sorted.csv; they count as misses",
            *(name, f"{unknown.sum():,}", f"{len(names):,}", f"{rows:,}", f"{len(ids):,}"),
            names[int(np.flatnonzero(unknown)[0])][:60],
        )
    found = np.where(unknown, count + np.cumsum(unknown) - 1, found)
    return predictions.drop(columns=[column]).assign(**{ITEM: found[codes]})


def _text(value: object) -> str:
    """Returns an id as text; a whole number in another type (7.0) as an integer."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _idx(text: str, count: int) -> int:
    """Returns the track idx that a text is, -1 if it is none below `count`."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 and int(text) < count else -1
