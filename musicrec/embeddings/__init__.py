"""Audio representations: one file per model, the extraction loop and the .npy store."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from musicrec.embeddings.extraction.embed_files import embed_files

__all__ = ["embed_files"]


def __getattr__(name: str) -> Any:
    """Returns `embed_files`, whose import takes a second of torch: only those who use it wait for it."""
    if name != "embed_files":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from musicrec.embeddings.extraction.embed_files import embed_files  # noqa: PLC0415 - see the docstring

    return embed_files
