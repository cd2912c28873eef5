"""Lightning without its notices about hardware, workers and tips."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

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
