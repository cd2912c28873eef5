"""The command line: runs a stage, prints errors as one line; the `musicrec` command of an installed package."""

from __future__ import annotations

import functools
import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.errors import CompactHydraException

from musicrec import stages
from musicrec.config import config_dir
from musicrec.disk import disk_problem
from musicrec.errors import MusicrecError, first_line
from musicrec.overrides import as_typed, combined_experiments
from musicrec.sweeps.current import in_sweep

if TYPE_CHECKING:
    from omegaconf import DictConfig

Stage = Callable[["DictConfig"], float | None]

_STAGES: dict[str, Stage] = {
    stage.__name__: stage for stage in (stages.prepare, stages.extract, stages.train, stages.evaluate)
}

log = logging.getLogger(__name__)


def run(stage: Stage, cfg: DictConfig) -> float | None:
    """Runs a stage; a MusicrecError ends the program with its message alone.

    In a sweep Hydra shows an exception only after the last job, so the job itself logs at once what went wrong, and
    Hydra gets a compact error, which it prints without a traceback.

    Args:
        stage: a function of `musicrec.stages`.
        cfg: the composed configuration.

    Returns:
        The val score for a sweeper, from train; None from the others.
    """
    name = stage.__name__
    if cfg.get("status") not in (None, False):
        stage = stages.status
    try:
        return stage(cfg)
    except Exception as error:
        mistake = _cause(error, MusicrecError) or _limit(error, cfg)
        if not in_sweep():
            if mistake is None:
                raise
            sys.exit(f"musicrec {name}: {mistake}")
        if mistake is None:
            log.exception("%s failed", name)
            raise
        log.error("%s failed: %s", name, mistake)
        raise CompactHydraException(f"musicrec {name}: {mistake}") from None


def start(main: Callable[[], object]) -> None:
    """Runs a script's function that `hydra.main` made, on the command line's words as they were typed.

    Args:
        main: takes the overrides from `sys.argv`.
    """
    try:
        folders = config_dir() / "experiment"
        sys.argv[1:] = combined_experiments(as_typed(sys.argv[1:]), lambda name: (folders / name).is_dir())
    except MusicrecError as error:
        sys.exit(f"musicrec: {error}")
    try:
        main()
    except KeyboardInterrupt:
        print("\nmusicrec: interrupted; run the same command again to resume", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def console() -> None:
    """Runs `musicrec STAGE [key=value ...]`, the same as `python STAGE.py`, from any folder."""
    if len(sys.argv) < 2 or sys.argv[1] not in _STAGES:
        sys.exit(f"usage: musicrec {{{','.join(_STAGES)}}} [key=value ...]   (musicrec train --help lists the options)")
    name = sys.argv.pop(1)
    # Hydra's parser wants all overrides together: ours goes in front of the user's first.
    overrides = (index for index, word in enumerate(sys.argv) if "=" in word and not word.startswith("-"))
    sys.argv.insert(next(overrides, len(sys.argv)), f"hydra.job.name={name}")
    task = functools.wraps(run)(functools.partial(run, _STAGES[name]))
    start(hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="config")(task))


def _limit(error: Exception, cfg: DictConfig) -> MusicrecError | None:
    """Returns what to tell the user if memory, disk or the time of a SLURM job made a stage fail."""
    if _cause(error, MemoryError) is not None:
        return MusicrecError(
            f"there is not enough memory ({first_line(error)}); use smaller batches or a larger machine"
        )
    from submitit.core.utils import UncompletedJobError

    if _cause(error, UncompletedJobError) is not None:
        return MusicrecError(
            "the job ran out of time more often than hydra.launcher.max_num_timeout allows; give it more with "
            "hydra.launcher.timeout_min=MINUTES (the same command resumes it)"
        )
    problem = disk_problem(error, Path(str(cfg.paths.root)).expanduser())
    return MusicrecError(problem) if problem else None


def _cause(error: BaseException | None, kind: type[Exception]) -> BaseException | None:
    """Returns the first exception of `kind` in the chain: Hydra wraps what a constructor raises."""
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error
