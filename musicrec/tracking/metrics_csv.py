"""MetricsCsv: a run's metrics per step as a csv file."""

from __future__ import annotations

import csv
import io
import logging
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from musicrec.errors import first_line
from musicrec.files import write_text

log = logging.getLogger(__name__)


class MetricsCsv(Logger):
    """Writes `runs/{run}/metrics.csv`: one row per step that logged something, kept across a resumed run.

    Lightning's CSVLogger deletes what an earlier attempt of the same run wrote; here a resumed run reads it back and
    drops only the rows at or after the step it resumes from.

    Args:
        save_dir: folder of all runs.
        run: name of the run.
    """

    def __init__(self, save_dir: str, run: str):
        super().__init__()
        self._run = run
        self._path = Path(save_dir) / run / "metrics.csv"
        self._rows: dict[int, dict[str, str]] | None = None
        self._before: Callable[[], None] | None = None

    def guard(self, before: Callable[[], None]) -> None:
        """Has a function called before the file is written; what it raises keeps the old one."""
        self._before = before

    @property
    def name(self) -> str:
        """Returns the name of the run."""
        return self._run

    @property
    def version(self) -> str:
        """Returns "": a run has one file."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Does nothing: runs/{run}/config.yaml holds the settings."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Adds values to the row of a step."""
        if self._rows is None:
            self._rows = self._read(before=step or 0)
        row = self._rows.setdefault(step or 0, {})
        row.update({name: repr(float(value)) for name, value in metrics.items()})

    @rank_zero_only
    def complete(self, step: int, metrics: Mapping[str, float]) -> None:
        """Adds values to the row of a step at which an earlier attempt was stopped, without those of later steps."""
        self._rows = self._read(before=step + 1)
        self.log_metrics(metrics, step)
        self.save()

    @rank_zero_only
    def save(self) -> None:
        """Writes all rows, columns in order of appearance after `step` and `epoch`."""
        if not self._rows:
            return
        columns = ["step", "epoch"]
        columns += list(dict.fromkeys(name for row in self._rows.values() for name in row if name not in columns))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        for step, row in sorted(self._rows.items()):
            writer.writerow({"step": step, **row})
        # Before the renaming: a process that is stopped while the bytes are written may wake up long after.
        write_text(self._path, text.getvalue(), self._before)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Writes what is not written yet."""
        self.save()

    def _read(self, before: int) -> dict[int, dict[str, str]]:
        """Returns the rows of an earlier attempt up to a step."""
        if before == 0 or not self._path.is_file():
            return {}
        try:
            with self._path.open(encoding="utf-8", newline="") as file:
                rows = [{name: value for name, value in row.items() if name and value} for row in csv.DictReader(file)]
            return {int(row.pop("step")): row for row in rows if int(row["step"]) < before}
        except (ValueError, KeyError, csv.Error) as error:
            log.warning("%s is damaged (%s); the steps of earlier attempts are lost", self._path, first_line(error))
            return {}
