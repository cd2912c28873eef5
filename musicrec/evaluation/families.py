"""Families of recommenders: those that share a comparison table, as their classes name it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from hydra.utils import get_class

from musicrec.config import config_dir, option
from musicrec.evaluation.prediction_info import PredictionInfo

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Family:
    """The file stem of a comparison table and the title of its sections and plots."""

    table: str
    title: str


class Families:
    """What is known of recommenders from the runs found and, where that is not enough, from the configuration.

    Args:
        infos: metadata of the predictions files found.
    """

    def __init__(self, infos: Iterable[PredictionInfo]):
        self._infos = [info for info in infos if info.table]
        self._tables = {info.recommender: info.table for info in self._infos if info.recommender}

    def table(self, recommender: str) -> str | None:
        """Returns the table of a recommender; None if it has none."""
        if recommender in self._tables:
            return self._tables[recommender]
        family = configured_family(recommender)
        return family.table if family else None

    def title(self, table: str, recommenders: Iterable[str]) -> str:
        """Returns the title of a table.

        It is the one that the runs record, else that of their recommenders' classes (foreign files and runs of earlier
        versions record none). Without a title, or where recommenders with several titles share the table, it is a
        readable form of the table's name.

        Args:
            table: name of the table.
            recommenders: those of the runs in the table.
        """
        titles = {info.title for info in self._infos if info.table == table and info.title}
        if not titles:
            families = [configured_family(recommender) for recommender in sorted(set(recommenders))]
            titles = {family.title for family in families if family is not None and family.table == table}
        return titles.pop() if len(titles) == 1 else readable(table)

    def parse(self, file_name: str) -> tuple[str, str]:
        """Returns recommender and embedding of a foreign file's name, `{recommender}_{embedding}`.

        The recommender is the longest known one that fits; without one, the whole name is the recommender.
        """
        known = self._tables.keys() | configured().keys()
        fitting = [name for name in known if file_name.startswith(f"{name}_") and len(file_name) > len(name) + 1]
        if not fitting:
            return file_name, ""
        recommender = max(fitting, key=len)
        return recommender, file_name[len(recommender) + 1 :]


@cache
def configured() -> dict[str, str]:
    """Returns name to `_target_` of the recommenders in the configuration (`conf/recommender/*.yaml`)."""
    found: dict[str, str] = {}
    for path in sorted((config_dir() / "recommender").glob("*.yaml")):
        values = option("recommender", path.stem)
        if "_target_" in values:  # without one it changes another option
            found.setdefault(str(values.get("name", path.stem)), str(values["_target_"]))
    return found


@cache
def configured_family(recommender: str) -> Family | None:
    """Returns the family that a recommender's class names; None for an unknown recommender or one without a table.

    The class is imported, which takes seconds where torch is not loaded yet: ask only when the runs do not say it.
    """
    target = configured().get(recommender)
    if target is None:
        return None
    try:
        recommender_class = get_class(target)
    except Exception as error:  # a recommender that lacks its library must not stop the evaluation of the others
        log.warning("recommender=%s cannot be imported: %s", recommender, error)
        return None
    table = getattr(recommender_class, "table", None)
    return Family(table, getattr(recommender_class, "title", None) or readable(table)) if table else None


def readable(table: str) -> str:
    """Returns a table's name as a title.

    >>> readable("nearest_tracks")
    'Nearest tracks'
    """
    words = table.replace("_", " ").strip()
    return words[:1].upper() + words[1:]
