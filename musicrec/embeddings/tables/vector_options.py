"""VectorOptions: what is done to an embedding's vectors before a recommender reads them (`embedding.transform` …)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from omegaconf import DictConfig, OmegaConf

from musicrec.errors import demand

TRANSFORMS = ("none", "center", "zscore", "whiten", "l2")
SHUFFLES = (False, True, "all")


@dataclass(frozen=True)
class VectorOptions:
    """The keys `transform`, `pca` and `shuffle` that every embedding has (conf/config.yaml); they belong to the run.

    Attributes:
        transform: `none`; `center` (mean 0); `zscore` (mean 0 and variance 1 in every dimension); `whiten` (identity
            covariance); `l2` (every vector has length 1).
        pca: number of principal components to which the vectors are projected; None = no projection.
        shuffle: the control whose vectors say nothing about their tracks. True: the vectors are permuted among the
            tracks of train, and apart from that among the cold tracks; `all`: among all of them (the 2026 study).
    """

    transform: str = "none"
    pca: int | None = None
    shuffle: bool | str = False

    def __post_init__(self) -> None:
        demand("embedding.transform", self.transform, self.transform in TRANSFORMS, ", ".join(TRANSFORMS))
        number = isinstance(self.pca, int) and not isinstance(self.pca, bool) and self.pca >= 1
        demand("embedding.pca", self.pca, self.pca is None or number, "a number of components, 1 or more, or null")
        demand("embedding.shuffle", self.shuffle, self.shuffle in SHUFFLES, "false, true or all")

    @classmethod
    def of(cls, embedding: Mapping[str, Any]) -> VectorOptions:
        """Returns the options in the settings of an embedding; keys that are absent have their defaults.

        Raises:
            MusicrecError: for a value that is not allowed.
        """
        return cls(**{name: embedding[name] for name in names() if name in embedding})

    def changed(self) -> dict[str, Any]:
        """Returns the options that differ from the defaults."""
        return {each.name: value for each in fields(self) if (value := getattr(self, each.name)) != each.default}

    def words(self) -> list[str]:
        """Returns the words that names of rows and runs append to the embedding's.

        >>> VectorOptions("zscore", pca=64, shuffle=True).words()
        ['zscore', 'pca64', 'shuffled']
        """
        transform = [] if self.transform == "none" else [self.transform]
        pca = [] if self.pca is None else [f"pca{self.pca}"]
        shuffle = {False: [], True: ["shuffled"], "all": ["shuffled", "all"]}[self.shuffle]
        return [*transform, *pca, *shuffle]


def names() -> tuple[str, ...]:
    """Returns the names of the options, in the order in which their words stand in names."""
    return tuple(asdict(VectorOptions()))


def without_options(embedding: DictConfig) -> DictConfig:
    """Returns the group `embedding` without the options: what its class is constructed from."""
    own = embedding.copy()
    OmegaConf.set_struct(own, False)
    for name in names():
        own.pop(name, None)
    return own
