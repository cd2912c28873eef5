"""Checkpoints on the disk: written beside their target and renamed, and checked before they are used."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from musicrec.errors import MusicrecError, first_line
from musicrec.files import atomic_path

if TYPE_CHECKING:
    from musicrec.training.run import Run

log = logging.getLogger(__name__)

_PARTS = ("epoch", "global_step", "state_dict", "optimizer_states", "callbacks", "loops")


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its target, waits until it is on the disk and renames it.

    Lightning's own writing makes the file in TMPDIR, and where that is another file system it copies over the target: a
    process killed meanwhile leaves half a checkpoint.

    Args:
        before: called before a checkpoint is put into place; what it raises keeps the old one.
    """

    def __init__(self, before: Callable[[], None] | None = None):
        super().__init__()
        self._before = before

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Writes a checkpoint."""
        with atomic_path(path, before=self._before) as temporary:
            torch.save(checkpoint, temporary)


def damage(path: Path) -> str | None:
    """Returns what is wrong with a checkpoint, None if a run can resume from it; all of its bytes are read."""
    try:
        with zipfile.ZipFile(path) as archive:  # torch itself does not compare the checksums
            if broken := archive.testzip():
                return f"{broken} has another checksum"
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch.load raises whatever the bytes lead to
        return first_line(error)
    if not isinstance(content, dict):
        return f"it holds a {type(content).__name__}"
    if missing := [part for part in _PARTS if part not in content]:
        return f"it has no {missing[0]}"
    return None


def needs_best(path: Path) -> bool:
    """Returns whether a checkpoint that is not damaged refers to that of a best epoch."""
    states = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["callbacks"].values()
    return any(isinstance(state, dict) and state.get("monitor") and state.get("best_model_path") for state in states)


def resumable_from(run: Run) -> str | None:
    """Returns which checkpoint of an earlier attempt to resume from, `last` or `best`; None if there is none.

    The last one counts only together with the best one that it refers to: without it the best weights are lost. The
    best one is itself the state at the end of an earlier epoch, so a run whose last checkpoint is damaged resumes from
    there.
    """
    if run.previous is None or not run.last.is_file():
        return None
    last, best = damage(run.last), damage(run.best) if run.best.is_file() else "it is missing"
    if last is None and (best is None or not needs_best(run.last)):
        return "last"
    if last is not None and best is None:
        log.warning("%s is damaged (%s); resuming from the best epoch before", run.last, last)
        return "best"
    path, why = (run.last, last) if last else (run.best, best)
    log.warning("%s is damaged (%s) and there is no other checkpoint; starting from scratch", path, why)
    return None


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """Returns the weights in a checkpoint.

    Raises:
        MusicrecError: if it is damaged.
    """
    if broken := damage(path):
        raise MusicrecError(f"{path} is damaged ({broken}); train the run again with overwrite=true")
    weights: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    return weights
