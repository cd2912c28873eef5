"""Loggers: metrics.csv with one row an epoch, and W&B that never asks and never stops a run."""

from __future__ import annotations

import csv
import io
import logging
import netrc
import os
import sys
import warnings
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from musicrec.errors import MusicrecError
from musicrec.files import write_text

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
        logger.log_metrics(metrics, step)
        logger.finalize("success")
    finish_wandb()


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


def wandb_logger(
    save_dir: str,
    run: str,
    project: str = "musicrec",
    entity: str | None = None,
    mode: str = "auto",
    tags: list[str] | None = None,
    group: str | None = None,
    job_type: str = "train",
) -> Logger | None:
    """Returns a W&B logger, or None with a warning if W&B cannot start: training never depends on it.

    Args:
        save_dir: offline runs lie in `wandb/` below it.
        run: name of the run.
        project: W&B project.
        entity: W&B user or team; None = the account's default.
        mode: `online`, `offline`, `disabled`, or `auto`: what WANDB_MODE says, else `online` with an API key, else
            `offline`. Nothing ever prompts.
        tags: free labels.
        group: name of the sweep the run belongs to; None = the one that is running, if any.
        job_type: what the run does.
    """
    if mode == "auto":
        mode = os.environ.get("WANDB_MODE") or ("online" if _has_api_key() else "offline")
    if mode == "disabled":
        return None
    if mode not in ("online", "offline"):
        raise MusicrecError(f"logger.wandb.mode={mode} is not possible: it must be auto, online, offline or disabled")
    try:
        import wandb

        Path(save_dir).mkdir(parents=True, exist_ok=True)
        experiment = wandb.init(
            name=run,
            dir=save_dir,
            project=project,
            entity=entity,
            mode="online" if mode == "online" else "offline",
            group=group or sweep(),
            job_type=job_type,
            tags=list(tags or []),
            settings=wandb.Settings(silent=True, console="off"),
        )
        logger = WandbLogger(experiment=experiment, save_dir=save_dir)
    except Exception as error:  # whatever W&B dislikes, the run itself is fine
        log.warning("W&B is left out of this run: %s", error)
        return None
    return logger


def finish_wandb() -> None:
    """Ends the process's W&B run, so that the next job of a sweep in the same process starts its own."""
    wandb = sys.modules.get("wandb")
    if wandb is None or wandb.run is None:
        return
    offline, folder = wandb.run.settings.mode == "offline", Path(wandb.run.dir).parent
    try:
        wandb.finish()
    except Exception as error:
        log.warning("W&B did not finish cleanly: %s", error)
    if offline:
        log.info("W&B offline run: `wandb sync %s` uploads it", _relative(folder))


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _has_api_key() -> bool:
    """Returns whether W&B would find a key without asking: in the environment or in ~/.netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        return netrc.netrc(str(path)).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def sweep() -> str | None:
    """Returns the name of the sweep a run belongs to (its folder in multirun/), None for a single run."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    return Path(HydraConfig.get().sweep.dir).name
