"""What is wrong with a configuration before a stage sees it: a group without option, and what Hydra itself refuses."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from musicrec.config import config_dir
from musicrec.errors import MusicrecError, demand

# Groups of which a stage needs an option.
_NEEDED = ("data", "embedding", "recommender", "optimizer", "trainer", "paths")
# Lines of Hydra about itself.
_HYDRA_ONLY = ("object_type=", "Config search path", "provider=")
_LONGEST_LINE = 1000
_FULL_ERROR = "HYDRA_FULL_ERROR"


def refuse_no_option(words: Sequence[str]) -> None:
    """Refuses `GROUP=null` for a group that every stage needs.

    Raises:
        MusicrecError: names the options.
    """
    for word in words:
        group, given, value = word.partition("=")
        if given and value in ("null", "") and group in _NEEDED:
            options = sorted(path.stem for path in (config_dir() / group).glob("*.yaml"))
            demand(group, None, False, f"an option: {', '.join(options)}")


@contextmanager
def composition() -> Iterator[None]:
    """Turns what Hydra or OmegaConf refuses into a MusicrecError, unless HYDRA_FULL_ERROR asks for tracebacks."""
    if _FULL_ERROR in os.environ:
        yield
        return
    os.environ[_FULL_ERROR] = "1"  # Hydra then raises what it would print, and with it a hint about this variable
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise MusicrecError(composition_problem(error)) from None
    finally:
        os.environ.pop(_FULL_ERROR, None)


def composition_problem(error: BaseException) -> str:
    """Returns on one line what Hydra or OmegaConf says of a configuration: what is wrong, and what there is."""
    said: list[str] = []
    seen: BaseException | None = error
    while seen is not None:
        said += [line.strip() for line in str(seen).splitlines() if line.strip()]
        seen = seen.__cause__
    text = " ".join(line for line in dict.fromkeys(said) if not line.startswith(_HYDRA_ONLY))
    return text if len(text) <= _LONGEST_LINE else f"{text[: _LONGEST_LINE - 1]}…"
