"""The command line: runs a stage, prints errors as one line; the `musicrec` command of an installed package."""

from __future__ import annotations

import functools
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.errors import CompactHydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from musicrec import __version__, stages
from musicrec.checks.composition import composition, composition_problem, refuse_no_option
from musicrec.config import config_dir, is_group, option
from musicrec.disk import disk_problem
from musicrec.errors import MusicrecError, first_line
from musicrec.memory import memory_problem
from musicrec.overrides import as_typed, combined_experiments, given_to_each_job, quoted
from musicrec.sweeps.current import in_sweep
from musicrec.sweeps.layer_words import asks_for_each_layer, layer_sweep, without_sweep

if TYPE_CHECKING:
    from omegaconf import DictConfig

Stage = Callable[["DictConfig"], float | None]

_STAGES: dict[str, Stage] = {
    stage.__name__: stage for stage in (stages.prepare, stages.extract, stages.train, stages.evaluate)
}

log = logging.getLogger(__name__)

# Set to `musicrec` by the installed command: help and messages then say `musicrec train` for `python train.py`.
_COMMAND = "MUSICREC_COMMAND"
_SUFFIX = "MUSICREC_SUFFIX"
_SCRIPT = re.compile(r"\bpython (prepare|extract|train|evaluate)\.py\b")


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
            sys.exit(_spoken(f"musicrec {name}: {mistake}"))
        if mistake is None:
            log.exception("%s failed", name)
            raise
        log.error("%s", _spoken(f"{name} failed: {mistake}"))
        raise CompactHydraException(_spoken(f"musicrec {name}: {mistake}")) from None


def start(main: Callable[[], object], name: str = "") -> None:
    """Runs a script's function that `hydra.main` made, on the command line's words as they were typed.

    What is wrong with the configuration itself is one line, as all mistakes are.

    Args:
        main: takes the overrides from `sys.argv`.
        name: of the stage, if it is one that sweeps the layers of an embedding (`experiment=layers`): `train`.
    """
    try:
        folders = config_dir() / "experiment"
        sys.argv[1:] = combined_experiments(as_typed(sys.argv[1:]), lambda name: (folders / name).is_dir())
        refuse_no_option(sys.argv[1:])
        if name == "train" and asks_for_each_layer(sys.argv[1:]):
            return _sweep_layers(main)
        with composition():
            sys.argv[1:] = given_to_each_job(
                sys.argv[1:], is_group, lambda name: option("experiment", name).get("hydra", {})
            )
            main()
    except MusicrecError as error:
        told = str(error)  # a sweep's last failure names the stage already
        sys.exit(told if told.startswith("musicrec ") else f"musicrec: {told}")
    except (KeyboardInterrupt, SystemExit) as left:
        # Lightning turns Ctrl-C into an exit of its own, without a word.
        if isinstance(left, SystemExit) and not (left.code == 1 and isinstance(left.__context__, KeyboardInterrupt)):
            raise
        print("\nmusicrec: interrupted; run the same command again to resume", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:  # what reads our output, e.g. head, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)


def _sweep_layers(main: Callable[[], object]) -> None:
    """Extracts every layer of an embedding in one pass, trains on each, and compares them.

    How many layers there are is known only from the weights, so this is no grid that Hydra could read.
    """
    with composition():
        with hydra.initialize_config_dir(str(config_dir()), version_base="1.3"):
            cfg = hydra.compose("config", without_sweep(sys.argv[1:]))
        logging.basicConfig(level=logging.INFO, format="%(message)s")
        layers = stages.layers(cfg)
        sys.argv[1:] = layer_sweep(sys.argv[1:], str(cfg.embedding.name), layers)
        main()
        stages.evaluate(cfg)


def console() -> None:
    """Runs `musicrec STAGE [key=value ...]`, the same as `python STAGE.py`, from any folder.

    A folder `conf` in the working folder is searched for options after musicrec's own: `conf/local/default.yaml`, files
    for groups such as `conf/data/mine.yaml`.
    """
    os.environ |= {_COMMAND: "musicrec", _SUFFIX: ""}
    words = sys.argv[1:]
    if words[:1] in (["-sc"], ["--shell-completion"]):
        return _complete(words)
    if not words or words[0] in ("-h", "--help"):
        print(_usage())
        sys.exit(0 if words else 2)
    if words[0] in ("-V", "--version"):
        print(f"musicrec {__version__}")
        return None
    if words[0] not in (*_STAGES, "status"):
        sys.exit(f"musicrec: there is no stage {words[0]!r}\n{_usage()}")
    name = words.pop(0)
    if name == "status":
        if words and "=" not in words[0] and words[0][:1] not in "-~+":
            words[0] = f"status={words[0]}"
        elif not any(word.startswith("status=") for word in words):
            words.insert(0, "status=true")
    # Hydra's parser wants all overrides together: ours go in front of the user's first.
    ours = [f"hydra.job.name={name}", *_searched(words)]
    first = next((index for index, word in enumerate(words) if "=" in word and not word.startswith("-")), len(words))
    sys.argv[1:] = [*words[:first], *ours, *words[first:]]
    _run_stage(name)
    return None


def _run_stage(name: str) -> None:
    """Runs a stage on the words in `sys.argv`, as a script does."""
    stage = _STAGES.get(name, stages.status)
    task = functools.wraps(run)(functools.partial(run, stage))
    start(hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="config")(task), name)


def _usage() -> str:
    """Returns what `musicrec --help` prints."""
    lines = [f"  musicrec {name:8} [key=value ...]   {_first_line(stage)}" for name, stage in _STAGES.items()]
    return "\n".join(
        [
            "usage: musicrec STAGE [key=value ...]",
            "",
            *lines,
            "  musicrec status   [watch|NAME]        how far the sweeps of the workspace are",
            "",
            "  musicrec train --help                 all groups, options and keys",
            "  musicrec --version",
            '  eval "$(musicrec -sc install=bash)"   completion in bash; also zsh, fish',
        ]
    )


def _first_line(stage: Stage) -> str:
    """Returns what a stage does, without its number."""
    return str(stage.__doc__).splitlines()[0].partition(": ")[2]


def _searched(words: Sequence[str]) -> list[str]:
    """Returns the override that adds the folder `conf` of the working folder; [] if there is none, or it is ours."""
    mine = Path.cwd() / "conf"
    if not mine.is_dir() or mine.samefile(config_dir()) or any(word.startswith("hydra.searchpath=") for word in words):
        return []
    return [f"hydra.searchpath=[{quoted(f'file://{mine}')}]"]


def _complete(words: Sequence[str]) -> None:
    """Answers the shell's completion: the stages, then what Hydra says of a stage's keys."""
    typed = os.environ.get("COMP_LINE", "").split(" ")[1:]
    if "query=bash" in words and len(typed) < 2:
        return print(*_STAGES, "status")
    if typed and typed[0] in (*_STAGES, "status"):  # Hydra completes the words after the name of the program
        os.environ["COMP_LINE"] = " ".join(["musicrec", *typed[1:]])
    return _run_stage("train")


def _spoken(text: str) -> str:
    """Returns a message in the words of the installed command, if that is what runs.

    >>> os.environ["MUSICREC_COMMAND"] = "musicrec"
    >>> _spoken("make it with: python prepare.py data=mine")
    'make it with: musicrec prepare data=mine'
    >>> del os.environ["MUSICREC_COMMAND"]
    """
    if os.environ.get(_COMMAND) != "musicrec":
        return text
    return _SCRIPT.sub(r"musicrec \1", text)


def _limit(error: Exception, cfg: DictConfig) -> MusicrecError | None:
    """Returns what to tell the user if memory, disk, the time of a SLURM job or a setting made a stage fail."""
    if short := memory_problem(error):
        return MusicrecError(f"{short}; use smaller batches or a larger machine")
    from submitit.core.utils import UncompletedJobError

    if _cause(error, UncompletedJobError) is not None:
        return MusicrecError(
            "the job ran out of time more often than hydra.launcher.max_num_timeout allows; give it more with "
            "hydra.launcher.timeout_min=MINUTES (the same command resumes it)"
        )
    if (unresolved := _cause(error, OmegaConfBaseException)) is not None:
        return MusicrecError(composition_problem(unresolved))
    if type(error).__name__ == "MisconfigurationException":  # Lightning's, which is not imported for this
        return MusicrecError(f"Lightning refuses the settings of trainer and callbacks: {first_line(error)}")
    problem = disk_problem(error, Path(str(OmegaConf.select(cfg, "paths.root"))).expanduser())
    return MusicrecError(problem) if problem else None


def _cause(error: BaseException | None, kind: type[Exception]) -> BaseException | None:
    """Returns the first exception of `kind` in the chain: Hydra wraps what a constructor raises."""
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error
