"""Run logging: the loggers of a run, open while it lasts; its configuration, facts and final metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.utils import instantiate
from pytorch_lightning.loggers import Logger, TensorBoardLogger

from musicrec.columns import USER
from musicrec.sweeps.current import slurm_job, sweep
from musicrec.tracking.metrics_csv import MetricsCsv
from musicrec.tracking.run_logger import RunLogger
from musicrec.tracking.wandb_runs import finish_wandb

if TYPE_CHECKING:
    import numpy as np

    from musicrec.data.interactions import SplitData


@dataclass(frozen=True)
class RunLoggers:
    """The open loggers of one run.

    Attributes:
        opened: those that could be opened.
        config: the run's resolved configuration.
    """

    opened: list[Logger]
    config: dict[str, Any]

    def log_config(self) -> None:
        """Logs the configuration; TensorBoard takes it with the final metrics, for its hparams page."""
        for logger in self.opened:
            if not isinstance(logger, TensorBoardLogger):
                logger.log_hyperparams(self.config)

    def guard_files(self, before: Callable[[], None]) -> None:
        """Has a function called before a file of the run is written; what it raises keeps the old file."""
        for logger in self.opened:
            if isinstance(logger, MetricsCsv):
                logger.guard(before)

    def abandon_files(self) -> None:
        """Leaves the files of the run to the process that has taken it over."""
        self.opened[:] = [logger for logger in self.opened if not isinstance(logger, MetricsCsv)]

    def log_final(self, metrics: Mapping[str, float], step: int, more: Mapping[str, Any] | None = None) -> None:
        """Logs the metrics of a finished run.

        Args:
            metrics: e.g. {"val/NDCG@50": 0.1}.
            step: optimiser steps taken.
            more: what else W&B shows of the run, e.g. intervals, duration and device.
        """
        for logger in self.opened:
            if isinstance(logger, TensorBoardLogger):
                logger.log_hyperparams(self.config, dict(metrics))
            if isinstance(logger, RunLogger):
                logger.log_final(metrics, step, more or {})
            else:
                logger.log_metrics(dict(metrics), step)


@contextmanager
def opened(configured: Mapping[str, Any], config: dict[str, Any]) -> Iterator[RunLoggers]:
    """Opens the loggers of a run and closes them, however it ends.

    Without this the next job of a sweep in the same process would write into the W&B run of a failed one.

    Args:
        configured: the configuration group `logger`: one `_target_` per logger; {} for none.
        config: the run's resolved configuration, logged first.
    """
    loggers = RunLoggers([], config)
    status, exit_code = "failed", 1
    try:
        for name in configured:
            logger = instantiate(configured[name])
            if logger is not None:  # W&B that cannot start
                loggers.opened.append(logger)
        loggers.log_config()
        yield loggers
        status, exit_code = "success", 0
    finally:
        for logger in loggers.opened:
            logger.finalize(status)
        if any(isinstance(logger, RunLogger) for logger in loggers.opened):
            finish_wandb(exit_code)


def facts(data: SplitData, vectors: np.ndarray) -> dict[str, Any]:
    """Returns what the configuration does not say of a run but one filters by: sizes of embedding and data, the job.

    Args:
        data: the split, its training part without the tracks that have no embedding.
        vectors: (tracks, dim) the embedding.
    """
    found: dict[str, Any] = {
        "embedding_size": int(vectors.shape[1]),
        "users": data.train.num_users,
        "items": len(data.train.candidates),
        "tracks": data.train.num_tracks,
        "train_rows": len(data.train),
        "sweep": sweep(),
        "slurm_job": slurm_job(),
    }
    for name, truth in data.truth.items():
        found |= {f"{name}_rows": len(truth), f"{name}_users": int(truth[USER].nunique())}
    return found
