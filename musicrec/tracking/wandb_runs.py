"""W&B runs: named, grouped and comparable; W&B never prompts and its failures never stop the training.

Lightning is not imported here: evaluate.py logs its comparison without it.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

from musicrec.errors import first_line
from musicrec.files import write_text
from musicrec.sweeps.current import sweep
from musicrec.tracking.wandb_access import agents_run, logged_in, offline_reason, remember
from musicrec.values import checked, fits

log = logging.getLogger(__name__)

# In a run's folder: the id under which W&B knows it. Deleted when the run starts from scratch, kept when it resumes.
WANDB_ID = "wandb_id"
Mode = Literal["auto", "online", "offline", "disabled"]
STEP = "trainer/global_step"
_LONGEST_TAG = 64  # characters that W&B takes
_SECONDS_TO_FINISH = 300  # what is not uploaded by then stays in wandb/ for `wandb sync`
_SECONDS_TO_ANSWER = 30  # a compute node without internet should not wait W&B's 90


def start_run(
    save_dir: str,
    run: str,
    project: str = "musicrec",
    entity: str | None = None,
    mode: Mode = "auto",
    tags: Iterable[str] | None = None,
    group: str | None = None,
    job_type: str = "train",
) -> WandbRun | None:
    """Returns a W&B run that was just started, or None with a warning if W&B cannot: nothing depends on it.

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
    checked("logger.wandb.mode", mode, Mode)
    if mode == "auto":
        wanted = os.environ.get("WANDB_MODE", "")
        mode = wanted if fits(wanted, Mode) else ("online" if logged_in() else "offline")  # type: ignore[assignment]
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


class WandbRun:
    """A W&B run whose errors end the logging and not the program.

    Attributes:
        experiment: the run, as W&B made it.
        save_dir: where its files go.
    """

    def __init__(self, experiment: Any, save_dir: str):
        self.experiment = experiment
        self.save_dir = save_dir
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


def _online(settings: dict[str, Any], id_file: Path) -> WandbRun:
    """Returns a run that W&B's server knows, or an offline one if the server does not answer."""
    known = id_file.read_text(encoding="utf-8", errors="replace").strip() if id_file.is_file() else ""
    known = agents_run() or known
    if reason := offline_reason():
        log.warning("W&B does not answer; the run is logged offline: %s", reason)
        return _started(settings, "offline", secrets.token_hex(8))
    try:
        run = _started(settings, "online", known or secrets.token_hex(8))
    except Exception as error:
        finish_wandb(1)
        log.warning("W&B does not answer; the run is logged offline: %s", first_line(error))
        remember(first_line(error))
        return _started(settings, "offline", secrets.token_hex(8))
    write_text(id_file, str(run.experiment.id))
    return run


def _started(settings: dict[str, Any], mode: Literal["online", "offline"], run_id: str) -> WandbRun:
    """Returns a W&B run that was just started."""
    import wandb

    options = wandb.Settings(silent=True, console="off", init_timeout=_SECONDS_TO_ANSWER)
    if hasattr(options, "finish_timeout"):
        options.finish_timeout = _SECONDS_TO_FINISH  # older versions wait forever
    run = wandb.init(**settings, id=run_id, resume="allow" if mode == "online" else None, mode=mode, settings=options)
    define(run, STEP)
    define(run, "*", step_metric=STEP, step_sync=True)
    for loss in ("train/loss", "val/loss"):
        define(run, loss, step_metric=STEP, step_sync=True, summary="min", goal="minimize")
    return WandbRun(run, settings["dir"])


def define(run: Any, name: str, goal: str | None = None, **options: Any) -> None:
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
