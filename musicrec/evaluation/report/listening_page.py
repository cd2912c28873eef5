"""A user's history and each run's first tracks side by side, with the files to play: numbers checked by ear."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from musicrec.columns import COUNT, ITEM, RANK, SPLIT, TIMESTAMP, TRACK, USER
from musicrec.errors import MusicrecError
from musicrec.evaluation.report.page import breakable, page
from musicrec.evaluation.runs import Run, load_truth
from musicrec.files import write_text
from musicrec.workspace import TrackIndex

if TYPE_CHECKING:
    from musicrec.workspace import Workspace

_ABREAST = 3  # lists a terminal shows side by side


@dataclass(frozen=True)
class Entry:
    """One track of a list."""

    track: str  # its id, or its idx where the index is missing
    path: Path | None  # the file to play
    hit: bool = False  # the user played it in the held-out period
    note: str = ""

    @property
    def text(self) -> str:
        """Returns what is printed: the file if there is one, a tick before a hit."""
        return f"{'✓ ' if self.hit else ''}{self.path or self.track}{f' ({self.note})' if self.note else ''}"


@dataclass(frozen=True)
class UserView:
    """What a user played and what the runs recommend: list title to entries, the best first."""

    user: str
    history: list[Entry]  # the last played first
    held_out: list[Entry]
    lists: dict[str, list[Entry]]


def inspect_user(
    workspace: Workspace, user: str, runs: Iterable[Run], files: Mapping[str, Path] | None = None, k: int = 10
) -> UserView:
    """Returns the view of one user.

    Args:
        workspace: data/train.pqt, the held-out splits and preds/ are read.
        user: id as in the log; for numeric ids the digits.
        runs: whose first k are shown.
        files: track id to audio file; None: no paths.
        k: length of the lists and of the history.

    Raises:
        MusicrecError: no such user; the message names some.
    """
    truth = pd.concat([frame.assign(**{SPLIT: split}) for split, frame in load_truth(workspace).items()])
    train = _of_user(pd.read_parquet(workspace.split("train")), user)
    held_out = _of_user(truth, user).drop_duplicates(TRACK)
    if train.empty and held_out.empty:
        known = ", ".join(map(str, sorted(truth[USER].unique())[:5]))
        raise MusicrecError(f"inspect.user={user}: no such user in {workspace.data_dir}; some there are: {known}")
    tracks = TrackIndex.load(workspace.track_index).ids if workspace.track_index.is_file() else []
    hits = set(held_out[TRACK])

    def entry(item: int, note: str = "") -> Entry:
        track = tracks[item] if item < len(tracks) else str(item)
        return Entry(track, (files or {}).get(track), item in hits, note)

    if TIMESTAMP in train:
        train = train.sort_values([TIMESTAMP, TRACK], ascending=[False, True])
    counts = train[COUNT] if COUNT in train else pd.Series(1, index=train.index)
    played = zip(train[TRACK], counts, strict=True)
    history = [entry(item, f"{count} plays" if count > 1 else "") for item, count in played]
    lists = {}
    for run in runs:
        predictions = _of_user(run.predictions(), user)
        if SPLIT in predictions:  # the list made knowing most: that of the last split
            predictions = predictions[predictions[SPLIT] != "val"]
        first = predictions.sort_values(RANK)[ITEM].head(k)
        lists[run.name] = [entry(int(item)) for item in first]
    return UserView(user, history[:k], [entry(item) for item in held_out[TRACK]], lists)


def print_user(view: UserView) -> None:
    """Prints the history, then the runs' lists side by side."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    columns = {"history, the last first": view.history, "played later (held out)": view.held_out[:10], **view.lists}
    titles = list(columns)
    for start in (0, *range(2, len(titles), _ABREAST)):
        chosen = titles[start : start + _ABREAST] if start else titles[:2]
        grid = Table(title=f"user {view.user}" if start == 0 else None, title_justify="left")
        grid.add_column("")
        for title in chosen:
            grid.add_column(title, overflow="fold")
        for row in range(max(len(columns[title]) for title in chosen)):
            texts = [columns[title][row].text if row < len(columns[title]) else "" for title in chosen]
            grid.add_row(str(row + 1), *map(_plain, texts))
        console.print(grid)
    console.print("✓ = the user played it in the held-out period")


def write_user(workspace: Workspace, view: UserView) -> Path:
    """Returns the path of listen/{user}.html: the same lists with a player for every file."""
    columns = {"History, the last first": view.history, "Played later (held out)": view.held_out, **view.lists}
    sections = []
    for title, entries in columns.items():
        lines = []
        for entry in entries:
            note = f' <span class="muted">{escape(entry.note)}</span>' if entry.note else ""
            player = (
                f'<audio controls preload="none" src="{escape(entry.path.resolve().as_uri())}"></audio>'
                if entry.path
                else ""
            )
            lines.append(f"<li>{'✓ ' if entry.hit else ''}{escape(entry.track)}{note}{player}</li>")
        sections.append(f'<section class="list"><h2>{breakable(title)}</h2><ol>{"".join(lines)}</ol></section>')
    name = re.sub(r"[^\w.-]", "-", view.user)
    path = workspace.root / "listen" / f"{name}.html"
    legend = "✓ = the user played it in the held-out period"
    lists = f'<div class="plots lists">{"".join(sections)}</div>'
    body = f'<h1>User {escape(view.user)}</h1><p class="muted">{legend}</p>{lists}'
    write_text(path, page(f"musicrec · user {view.user}", body))
    return path


def _of_user(frame: pd.DataFrame, user: str) -> pd.DataFrame:
    """Returns the rows of a user, whatever the type of the column."""
    return frame[frame[USER].astype(str) == user]


def _plain(text: str) -> str:
    """Returns text in which rich sees no markup."""
    return text.replace("[", "\\[")
