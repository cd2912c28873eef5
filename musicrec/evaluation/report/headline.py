"""Headlines: the answer in a few sentences, and for each recommender its best embedding beside bar and control."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from musicrec.evaluation.comparison import Comparison
from musicrec.evaluation.popularity import TAIL
from musicrec.evaluation.report.looks import real_name
from musicrec.evaluation.report.means import Mean, Means
from musicrec.evaluation.report.tables import cells
from musicrec.evaluation.statistics.bars import sentence
from musicrec.evaluation.statistics.significance import ALPHA

_LONGEST_NAME = 60  # characters of a name on the first screen


def answer(comparison: Comparison, split: str) -> str:
    """Returns the sentences that answer the report's question on a split: the best run with audio, and how it compares.

    What counts is the mean over users, and over seeds where there are several. Shuffled controls do not compete.
    Without a run that reads an embedding the best one without audio is named.
    """
    ndcg, means = comparison.ndcg(split), Means(comparison, split)
    rows = [(row, means.of(row)) for row in _competing(comparison, split)]
    if not rows:
        bars = [(row, means.of(row)) for row in comparison.bar_rows(None, split).to_dict("records")]
        if not bars:
            return ""
        best, mean = max(bars, key=lambda pair: pair[1].mean)
        return f"No run reads audio. {_cut(comparison.title(str(best['run'])))} is best: {ndcg} {mean.text()}."
    top, mean = max(rows, key=lambda pair: pair[1].mean)
    name, table = str(top["row"]), str(top["table"])
    compared = (*_bar_in_short(comparison, table, split, name), *_control_in_short(comparison, table, split, name))
    line = "; ".join((f"{_cut(name)} with {_cut(comparison.titles[table])} is best: {ndcg} {mean.text()}", *compared))
    wins = _wins(rows)
    if len(wins) < 2:
        return f"{line}."
    agreeing = sum(name in winners for winners in wins.values())
    which = f"all {len(wins)}" if agreeing == len(wins) else f"{agreeing} of {len(wins)}"
    return f"{line}. {_cut(name)} is the best embedding of {which} recommenders."


def in_short(comparison: Comparison, table: str, split: str) -> str:
    """Returns how the best embedding of a table compares with the bar and with its control; empty without either."""
    rows = [row for row in _competing(comparison, split) if row["table"] == table]
    if not rows:
        return ""
    best = str(rows[0]["row"])
    parts = [*_bar_in_short(comparison, table, split, best), *_control_in_short(comparison, table, split, best)]
    return f"{_cut(best)}: {'; '.join(parts)}" if parts else ""


def _cut(name: str) -> str:
    """Returns a name of at most `_LONGEST_NAME` characters; the sections below have all of it."""
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _competing(comparison: Comparison, split: str) -> list[dict[Hashable, Any]]:
    """Returns the rows of all tables that read vectors which are not shuffled, those of a table the best first."""
    rows = []
    for table in comparison.titles:
        for row in comparison.shown(table, split).to_dict("records"):
            info = comparison.runs[str(row["run"])].info
            if info.vectors and info.vectors == real_name(info):
                rows.append(row)
    return rows


def _wins(rows: Sequence[tuple[Mapping[Hashable, Any], Mean]]) -> dict[str, set[str]]:
    """Returns the best rows, of equal means, of each table that compares embeddings."""
    found: dict[str, list[tuple[float, str]]] = {}
    for row, mean in rows:
        found.setdefault(str(row["table"]), []).append((mean.mean, str(row["row"])))
    compared = {table: pairs for table, pairs in found.items() if len(pairs) > 1}
    return {table: {name for mean, name in pairs if mean == max(pairs)[0]} for table, pairs in compared.items()}


def _bar_in_short(comparison: Comparison, table: str, split: str, row: str) -> Iterator[str]:
    """Yields how a row compares with the best recommender without audio, if there is one."""
    for test in _of(comparison.bars, table=table, split=split, metric=comparison.ndcg(split), embedding=row).to_dict(
        "records"
    ):
        yield sentence(_cut(comparison.title(str(test["bar"]))), test["gain"], test["p_t"])


def _control_in_short(comparison: Comparison, table: str, split: str, row: str) -> Iterator[str]:
    """Yields how a row compares with its own vectors shuffled, or that this was not run."""
    shown = comparison.shown(table, split)
    run = str(dict(zip(shown["row"], shown["run"], strict=True))[row])
    tests = _of(comparison.controls, split=split, metric=comparison.ndcg(split), run=run)
    if tests.empty and not comparison.runs[run].foreign:
        yield "no shuffled control"
    for test in tests.to_dict("records"):
        gain = f"{test['difference']:+.4f}" if pd.isna(test["gain %"]) else f"{test['gain %']:+.0f} %"
        verdict = "" if test["better"] else ": not better than shuffled"
        yield f"{gain} against {test['control']} vectors, {_p(test['p_t'])}{verdict}"


def headlines(comparison: Comparison) -> dict[str, str]:
    """Returns title of a recommender (and its split, if there are several) to sentences about its best embedding."""
    lines: dict[str, str] = {}
    for split in comparison.splits:
        for table, title in comparison.titles.items():
            if line := headline(comparison, table, split):
                lines[title if len(comparison.splits) == 1 else f"{title} · {split}"] = line
    return lines


def headline(comparison: Comparison, table: str, split: str) -> str:
    """Returns the sentences about a table, without the last full stop; empty if it has no row."""
    rows = list(cells(comparison, table, split))
    if not rows:
        return ""
    ndcg = comparison.ndcg(split)
    column = comparison.columns(split).index(ndcg)
    best, numbers, _ = rows[0]
    names = comparison.row_titles(table, split)
    verb = "is best with" if len(rows) > 1 else "is the only one, with"
    line = f"{names[best]} {verb} {ndcg} {numbers[column].text()}"
    if others := [names[embedding] for embedding, row_cells, _ in rows[1:] if not row_cells[column].worse]:
        line += f"; not significantly worse: {', '.join(others)}"
    elif len(rows) > 1:
        line += "; all others are significantly worse"
    for part in (
        *_against_bar(comparison, table, split, best),
        *_against_control(comparison, table, split, best),
        *_in_the_tail(comparison, table, split, best),
    ):
        line += f"; {part}"
    if names[best] != best:
        line += f". † {best} is not better than its own vectors shuffled: nothing it knows of the music is used"
    return line


def _against_bar(comparison: Comparison, table: str, split: str, row: str) -> Iterator[str]:
    """Yields how a row compares with the best recommender without audio; over users and seeds where there are seeds."""
    tests = _of(comparison.bars, table=table, split=split, metric=comparison.ndcg(split), embedding=row)
    for test in tests.to_dict("records"):
        title = comparison.title(str(test["bar"]))
        bar = comparison.bar_rows(table, split).iloc[0]["row"]
        pairs = _of(
            comparison.seed_pairs, table=table, split=split, metric=comparison.ndcg(split), first=row, second=bar
        )
        line = sentence(title, test["gain"], test["p_t"])
        yield f"{line} ({_difference(test)}{_undecided(test)})"
        for pair in pairs.to_dict("records"):
            yield f"for other users and other seeds {_difference(pair)}, {_p(pair['p'])}"


def _against_control(comparison: Comparison, table: str, split: str, row: str) -> Iterator[str]:
    """Yields how a row compares with its own vectors shuffled."""
    shown = comparison.shown(table, split)
    run = str(dict(zip(shown["row"], shown["run"], strict=True))[row])
    tests = _of(comparison.controls, split=split, metric=comparison.ndcg(split), run=run)
    for test in tests.to_dict("records"):
        gain = "" if pd.isna(test["gain %"]) else f"{test['gain %']:+.0f} % against "
        yield f"{gain}its {test['control']} vectors ({_difference(test)}, {_p(test['p_t'])}{_undecided(test)})"
    info = comparison.runs[run].info
    if tests.empty and not comparison.runs[run].foreign and info.embedding and " shuffled" not in info.vectors:
        yield "no shuffled control was run (embedding.shuffle=true)"


def _in_the_tail(comparison: Comparison, table: str, split: str, row: str) -> Iterator[str]:
    """Yields how a row compares with the bar on held-out tracks of the long tail."""
    rows, tests = comparison.in_groups(table, split)
    bars = comparison.bar_rows(table, split)
    if rows.empty or bars.empty:
        return
    ndcg, bar = comparison.ndcg(split), bars.iloc[0]
    tail = _of(rows, by="popularity", group=TAIL)
    own = dict(zip(tail["row"], tail[ndcg], strict=True))
    if row not in own or bar["row"] not in own:
        return
    pair = _of(tests, by="popularity", group=TAIL, first=row, second=bar["row"])
    p = f", {_p(pair.iloc[0]['p_t'])}" if len(pair) else ""
    title = comparison.title(str(bar["run"]))
    yield f"on the long tail {own[row]:.4f}, {title} {own[bar['row']]:.4f}, chance {tail['chance'].iloc[0]:.4f}{p}"


def _of(frame: pd.DataFrame, **values: object) -> pd.DataFrame:
    """Returns the rows of a frame whose columns have these values."""
    for column, value in values.items():
        frame = frame[frame[column] == value] if len(frame) else frame
    return frame


def _difference(test: Mapping[Hashable, Any]) -> str:
    """Returns a difference with its interval."""
    ends = "" if pd.isna(test["low"]) else f" [{test['low']:+.4f}, {test['high']:+.4f}]"
    return f"{test['difference']:+.4f}{ends}"


def _undecided(test: Mapping[Hashable, Any]) -> str:
    """Returns what a difference that was not found may mean: equivalence, or too few users."""
    if test["p_t"] < ALPHA:
        return ""
    if test["p_equivalence"] < ALPHA:
        return f"; equivalent within {test['margin']:.4f}"
    return "" if pd.isna(test["detectable"]) else f"; undecided: the users could have shown {test['detectable']:.4f}"


def _p(value: float) -> str:
    """Returns a p value."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"
