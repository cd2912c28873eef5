"""The command line: runs a stage, prints errors as one line; the `musicrec` command of an installed package."""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.errors import CompactHydraException, HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from musicrec import stages
from musicrec.config import config_dir
from musicrec.disk import disk_problem
from musicrec.errors import MusicrecError, demand, first_line
from musicrec.overrides import as_typed
from musicrec.sweeps.current import in_sweep

if TYPE_CHECKING:
    from omegaconf import DictConfig

Stage = Callable[["DictConfig"], float | None]

_STAGES: dict[str, Stage] = {
    stage.__name__: stage for stage in (stages.prepare, stages.extract, stages.train, stages.evaluate)
}

# Groups of which a stage needs an option.
_NEEDED = ("data", "embedding", "recommender", "optimizer", "trainer", "paths")
_FULL_ERROR = "HYDRA_FULL_ERROR"
_LONGEST_LINE = 1000
# Lines of Hydra about itself.
_HYDRA_ONLY = ("object_type=", "Config search path", "provider=")
# What torch says on a CPU and on a GPU.
_NO_MEMORY = ("can't allocate memory", "out of memory", "Storage size calculation overflowed")

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
    try:
        return stage(cfg)
    except Exception as error:
        mistake = _cause(error, MusicrecError) or _known(error, cfg)
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

    What is wrong with the configuration itself is one line, as all mistakes are.

    Args:
        main: takes the overrides from `sys.argv`.
    """
    try:
        sys.argv[1:] = as_typed(sys.argv[1:])
        _refuse_no_option(sys.argv[1:])
    except MusicrecError as error:
        sys.exit(f"musicrec: {error}")
    if _FULL_ERROR in os.environ:  # asks for tracebacks
        main()
        return
    os.environ[_FULL_ERROR] = "1"  # Hydra then raises what it would print, and with it a hint about this variable
    try:
        main()
    except (HydraException, OmegaConfBaseException) as error:
        sys.exit(f"musicrec: {_composition_problem(error)}")
    finally:
        del os.environ[_FULL_ERROR]


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


def _refuse_no_option(words: Sequence[str]) -> None:
    """Refuses `GROUP=null` for a group that every stage needs."""
    for word in words:
        group, _, value = word.partition("=")
        if value in ("null", "") and group in _NEEDED:
            options = sorted(path.stem for path in (config_dir() / group).glob("*.yaml"))
            demand(group, None, False, f"an option: {', '.join(options)}")


def _composition_problem(error: BaseException) -> str:
    """Returns on one line what Hydra or OmegaConf says of a configuration: what is wrong, and what there is."""
    said: list[str] = []
    seen: BaseException | None = error
    while seen is not None:
        said += [line.strip() for line in str(seen).splitlines() if line.strip()]
        seen = seen.__cause__
    own = [line for line in dict.fromkeys(said) if not line.startswith(_HYDRA_ONLY)]
    text = " ".join(own)
    return text if len(text) <= _LONGEST_LINE else f"{text[: _LONGEST_LINE - 1]}…"


def _known(error: Exception, cfg: DictConfig) -> MusicrecError | None:
    """Returns what to tell the user if memory, disk, or what Lightning or OmegaConf refuse made a stage fail."""
    memory = _cause(error, MemoryError)
    said = _cause(error, RuntimeError)
    if memory is None and said is not None and any(words in str(said) for words in _NO_MEMORY):
        memory = said
    if memory is not None:
        return MusicrecError(
            f"there is not enough memory ({first_line(memory)}); use smaller sizes and batches or a larger machine"
        )
    if (unresolved := _cause(error, OmegaConfBaseException)) is not None:
        return MusicrecError(_composition_problem(unresolved))
    if type(error).__name__ == "MisconfigurationException":  # Lightning's, which is not imported for this
        return MusicrecError(f"Lightning refuses the settings of trainer and callbacks: {first_line(error)}")
    problem = disk_problem(error, Path(str(OmegaConf.select(cfg, "paths.root"))).expanduser())
    return MusicrecError(problem) if problem else None


def _cause(error: BaseException | None, kind: type[Exception]) -> BaseException | None:
    """Returns the first exception of `kind` in the chain: Hydra wraps what a constructor raises."""
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error
