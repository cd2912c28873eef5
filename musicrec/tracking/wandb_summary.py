"""The comparison in W&B: one summary run a sweep, with the table and the plots, offline too."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import pandas as pd

from musicrec.evaluation.comparison import Comparison
from musicrec.evaluation.report.plots import Plot

if TYPE_CHECKING:
    from musicrec.tracking.wandb_runs import RunLogger


def log_comparison(comparison: Comparison, plots: Iterable[Plot], start: Callable[..., RunLogger | None]) -> int:
    """Returns the number of summary runs logged: one for every sweep in the comparison, one for all other runs.

    Args:
        comparison: what `compare` returned.
        plots: what `plots.draw` returned; curves of single runs are left to those runs.
        start: makes a W&B logger from the keywords run, job_type, tags and, for a sweep, group; None where W&B is off.
    """
    import wandb

    from musicrec.tracking.wandb_runs import finish_wandb

    shared = [plot for plot in plots if not plot.name.startswith("curves_")]
    sweeps = {name: run.metadata.get("sweep") for name, run in comparison.runs.items()}
    logged = 0
    for sweep in sorted(set(sweeps.values()), key=lambda sweep: (sweep is not None, sweep)):
        # Without a sweep the group is what the configuration says.
        group = {"group": sweep} if sweep else {}
        name = f"comparison_{sweep}" if sweep else "comparison"
        logger = start(run=name, job_type="evaluate", tags=["comparison"], **group)
        if logger is None:
            return logged
        names = [name for name, of in sweeps.items() if of == sweep]
        rows = comparison.comparison[comparison.comparison["run"].isin(names)]
        content: dict[str, Any] = {"comparison": wandb.Table(dataframe=_plain(rows))}
        for stem, table in comparison.tables.items():
            content[stem] = wandb.Table(dataframe=_plain(table.reset_index()))
        content |= {f"plots/{plot.name}": wandb.Image(str(plot.png), caption=plot.caption) for plot in shared}
        logger.safely(logger.experiment.log, content)
        finish_wandb()
        logged += 1
    return logged


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns a frame without pandas' own missing values, which W&B cannot store."""
    plain = frame.astype(object)
    return plain.where(plain.notna(), None)
