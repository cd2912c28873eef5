"""The command line: one call per script, errors as one line, and the `musicrec` command of an installed package."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from musicrec.config import config_dir

if TYPE_CHECKING:
    from omegaconf import DictConfig

STAGES = ("prepare", "extract", "train", "evaluate")

log = logging.getLogger(__name__)


def run(stage: str, cfg: DictConfig) -> float | None:
    """Runs a stage; a MusicrecError ends the program with its message alone.

    In a sweep Hydra shows an exception only after the last job, so the job itself says at once what went wrong, and
    Hydra gets a compact error, which it prints without a traceback.
    """
    from hydra.errors import CompactHydraException

    from musicrec import stages
    from musicrec.errors import MusicrecError
    from musicrec.sweeps.current import in_sweep

    try:
        return stages.run(stage, cfg)
    except Exception as error:
        mistake = _cause(error, MusicrecError)
        if not in_sweep():
            if mistake is None:
                raise
            sys.exit(f"musicrec {stage}: {mistake}")
        if mistake is None:
            log.exception("%s failed", stage)
            raise
        log.error("%s failed: %s", stage, mistake)
        raise CompactHydraException(f"musicrec {stage}: {mistake}") from None
    finally:
        # Where a sweep's jobs share a process, the next one would write into a W&B run that was left open.
        if "musicrec.tracking.wandb_runs" in sys.modules:
            sys.modules["musicrec.tracking.wandb_runs"].finish_wandb(exit_code=1)


def console() -> None:
    """The command `musicrec STAGE [key=value ...]`: the same as `python STAGE.py`, from any folder."""
    if len(sys.argv) < 2 or sys.argv[1] not in STAGES:
        sys.exit(f"usage: musicrec {{{','.join(STAGES)}}} [key=value ...]   (musicrec train --help lists the options)")
    import functools

    import hydra

    stage = sys.argv.pop(1)
    # Hydra's parser wants all overrides in one place: ours goes in front of the user's first.
    overrides = (place for place, word in enumerate(sys.argv) if "=" in word and not word.startswith("-"))
    sys.argv.insert(next(overrides, len(sys.argv)), f"hydra.job.name={stage}")
    task = functools.wraps(run)(functools.partial(run, stage))
    hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="config")(task)()


def _cause(error: BaseException | None, kind: type[Exception]) -> BaseException | None:
    """Returns the first exception of `kind` in the chain: Hydra wraps what a constructor raises."""
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error
