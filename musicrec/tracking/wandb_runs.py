"""W&B runs: named, grouped and comparable; W&B never prompts and its failures never stop the training."""

from __future__ import annotations

import functools
import logging
import os
import secrets
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pytorch_lightning.loggers import Logger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from musicrec.errors import demand, first_line
from musicrec.files import write_text
from musicrec.sweeps.current import sweep
from musicrec.tracking.wandb_access import agents_run, logged_in, offline_reason, remember

log = logging.getLogger(__name__)

# In a run's folder: the id under which W&B knows it. Deleted when the run starts from scratch, kept when it resumes.
WANDB_ID = "wandb_id"
MODES = ("auto", "online", "offline", "disabled")
_STEP = "trainer/global_step"
_LONGEST_TAG = 64  # characters that W&B takes
_SECONDS_TO_FINISH = 300  # what is not uploaded by then stays in wandb/ for `wandb sync`
_SECONDS_TO_ANSWER = 30  # a compute node without internet should not wait W&B's 90


def wandb_logger(
    save_dir: str,
    run: str,
    project: str = "musicrec",
    entity: str | None = None,
    mode: str = "auto",
    tags: Iterable[str] | None = None,
    group: str | None = None,
    job_type: str = "train",
) -> Logger | None:
    """Returns a W&B logger, or None with a warning if W&B cannot start: training never depends on it.

    Online, a run that is resumed continues its W&B run. Offline runs of one id do not merge when they are uploaded
    (wandb issues 2423, 5865), so each attempt has its own id there, in the same group and under the same name.

    Args:
        save_dir: where the run's files go; offline runs are in `wandb/` below it.
        run: name of the run.
        project: W&B project.
        entity: W&B user or team; None = the account's default.
        mode: `online`, `offline`, `disabled`, or `auto`: the value of WANDB_MODE, else `online` with a login, else
            `offline`. W&B never prompts.
        tags: free labels.
        group: name of the sweep the run belongs to; None = the current one, if any.
        job_type: what the run does.

    Raises:
        MusicrecError: if there is no such mode.
    """
    demand("logger.wandb.mode", mode, mode in MODES, f"one of {', '.join(MODES)}")
    if mode == "auto":
        wanted = os.environ.get("WANDB_MODE", "")
        mode = wanted if wanted in MODES else ("online" if logged_in() else "offline")
    if mode == "disabled":
        return None
    settings: dict[str, Any] = {
        "name": run,
        "dir": save_dir,
        "project": project,
        "entity": entity,
        "group": group or sweep(),
        "job_type": job_type,
        "tags": sorted({str(tag)[:_LONGEST_TAG] for tag in tags or () if str(tag)}),
    }
    try:
        Path(save_dir).mkdir(parents=True, exist_ok=True)
        if mode == "online":
            return _online(settings, Path(save_dir) / "runs" / run / WANDB_ID)
        return _started(settings, "offline", secrets.token_hex(8))
    except Exception as error:  # whatever W&B dislikes, the run itself is fine
        finish_wandb(1)
        log.warning("W&B logging is disabled for this run: %s", first_line(error))
        return None


class RunLogger(WandbLogger):
    """Lightning's logger, except that W&B's errors end the logging and not the training."""

    def __init__(self, experiment: Any, save_dir: str):
        super().__init__(experiment=experiment, save_dir=save_dir)
        self._broken = False

    def safely(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Calls a function of W&B unless W&B failed before; its first error becomes one warning."""
        if self._broken:
            return
        try:
            call(*args, **kwargs)
        except Exception as error:
            self._broken = True
            log.warning("W&B failed; no further logging for this run: %s", first_line(error))

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
                _define(self.experiment, name, summary="last", goal="maximize")
            self.experiment.log({**metrics, _STEP: step})
            self.experiment.summary.update({**metrics, **more})

        self.safely(write)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Logs how the run ended; a preempted one is marked as such, for W&B to expect it again."""
        if status == "preempted":
            self.safely(self.experiment.mark_preempting)
        self.safely(super().finalize, status)


def finish_wandb(exit_code: int = 0) -> None:
    """Ends the process's W&B run, so that the next job of a sweep in the same process starts its own."""
    import wandb

    if wandb.run is None:
        return
    try:
        offline, folder = wandb.run.settings.mode == "offline", Path(wandb.run.dir).parent
        wandb.finish(exit_code=exit_code)
    except Exception as error:
        log.warning("W&B did not finish cleanly: %s", first_line(error))
    else:
        if offline:
            log.info("W&B offline run; upload it with: wandb sync %s", _relative(folder))


def _online(settings: dict[str, Any], id_file: Path) -> Logger:
    """Returns the logger of a run that W&B's server knows, or of an offline one if the server does not answer."""
    known = id_file.read_text(encoding="utf-8", errors="replace").strip() if id_file.is_file() else ""
    known = agents_run() or known
    if reason := offline_reason():
        log.warning("W&B does not answer; the run is logged offline: %s", reason)
        return _started(settings, "offline", secrets.token_hex(8))
    try:
        logger = _started(settings, "online", known or secrets.token_hex(8))
    except Exception as error:
        finish_wandb(1)
        log.warning("W&B does not answer; the run is logged offline: %s", first_line(error))
        remember(first_line(error))
        return _started(settings, "offline", secrets.token_hex(8))
    write_text(id_file, logger.version or "")
    return logger


def _started(settings: dict[str, Any], mode: Literal["online", "offline"], run_id: str) -> RunLogger:
    """Returns the logger of a W&B run that was just started."""
    import wandb

    options = wandb.Settings(silent=True, console="off", init_timeout=_SECONDS_TO_ANSWER)
    if hasattr(options, "finish_timeout"):
        options.finish_timeout = _SECONDS_TO_FINISH  # older versions wait forever
    run = wandb.init(**settings, id=run_id, resume="allow" if mode == "online" else None, mode=mode, settings=options)
    define: Callable[..., None] = functools.partial(_define, run)
    define(_STEP)
    define("*", step_metric=_STEP, step_sync=True)
    for loss in ("train/loss", "val/loss"):
        define(loss, step_metric=_STEP, step_sync=True, summary="min", goal="minimize")
    return RunLogger(run, settings["dir"])


def _define(run: Any, name: str, goal: str | None = None, **options: Any) -> None:
    """Defines a metric; newer versions of W&B express its goal only by the kind of summary."""
    if goal:
        try:
            run.define_metric(name, goal=goal, **options)
            return
        except TypeError:
            pass
    run.define_metric(name, **options)


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
