"""Cutoffs: the k of the metrics, one for all splits or one per split (`eval.k`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from musicrec.errors import MusicrecError, demand
from musicrec.evaluation.metrics import metric_columns
from musicrec.evaluation.truth import split_order

_ALLOWED = "a number from 1, or one per split: eval.k={hot_test:50,cold_test:20}"


@dataclass(frozen=True)
class Cutoffs:
    """At which k each split is scored.

    Attributes:
        default: k of the splits that are not named.
        named: split name to k.
    """

    default: int
    named: Mapping[str, int]

    @classmethod
    def of(cls, k: object) -> Cutoffs:
        """Returns the cutoffs of a value of `eval.k`; of several, the main test split's is also that of the others.

        Args:
            k: a number, a mapping of split names to numbers, or cutoffs.

        Raises:
            MusicrecError: if it is anything else.

        >>> Cutoffs.of({"cold_test": 20, "hot_test": 50}).at("val")
        50
        """
        if isinstance(k, Cutoffs):
            return k
        named: dict[str, Any] = {str(split): value for split, value in k.items()} if isinstance(k, Mapping) else {}
        values: list[Any] = list(named.values()) if isinstance(k, Mapping) else [k]
        if not values or any(not isinstance(value, int) or isinstance(value, bool) or value < 1 for value in values):
            demand("eval.k", k, False, _ALLOWED)
        main = min((split for split in named if split != "val"), key=split_order, default=None)
        return cls(values[0] if main is None else named[main], named)

    def at(self, split: str) -> int:
        """Returns the k of a split."""
        return self.named.get(split, self.default)

    def ndcg(self, split: str) -> str:
        """Returns the column that decides what is better on a split."""
        return f"NDCG@{self.at(split)}"

    def columns(self, splits: Iterable[str]) -> list[str]:
        """Returns the metric columns of some splits, each once."""
        return list(dict.fromkeys(column for split in splits for column in metric_columns(self.at(split))))

    def check(self, splits: Iterable[str]) -> None:
        """Refuses names of splits that do not exist.

        Raises:
            MusicrecError: names them and those that exist.
        """
        known = list(splits)
        if unknown := sorted(self.named.keys() - set(known)):
            raise MusicrecError(f"eval.k names the unknown split {unknown[0]}; there are {', '.join(known)}")
