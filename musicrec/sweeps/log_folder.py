"""LogFolder: a command runs without Hydra's log folder where that cannot be written."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, open_dict, read_write

from musicrec.disk import disk_problem

# More than a log's first lines and the configuration need.
_PROBE = b"\0" * (64 << 10)


class LogFolder(Callback):
    """Sees whether the log folder can be written before Hydra does, which would end in a traceback.

    A single command then runs without a log file: what it says on the terminal is the same, and what fails for the same
    reason is reported by the stage. A sweep cannot do without its folder.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Leaves the log file out if it cannot be written."""
        if problem(Path(str(config.hydra.run.dir))) is None:
            return
        with read_write(config.hydra), open_dict(config.hydra):
            config.hydra.run.dir = "."
            config.hydra.output_subdir = None
            logging = config.hydra.job_logging
            logging.get("handlers", {}).pop("file", None)
            if "root" in logging:
                logging.root.handlers = [name for name in logging.root.handlers if name != "file"]

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Ends the program if the sweep's folder cannot be written."""
        if found := problem(Path(str(config.hydra.sweep.dir))):
            sys.exit(f"musicrec: {found}; give another folder: hydra.sweep.dir=FOLDER")


def problem(folder: Path) -> str | None:
    """Returns why a folder cannot be made and written to, None if it can."""
    probe = folder / ".probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(_PROBE)
        probe.unlink()
    except OSError as error:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
        return disk_problem(error, folder) or str(error)
    return None
