"""Lightning without its notices about hardware, workers and tips, and without what its import drags in."""

from __future__ import annotations

import importlib
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError
from typing import Any

from lightning_utilities.core import imports

_LOGGERS = ("pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.rank_zero")
_NOTICES = (
    ".*does not have many workers.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*number of training batches.*",
    ".*LeafSpec.*",
    ".*You're resuming from a checkpoint.*",
    ".*`srun` command is available.*",
    ".*`broadcast_buffers` is deprecated.*",  # what replaces it does something else
    ".*sync_dist=True.*",  # our metric is the same on every device when it is logged
)

# What torchmetrics imports for metrics of texts and for plots wherever it is installed.
_UNUSED = ("transformers", "scipy", "matplotlib")


def import_lightning() -> None:
    """Imports Lightning in less than half the time.

    More than half of it goes into what torchmetrics, which Lightning needs for its base class, imports for metrics and
    plots that nobody uses here. It asks lightning_utilities which packages are installed, so three of them are not for
    as long as torchmetrics is imported. Where that library works otherwise, nothing is saved, and nothing lost.
    """
    if "torchmetrics" not in sys.modules:
        with _hidden():
            importlib.import_module("torchmetrics")
    importlib.import_module("pytorch_lightning")


@contextmanager
def _hidden() -> Iterator[None]:
    """Makes lightning_utilities say that none of `_UNUSED` is installed."""

    def hiding(ask: Any, unknown: Callable[[str], Any]) -> Callable[[str], Any]:
        return lambda name: unknown(name) if name.partition(".")[0] in _UNUSED else ask(name)

    def no_version(name: str) -> str:
        raise PackageNotFoundError(name)

    def no(name: str) -> bool:
        return False

    answers = {"_version": no_version, "package_available": no, "module_available": no}
    asked = {name: getattr(imports, name) for name in answers if hasattr(imports, name)}
    try:
        for name, ask in asked.items():
            setattr(imports, name, hiding(ask, answers[name]))
        yield
    finally:
        for name, ask in asked.items():
            setattr(imports, name, ask)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silences Lightning's notices; its warnings of mistakes stay."""
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    with warnings.catch_warnings():
        for message in _NOTICES:
            warnings.filterwarnings("ignore", message)
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.WARNING)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
