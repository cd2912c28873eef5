"""Prints published results beside ours and writes them as a file."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from musicrec.errors import MusicrecError
from musicrec.evaluation.comparison import Comparison
from musicrec.evaluation.references.beside import beside
from musicrec.evaluation.references.published import read_published
from musicrec.files import atomic_path
from musicrec.workspace import Workspace


def print_reference(workspace: Workspace, comparison: Comparison, reference: str) -> Path:
    """Returns the path of reference_{study}.csv, which is written; prints its rows and what to know of them.

    Args:
        workspace: where the file goes.
        comparison: what `compare` returned.
        reference: study2024, study2026 or a .csv file.

    Raises:
        MusicrecError: an unknown study; no run that it has a number for.
    """
    published, study = read_published(reference)
    frame = beside(comparison, published)
    if frame.empty:
        known = ", ".join(sorted(set(published["recommender"])))
        cutoffs = ", ".join(sorted({str(k) for k in published["k"]}))
        raise MusicrecError(
            f"reference={reference}: no run here has a published counterpart; it has the recommenders {known} at "
            f"eval.k={cutoffs} for its own embeddings (python train.py -m experiment=paper_2026)"
        )
    console = Console()
    if not console.is_terminal:
        console = Console(width=150)
    console.print(escape(study.source), highlight=False)
    for condition in study.conditions:
        console.print(f"- {escape(condition)}", highlight=False)
    console.print(_grid(frame, f"{Path(reference).stem} beside {workspace.root.resolve().name}"))
    path = workspace.root / f"reference_{Path(reference).stem}.csv"
    with atomic_path(path) as temporary:
        frame.to_csv(temporary, index=False)
    return path


def _grid(frame: pd.DataFrame, title: str) -> Table:
    """Returns the table for rich."""
    grid = Table(title=title, title_justify="left")
    for column in ("split", "recommender", "embedding", "metric"):
        grid.add_column(column, no_wrap=True)
    for column in ("theirs", "ours", "difference", "in both intervals"):
        grid.add_column(column, justify="right", no_wrap=True)
    for row in frame.to_dict("records"):
        printed = f"@{row['k']}" + ("" if row["k"] == row["printed k"] else f" (as @{row['printed k']})")
        name = row["embedding"] if row["control"] == "real" else f"{row['embedding']} shuffled"
        note = f"; {row['note']}" if row["note"] else ""
        grid.add_row(
            *(escape(str(text)) for text in (row["split"], row["recommender"], name)),
            f"{row['metric']}{printed}",
            _number(row, "mean", "conf"),
            _number(row, "ours", "ours conf"),
            f"{row['difference']:+.4f}",
            escape(f"{row['verdict']}{note}"),
        )
    return grid


def _number(row: Mapping[Hashable, Any], mean: str, half: str) -> str:
    """Returns a mean with its half-width, where there is one."""
    return f"{row[mean]:.4f}" + ("" if pd.isna(row[half]) else f" ± {row[half]:.4f}")
