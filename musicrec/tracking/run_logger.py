"""RunLogger: Lightning's logger of a W&B run."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from musicrec.tracking.wandb_runs import STEP, Mode, WandbRun, define, start_run


def wandb_logger(
    save_dir: str,
    run: str,
    project: str = "musicrec",
    entity: str | None = None,
    mode: Mode = "auto",
    tags: list[str] | None = None,
    group: str | None = None,
    job_type: str = "train",
) -> RunLogger | None:
    """Returns the logger of the run that `musicrec.tracking.wandb_runs.start_run` starts, None if it starts none.

    The arguments are those of `start_run`; the values of the group `logger` are checked by them.
    """
    started = start_run(save_dir, run, project, entity, mode, tags, group, job_type)
    return None if started is None else RunLogger(started)


class RunLogger(WandbLogger):
    """Lightning's logger, except that W&B's errors end the logging and not the training."""

    def __init__(self, run: WandbRun):
        super().__init__(experiment=run.experiment, save_dir=run.save_dir)
        self.safely = run.safely

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Logs the configuration."""
        self.safely(super().log_hyperparams, params)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Logs the metrics of a step."""
        self.safely(super().log_metrics, metrics, step)

    @rank_zero_only
    def log_final(self, metrics: Mapping[str, float], step: int, more: Mapping[str, Any]) -> None:
        """Logs the metrics of the best checkpoint; they become the run's columns, more is better; so does the rest."""

        def write() -> None:
            for name in metrics:
                define(self.experiment, name, summary="last", goal="maximize")
            self.experiment.log({**metrics, STEP: step})
            self.experiment.summary.update({**metrics, **more})

        self.safely(write)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Logs how the run ended; a preempted one is marked as such, for W&B to expect it again."""
        if status == "preempted":
            self.safely(self.experiment.mark_preempting)
        self.safely(super().finalize, status)
