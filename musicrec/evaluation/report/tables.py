"""The comparison for the eye: printed, and as Markdown and LaTeX for a paper."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from musicrec.evaluation.comparison import TABLES, Comparison
from musicrec.evaluation.significance import ALPHA, worse_than_best
from musicrec.files import write_text

if TYPE_CHECKING:
    from musicrec.workspace import Workspace

# What a backslash before it does not make a plain character of; < and > are others in LaTeX's default font encoding.
_TEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$"}

# How the studies call the recommenders behind the tables.
TITLES = {"cosine": "KNN", "shallow": "Shallow net", "bert": "BERT4Rec"}


@dataclass(frozen=True)
class Cell:
    """One number of a table: mean ± 95 % half-width."""

    mean: float
    conf: float
    best: bool  # the best of its column
    worse: bool  # significantly worse than the best (paired t, Holm-corrected, 5 %)

    def text(self, digits: int = 4) -> str:
        """Returns `0.1234 ± 0.0012`; without the interval where there is none."""
        return f"{self.mean:.{digits}f}" + ("" if pd.isna(self.conf) else f" ± {self.conf:.{digits}f}")


def cells(comparison: Comparison, table: str, split: str | None = None) -> Iterator[tuple[str, list[Cell], str]]:
    """Returns (embedding, the five cells, Size) of each row of a table, the best NDCG first."""
    rows = comparison.shown(table, split)
    best = rows[comparison.metrics].max()
    worse = {
        metric: worse_than_best(rows.set_index("embedding")[metric], comparison.pairs(table, split, metric))
        for metric in comparison.metrics
    }
    for row in rows.to_dict("records"):
        of_row = [
            Cell(row[metric], row[f"{metric} conf"], row[metric] == best[metric], row["embedding"] in worse[metric])
            for metric in comparison.metrics
        ]
        yield str(row["embedding"]), of_row, _size(row["Size"])


def legend() -> str:
    """Returns what the marks of `markdown` and `latex` mean."""
    return (
        f"Mean over users ± half-width of its 95 % interval; best in bold; † significantly worse than the best "
        f"(paired t test, Holm-corrected, p < {ALPHA})."
    )


def markdown(comparison: Comparison, table: str, split: str | None = None) -> str:
    """Returns a table in GitHub's Markdown, best in bold, † for significantly worse than the best."""
    header = ["embedding", *comparison.metrics, "Size"]
    lines = [header, ["---", *["---:"] * (len(header) - 1)]]
    for embedding, of_row, size in cells(comparison, table, split):
        numbers = [f"**{cell.text()}**" if cell.best else cell.text() + (" †" if cell.worse else "") for cell in of_row]
        lines.append([embedding.replace("|", "\\|"), *numbers, size])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + f"\n{legend()}\n"


def latex(comparison: Comparison, table: str, split: str | None = None) -> str:
    r"""Returns a table for LaTeX with booktabs, best in bold, $^\dagger$ for significantly worse than the best."""
    split = split or comparison.splits[0]
    header = " & ".join(_escape(name) for name in ("Embedding", *comparison.metrics, "Size"))
    lines = []
    for embedding, of_row, size in cells(comparison, table, split):
        numbers = []
        for cell in of_row:
            text = cell.text().replace(" ± ", r" \pm ")
            numbers.append(rf"$\mathbf{{{text}}}$" if cell.best else f"${text}" + (r"^\dagger$" if cell.worse else "$"))
        lines.append(" & ".join([_escape(embedding), *numbers, size]) + r" \\")
    body = "\n".join(lines)
    caption = _escape(f"{TITLES[table]} ({split}). {legend()}")
    caption = caption.replace("±", r"$\pm$").replace("†", r"$^\dagger$")
    label = f"tab:{table}-{split}".replace("_", "-")
    return rf"""% needs \usepackage{{booktabs}}
\begin{{table}}
  \centering
  \caption{{{caption}}}
  \label{{{label}}}
\begin{{tabular}}{{l{"r" * (len(comparison.metrics) + 1)}}}
\toprule
{header} \\
\midrule
{body}
\bottomrule
\end{{tabular}}
\end{{table}}
"""


def write_formats(workspace: Workspace, comparison: Comparison) -> None:
    """Writes {table}.md and {table}.tex beside each {table}.csv."""
    formats: dict[str, Callable[[Comparison, str, str], str]] = {"md": markdown, "tex": latex}
    for stem, table, split in comparison.names():
        for suffix, render in formats.items():
            write_text(workspace.root / f"{stem}.{suffix}", render(comparison, table, split))


def print_comparison(comparison: Comparison) -> None:
    """Prints a table for each recommender, mean ± 95 % half-width, the best NDCG first; then the runs of no table."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=140)  # rich would wrap the cells of a log file at 80 columns
    for split in comparison.splits:
        for table in (*TABLES, None):
            rows = comparison.shown(table, split)
            if rows.empty:
                continue
            users = rows["users"].max()
            grid = Table(title=f"{table or 'other runs'} · {split}, {users} users, mean ± 95 % interval")
            grid.title_justify = "left"
            grid.add_column("embedding" if table else "run", no_wrap=True)
            for metric in comparison.metrics:
                grid.add_column(metric, justify="right", no_wrap=True)
            grid.add_column("Size", justify="right")
            if table:
                for embedding, of_row, size in cells(comparison, table, split):
                    numbers = [f"[bold]{cell.text()}[/bold]" if cell.best else cell.text() for cell in of_row]
                    grid.add_row(embedding, *numbers, size)
            else:
                for row in rows.to_dict("records"):
                    numbers = [Cell(row[m], row[f"{m} conf"], False, False).text() for m in comparison.metrics]
                    grid.add_row(row["run"], *numbers, _size(row["Size"]))
            console.print(grid)
    kept = len(comparison.runs)
    shown = comparison.comparison.loc[comparison.comparison["shown"], "run"].nunique()
    hidden = kept - shown - len(comparison.shown(None))
    if hidden > 0:
        console.print(f"{kept} runs, of each pair the best on val shown ({shown}); all are in comparison.csv")


def _size(size: Any) -> str:
    return "" if pd.isna(size) else str(size)


def _escape(text: str) -> str:
    """Returns text with LaTeX's special characters escaped.

    >>> _escape("musicfm_mean 95 %")
    'musicfm\\\\_mean 95 \\\\%'
    """
    return "".join(f"\\{character}" if character in "&%$#_{}" else _TEX.get(character, character) for character in text)
