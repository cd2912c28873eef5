"""Logs the comparison to W&B: one summary run per sweep with the tables and the plots, offline too."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd

from musicrec.evaluation.comparison import Comparison
from musicrec.evaluation.report.plots.draw import Plot
from musicrec.tracking.wandb_runs import WandbRun, finish_wandb


def log_comparison(comparison: Comparison, plots: Iterable[Plot], start: Callable[..., WandbRun | None]) -> int:
    """Returns the number of summary runs logged: one per sweep in the comparison, one for all other runs.

    Args:
        comparison: what `compare` returned.
        plots: what `draw` returned.
        start: starts a W&B run from the keywords run, job_type, tags and, for a sweep, group; returns None if W&B is
            off.
    """
    import wandb  # takes a second, and is optional

    shared = list(plots)
    sweeps = {name: run.info.sweep for name, run in comparison.runs.items()}
    logged = 0
    for sweep in sorted(set(sweeps.values()), key=lambda sweep: (sweep is not None, sweep)):
        # Without a sweep the group is what the configuration says.
        group = {"group": sweep} if sweep else {}
        name = f"comparison_{sweep}" if sweep else "comparison"
        started = start(run=name, job_type="evaluate", tags=["comparison"], **group)
        if started is None:
            return logged
        names = [name for name, run_sweep in sweeps.items() if run_sweep == sweep]
        rows = comparison.results[comparison.results["run"].isin(names)]
        content: dict[str, Any] = {"comparison": wandb.Table(dataframe=_plain(rows))}
        for stem, table in comparison.tables.items():
            content[stem] = wandb.Table(dataframe=_plain(table.reset_index()))
        content |= {f"plots/{plot.name}": wandb.Image(str(plot.png), caption=plot.caption) for plot in shared}
        started.safely(started.experiment.log, content)
        finish_wandb()
        logged += 1
    return logged


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns a frame without pandas' own missing values, which W&B cannot store."""
    plain = frame.astype(object)
    return plain.where(plain.notna(), None)
