"""Compares pretrained audio representations in music recommenders, with confidence intervals.

The Python API: `embed_files`, `open_library`, `load_run` (docs/python-api.md), and the error that all of them raise.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from musicrec.api import Library, LoadedRun, Match, embed_files, load_run, open_library
    from musicrec.errors import MusicrecError

__version__ = "0.1.0"

__all__ = ["Library", "LoadedRun", "Match", "MusicrecError", "embed_files", "load_run", "open_library"]


def __getattr__(name: str) -> Any:
    """Returns a name of the API, whose import takes seconds of torch: only those who use it wait for it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - see the docstring

    return getattr(import_module("musicrec.errors" if name == "MusicrecError" else "musicrec.api"), name)


def __dir__() -> list[str]:
    """Returns the public names."""
    return sorted({*globals(), *__all__})
