"""The jobs of a grid over several recommenders (or embeddings …) that do not have the same keys."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from musicrec.config import option

_split_arguments = BasicSweeper.split_arguments
Job = list[str]


def fitting_jobs(
    jobs: Sequence[Job], groups: Collection[str], has: Callable[[Job, str], bool]
) -> tuple[list[Job], dict[str, list[Job]]]:
    """Returns jobs without the keys that their own choices lack, each once, and for each key the choices that lack it.

    A key that no job has stays: it is a mistake, which Hydra reports.

    Args:
        jobs: the overrides of each job.
        groups: names of the groups of which an option is chosen.
        has: whether the configuration of some choices, e.g. ["recommender=knn"], has a key.
    """
    lacking: dict[str, list[Job]] = {}
    for key in dict.fromkeys(_key(word) for job in jobs for word in job if _is_plain(word)):
        given = [job for job in jobs if any(_key(word) == key for word in job)]
        choices = list(dict.fromkeys(tuple(_deciding(job, key, groups)) for job in given))
        without = [list(chosen) for chosen in choices if not has(list(chosen), key)]
        if 0 < len(without) < len(choices):
            lacking[key] = without
    kept: dict[tuple[str, ...], Job] = {}
    for job in jobs:
        left = [word for word in job if _deciding(job, _key(word), groups) not in lacking.get(_key(word), [])]
        kept.setdefault(tuple(left), left)
    return list(kept.values()), lacking


def expand(jobs: Sequence[Job]) -> list[Job]:
    """Returns the jobs with the grid of each experiment that is itself swept: Hydra ignores `params` there."""
    expanded = []
    for job in jobs:
        names = [name for word in job if _key(word) == "experiment" for name in _names(word)]
        params: dict[str, str] = {}
        for name in names:
            grid = option("experiment", name).get("hydra", {}).get("sweeper", {}).get("params", {})
            params |= {str(key): str(value) for key, value in grid.items()}
        given = {_key(word) for word in job}
        parsed = OverridesParser.create().parse_overrides(
            [f"{key}={value}" for key, value in params.items() if key not in given]
        )
        axes = [[f"{each.get_key_element()}={value}" for value in _values(each)] for each in parsed]
        expanded += [[*job, *values] for values in itertools.product(*axes)]
    return expanded


class FittingGrid:
    """Makes Hydra's grid of a sweep one of jobs that their recommenders understand.

    Hydra's sweeper has no setting for it, so a function of it is replaced while the sweep runs.

    Args:
        config: what Hydra hands to its callbacks when a sweep begins.

    Attributes:
        note: one line about what is left out; "" if nothing is.
    """

    def __init__(self, config: DictConfig):
        self._config = config
        self._known: dict[str, Any] = {}
        self.note = ""

    def install(self) -> None:
        """Replaces Hydra's function."""
        BasicSweeper.split_arguments = staticmethod(self.split)  # type: ignore[method-assign]

    @staticmethod
    def remove() -> None:
        """Puts Hydra's own function back."""
        BasicSweeper.split_arguments = staticmethod(_split_arguments)  # type: ignore[method-assign]

    def split(self, overrides: list[Override], max_batch_size: int | None) -> list[list[Job]]:
        """Returns the batches of jobs that fit."""
        (jobs,) = _split_arguments(overrides, None)
        loader = GlobalHydra.instance().config_loader()
        existing = set(loader.list_groups(""))
        groups = {override.key_or_group for override in overrides} & existing
        swept = {override.key_or_group for override in overrides if override.is_sweep_override()} & existing
        if "experiment" in swept:
            jobs = expand(jobs)
        if swept:
            jobs, lacking = fitting_jobs(jobs, groups, self._has)
            self.note = "; ".join(
                f"{key} is left out for {' and '.join(dict.fromkeys(_said(chosen, swept) for chosen in without))}"
                for key, without in lacking.items()
            )
        size = max_batch_size or max(len(jobs), 1)
        return [jobs[start : start + size] for start in range(0, len(jobs), size)]

    def count(self, arguments: list[str]) -> int:
        """Returns the number of jobs of some overrides."""
        return len(self.jobs(arguments))

    def jobs(self, arguments: list[str]) -> list[Job]:
        """Returns the jobs of some overrides."""
        parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
        return [job for batch in self.split(parser.parse_overrides(arguments), None) for job in batch]

    def _has(self, chosen: Job, key: str) -> bool:
        name = " ".join(chosen)
        if name not in self._known:
            loader = GlobalHydra.instance().config_loader()
            self._known[name] = loader.load_sweep_config(self._config, chosen)
        node: Any = self._known[name]
        for part in key.split("."):
            if not isinstance(node, DictConfig) or part not in node:
                return False
            node = OmegaConf.select(node, part)
        return True


def _is_plain(word: str) -> bool:
    """Returns whether an override sets a key that must exist, and neither adds one nor chooses an option of a group."""
    return "." in _key(word) and word[:1] not in "+~" and not word.startswith("hydra.")


def _key(word: str) -> str:
    return word.partition("=")[0]


def _deciding(job: Job, key: str, groups: Collection[str]) -> Job:
    """Returns the choices of a job that decide whether a key exists: of its own group and of the experiment."""
    root = key.partition(".")[0]
    relevant = {root, "experiment"} if root in groups else set(groups)
    return [word for word in job if _key(word) in relevant & set(groups)]


def _names(word: str) -> list[str]:
    """Returns the options that an override of a group names: one, or a list of them."""
    return [name.strip() for name in word.partition("=")[2].strip("[]").split(",") if name.strip()]


def _values(override: Override) -> list[str]:
    if override.is_sweep_override():
        return list(override.sweep_string_iterator())
    return [override.get_value_element_as_str()]


def _said(chosen: Job, swept: Collection[str]) -> str:
    """Returns the choices of a job that other jobs do not share."""
    return " ".join(word for word in chosen if _key(word) in swept)
