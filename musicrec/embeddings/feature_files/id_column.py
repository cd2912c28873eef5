"""Which column of a table holds the track ids."""

from __future__ import annotations

from collections.abc import Sequence

# Without case, spaces and underscores.
_NAMES = ("trackid", "id", "songid", "itemid")


def id_column(names: Sequence[str]) -> str | None:
    """Returns the column whose name says that it holds track ids, None if there is none.

    >>> id_column(["idx", "Track_ID", "0"]), id_column(["a", "b"])
    ('Track_ID', None)
    """
    plain = {name.strip().lower().replace("_", "").replace(" ", ""): name for name in reversed(names)}
    return next((plain[name] for name in _NAMES if name in plain), None)
