"""What a run tells its loggers: its configuration and facts at the start, its metrics, the final ones as columns."""

from __future__ import annotations

import csv
import io
import logging
import warnings
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytorch_lightning.loggers import Logger, TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only

from musicrec.columns import USER
from musicrec.files import write_text
from musicrec.sweeps.current import slurm_job, sweep
from musicrec.tracking.wandb_runs import WANDB_ID, RunLogger, finish_wandb

if TYPE_CHECKING:
    import numpy as np

    from musicrec.data.interactions import SplitData

__all__ = ["WANDB_ID", "MetricsCsv", "facts", "finish_wandb", "log_final", "quiet_lightning", "start", "sweep"]

log = logging.getLogger(__name__)


def start(configured: Mapping[str, Logger | None], config: dict[str, Any]) -> list[Logger]:
    """Returns the loggers that could be made, each told the run's resolved configuration."""
    opened = [logger for logger in configured.values() if logger is not None]
    for logger in opened:
        if not isinstance(logger, TensorBoardLogger):  # it takes them with the final metrics, for its hparams page
            logger.log_hyperparams(config)
    return opened


def log_final(opened: list[Logger], config: dict[str, Any], metrics: dict[str, float], step: int) -> None:
    """Logs the metrics of a finished run and closes the loggers.

    Args:
        opened: what `start` returned.
        config: the run's resolved configuration.
        metrics: e.g. {"val/NDCG@50": 0.1}.
        step: optimiser steps taken.
    """
    for logger in opened:
        if isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(config, metrics)
        if isinstance(logger, RunLogger):
            logger.log_final(metrics, step)
        else:
            logger.log_metrics(metrics, step)
        logger.finalize("success")
    finish_wandb()


def facts(data: SplitData, table: np.ndarray) -> dict[str, Any]:
    """Returns what the configuration does not say of a run but one filters by: sizes of embedding and data, the job.

    Args:
        data: the split, its training part without the tracks that have no embedding.
        table: (tracks, dim) the embedding.
    """
    found: dict[str, Any] = {
        "embedding_size": int(table.shape[1]),
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


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silences Lightning's notices about hardware, workers and tips; its warnings of mistakes stay."""
    names = ("pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.rank_zero")
    levels = {name: logging.getLogger(name).level for name in names}
    with warnings.catch_warnings():
        for message in (
            ".*does not have many workers.*",
            ".*Checkpoint directory .* exists and is not empty.*",
            ".*number of training batches.*",
            ".*LeafSpec.*",
            ".*You're resuming from a checkpoint.*",
            ".*`srun` command is available.*",
            ".*`broadcast_buffers` is deprecated.*",  # what replaces it does something else
            ".*sync_dist=True.*",  # our metric is the same on every device when it is logged
        ):
            warnings.filterwarnings("ignore", message)
        for name in names:
            logging.getLogger(name).setLevel(logging.WARNING)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


class MetricsCsv(Logger):
    """Writes `runs/{run}/metrics.csv`: one row a step that logged something, kept across a resumed run.

    Lightning's CSVLogger deletes what an earlier attempt of the same run wrote; here a resumed run reads it back and
    drops only the rows at or after the step it resumes from.
    """

    def __init__(self, save_dir: str, run: str):
        super().__init__()
        self._run = run
        self._path = Path(save_dir) / run / "metrics.csv"
        self._rows: dict[int, dict[str, str]] | None = None

    @property
    def name(self) -> str:
        return self._run

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: runs/{run}/config.yaml holds the settings."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Adds values to the row of a step."""
        if self._rows is None:
            self._rows = self._read(before=step or 0)
        row = self._rows.setdefault(step or 0, {})
        row.update({name: repr(float(value)) for name, value in metrics.items()})

    @rank_zero_only
    def save(self) -> None:
        """Writes all rows, columns in order of appearance after `step` and `epoch`."""
        if not self._rows:
            return
        columns = ["step", "epoch"]
        columns += list(dict.fromkeys(name for row in self._rows.values() for name in row if name not in columns))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        for step, row in sorted(self._rows.items()):
            writer.writerow({"step": step, **row})
        write_text(self._path, text.getvalue())

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.save()

    def _read(self, before: int) -> dict[int, dict[str, str]]:
        """Returns the rows of an earlier attempt up to a step."""
        if before == 0 or not self._path.is_file():
            return {}
        with self._path.open(encoding="utf-8", newline="") as file:
            rows = [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]
        return {int(row.pop("step")): row for row in rows if int(row["step"]) < before}
