"""Comparison tables: terminal, Markdown, LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from musicrec.evaluation.comparison import Comparison
from musicrec.evaluation.statistics.significance import ALPHA, worse_than_best
from musicrec.files import write_text
from musicrec.workspace import Workspace

# Name of the row that shows what random lists would reach.
CHANCE = "chance"
# Characters that no backslash escapes; < and > print as others in LaTeX's default font encoding.
_TEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$"}


@dataclass(frozen=True)
class Cell:
    """One number of a table: mean ± 95 % half-width.

    Attributes:
        mean: the mean over users.
        conf: half-width of its interval, NaN for none.
        best: whether it is the best of its column.
        worse: whether it is significantly worse than the best (paired t, Holm-corrected, 5 %).
        ends: both ends of the interval if it is a bootstrap's, whose ends lie unequally far from the mean.
    """

    mean: float
    conf: float
    best: bool = False
    worse: bool = False
    ends: tuple[float, float] | None = None

    def text(self, digits: int = 4) -> str:
        """Returns `0.1234 ± 0.0012`, `0.1234 [0.1225, 0.1249]` of a bootstrap; without the interval if there is none.

        Empty for an unknown mean.

        >>> Cell(0.1234, 0.0012).text(), Cell(0.1234, 0.0012, ends=(0.1225, 0.1249)).text()
        ('0.1234 ± 0.0012', '0.1234 [0.1225, 0.1249]')
        """
        if pd.isna(self.mean):
            return ""
        interval = self.interval(digits)
        sign = "± " if interval and self.ends is None else ""
        return f"{self.mean:.{digits}f}" + (f" {sign}{interval}" if interval else "")

    def interval(self, digits: int = 4) -> str:
        """Returns `0.0012`, or `[0.1225, 0.1249]` of a bootstrap; empty if there is no interval."""
        if pd.isna(self.conf):
            return ""
        if self.ends is None:
            return f"{self.conf:.{digits}f}"
        return f"[{self.ends[0]:.{digits}f}, {self.ends[1]:.{digits}f}]"


def cell_of(row: Mapping[Any, Any], metric: str, *, best: bool = False, worse: bool = False) -> Cell:
    """Returns the cell of a row of results, or of chance levels, which know neither intervals nor the pooled NDCG.

    Args:
        row: may have the columns `metric` and `{metric} conf`, and with a bootstrap `{metric} low` and `{metric} high`.
        metric: column name.
        best: see `Cell`.
        worse: see `Cell`.
    """
    unknown = float("nan")
    ends = (row[f"{metric} low"], row[f"{metric} high"]) if f"{metric} low" in row else None
    return Cell(row.get(metric, unknown), row.get(f"{metric} conf", unknown), best, worse, ends)


def cells(comparison: Comparison, table: str, split: str | None = None) -> Iterator[tuple[str, list[Cell], str]]:
    """Yields (name, the cells, Size) of each row of a table, the best NDCG first."""
    rows, metrics = comparison.shown(table, split), comparison.columns(split)
    if rows.empty:  # a recommender without lists of this split
        return
    best = rows[metrics].max()
    worse = {
        metric: worse_than_best(rows.set_index("row")[metric], comparison.pairs(table, split, metric))
        for metric in metrics
    }
    for row in rows.to_dict("records"):
        row_cells = [
            cell_of(row, metric, best=row[metric] == best[metric], worse=row["row"] in worse[metric])
            for metric in metrics
        ]
        yield str(row["row"]), row_cells, _size(row["Size"])


def bar_cells(comparison: Comparison, table: str, split: str | None = None) -> Iterator[tuple[str, list[Cell], str]]:
    """Yields what `cells` does of the recommenders without audio, the best on val first; without marks."""
    for row in comparison.bar_rows(table, split).to_dict("records"):
        row_cells = [cell_of(row, metric) for metric in comparison.columns(split)]
        yield f"{comparison.title(row['run'])} (no audio)", row_cells, _size(row["Size"])


def chance_cells(comparison: Comparison, split: str | None = None) -> list[Cell]:
    """Returns the cells of the chance level of a split; [] where it is not known."""
    split = split or comparison.splits[0]
    level = comparison.chance.get(split, {})
    return [cell_of(level, metric) for metric in comparison.columns(split)] if level else []


def legend(comparison: Comparison, table: str, split: str | None = None) -> str:
    """Returns the explanation of the numbers and marks of a table."""
    bootstrap = any(str(column).endswith(" low") for column in comparison.results)
    interval = "[95 % bootstrap interval]" if bootstrap else "± half-width of its 95 % interval"
    lines = [
        f"Mean over users {interval}; best in bold; ‡ significantly worse than the best; "
        f"† after a name: not better than shuffled (paired t tests, Holm-corrected, p < {ALPHA})."
    ]
    if len(comparison.bar_rows(table, split)):
        lines.append("Recommenders without audio are the bar to pass; they have no marks.")
    if tried(comparison, table, split):
        lines.append("Tried: number of settings of which the best on val is shown.")
    return " ".join(lines)


def tried(comparison: Comparison, table: str, split: str | None = None) -> list[str]:
    """Returns the number of settings tried of each row, bars included, in the order of the table; [] if all are 1."""
    rows = pd.concat([comparison.shown(table, split), comparison.bar_rows(table, split)])
    return [str(count) for count in rows["tried"]] if (rows["tried"] > 1).any() else []


def markdown(comparison: Comparison, table: str, split: str | None = None) -> str:
    """Returns a table in GitHub's Markdown, best in bold, ‡ for significantly worse than the best."""
    counts = tried(comparison, table, split)
    header = ["embedding", *comparison.columns(split), "Size", *(["tried"] if counts else [])]
    lines = [header, ["---", *["---:"] * (len(header) - 1)]]
    for number, (embedding, row_cells, size) in enumerate(_all_cells(comparison, table, split)):
        numbers = [
            f"**{cell.text()}**" if cell.best else cell.text() + (" ‡" if cell.worse else "") for cell in row_cells
        ]
        lines.append([embedding.replace("|", "\\|"), *numbers, size, *counts[number : number + 1]])
    if chance := chance_cells(comparison, split):
        lines.append([f"*{CHANCE}*", *(cell.text() for cell in chance), *[""] * (len(header) - 1 - len(chance))])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + f"\n{legend(comparison, table, split)}\n"


def latex(comparison: Comparison, table: str, split: str | None = None) -> str:
    r"""Returns a table for LaTeX with booktabs, best in bold, $^\ddagger$ for significantly worse than the best."""
    split = split or comparison.splits[0]
    counts = tried(comparison, table, split)
    names = ["Embedding", *comparison.columns(split), "Size", *(["Tried"] if counts else [])]
    header = " & ".join(_escape(name) for name in names)
    lines = []
    for number, (embedding, row_cells, size) in enumerate(_all_cells(comparison, table, split)):
        numbers = []
        for cell in row_cells:
            text = cell.text().replace(" ± ", r" \pm ")
            numbers.append(
                rf"$\mathbf{{{text}}}$" if cell.best else f"${text}" + (r"^\ddagger$" if cell.worse else "$")
            )
        lines.append(" & ".join([_marked(embedding), *numbers, size, *counts[number : number + 1]]) + r" \\")
    if chance := chance_cells(comparison, split):
        lines += [
            r"\midrule",
            " & ".join([CHANCE, *(f"${cell.text()}$" for cell in chance), *[""] * (len(names) - 6)]) + r" \\",
        ]
    body = "\n".join(lines)
    caption = _marked(f"{comparison.titles[table]} ({split}). {legend(comparison, table, split)}")
    caption = caption.replace("±", r"$\pm$")
    label = f"tab:{table}-{split}".replace("_", "-")
    return rf"""% needs \usepackage{{booktabs}}
\begin{{table}}
  \centering
  \caption{{{caption}}}
  \label{{{label}}}
\begin{{tabular}}{{l{"r" * (len(names) - 1)}}}
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
    for stem, table, split in comparison.stems():
        for suffix, render in formats.items():
            write_text(workspace.root / f"{stem}.{suffix}", render(comparison, table, split))


def print_comparison(comparison: Comparison) -> None:
    """Prints every comparison table, mean ± 95 % half-width, the best NDCG first; then the runs of no table."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)  # rich would wrap the cells of a log file at 80 columns
    for split in comparison.splits:
        for table in (*comparison.titles, None):
            if len(comparison.shown(table, split)):
                console.print(_terminal_table(comparison, table, split))
    if len(comparison.artists):
        console.print(_artist_table(comparison))
    for line in control_lines(comparison):
        console.print(escape(line), highlight=False)
    kept = len(comparison.runs)
    shown = comparison.results.loc[comparison.results["shown"], "run"].nunique()
    hidden = kept - shown - len(comparison.shown(None))
    if hidden > 0:
        console.print(f"{kept} runs, of each pair the best on val shown ({shown}); all are in comparison.csv")


def control_lines(comparison: Comparison) -> Iterator[str]:
    """Yields a line per pair of a real and a shuffled run: the gain in NDCG that the vectors bring."""
    for row in comparison.controls.to_dict("records"):
        ndcg = comparison.ndcg(row["split"])
        if row["metric"] != ndcg:
            continue
        gain = "" if pd.isna(row["gain %"]) else f" ({row['gain %']:+.0f} %)"
        verdict = "" if row["better"] else "; † not better than shuffled"
        seed = "" if pd.isna(row["seed"]) else f", seed {row['seed']}"
        yield (
            f"{comparison.titles.get(row['table'], row['recommender'])} · {row['embedding']} ({row['split']}{seed}): "
            f"{ndcg} {row['real']:.4f}, {row['control']} {row['shuffled']:.4f}{gain}, "
            f"p = {row['p_t']:.2g}{verdict}"
        )


def _artist_table(comparison: Comparison) -> Table:
    """Returns the metrics apart for tracks of artists that the user knows and for those of new ones."""
    grid = Table(title="held-out tracks of artists that the user knows from train, and of new ones")
    grid.title_justify = "left"
    for name in ("run", "split", "artist"):
        grid.add_column(name, no_wrap=True)
    metrics = [metric.partition("@")[0] for metric in comparison.metrics()]
    for name in ("users", "k", *metrics):
        grid.add_column(name, justify="right", no_wrap=True)
    for row in comparison.artists.to_dict("records"):
        numbers = [f"{row[metric]:.4f}" for metric in comparison.metrics(row["split"])]
        named = [escape(str(row[name])) for name in ("run", "split", "artist")]
        grid.add_row(*named, str(row["users"]), str(comparison.k.at(row["split"])), *numbers)
    return grid


def _terminal_table(comparison: Comparison, table: str | None, split: str) -> Table:
    """Returns a table for rich; None: the runs of no table."""
    rows = comparison.shown(table, split)
    users = rows["users"].max()
    grid = Table(title=f"{table or 'other runs'} · {split}, {users} users, mean ± 95 % interval")
    grid.title_justify = "left"
    grid.add_column("embedding" if table else "run", no_wrap=True)
    for metric in comparison.columns(split):
        grid.add_column(metric, justify="right", no_wrap=True)
    grid.add_column("Size", justify="right")
    counts = tried(comparison, table, split) if table else []
    if counts:
        grid.add_column("tried", justify="right")
    if table:
        for number, (embedding, row_cells, size) in enumerate(_all_cells(comparison, table, split)):
            numbers = [escape(cell.text()) for cell in row_cells]
            numbers = [f"[bold]{n}[/bold]" if cell.best else n for n, cell in zip(numbers, row_cells, strict=True)]
            grid.add_row(escape(embedding), *numbers, size, *counts[number : number + 1])
    else:
        for row in rows.to_dict("records"):
            numbers = [escape(cell_of(row, metric).text()) for metric in comparison.columns(split)]
            grid.add_row(escape(row["run"]), *numbers, _size(row["Size"]))
    if chance := chance_cells(comparison, split):
        grid.add_row(CHANCE, *(cell.text() for cell in chance), style="dim")
    return grid


def _all_cells(comparison: Comparison, table: str, split: str | None) -> Iterator[tuple[str, list[Cell], str]]:
    """Yields the rows of a table as shown: the embeddings with their marks, then the recommenders without audio."""
    titles = comparison.row_titles(table, split)
    embeddings = ((titles[name], row_cells, size) for name, row_cells, size in cells(comparison, table, split))
    return chain(embeddings, bar_cells(comparison, table, split))


def _size(size: object) -> str:
    """Returns the size of an embedding as a table shows it, empty if unknown."""
    return "" if size is None or size is pd.NA else str(size)


def _marked(text: str) -> str:
    r"""Returns text escaped for LaTeX, its marks as superscripts.

    >>> print(_marked("musicfm_mean †"))
    musicfm\_mean $^\dagger$
    """
    return _escape(text).replace("†", r"$^\dagger$").replace("‡", r"$^\ddagger$")


def _escape(text: str) -> str:
    r"""Returns text with LaTeX's special characters escaped.

    >>> print(_escape("musicfm_mean 95 %"))
    musicfm\_mean 95 \%
    """
    return "".join(f"\\{character}" if character in "&%$#_{}" else _TEX.get(character, character) for character in text)
