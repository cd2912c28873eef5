"""Shows a user's history beside the first tracks of each run's list, with the files to play."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from musicrec.columns import COUNT, ITEM, RANK, SPLIT, TIMESTAMP, TRACK, USER
from musicrec.data.split_files import PAIR, read_split
from musicrec.errors import MusicrecError
from musicrec.evaluation.prediction_info import PredictionInfo
from musicrec.evaluation.report.audio_links import audio_links
from musicrec.evaluation.report.looks import find_looks, look_of
from musicrec.evaluation.report.template import render
from musicrec.evaluation.runs import Run
from musicrec.evaluation.truth import VAL, load_truth
from musicrec.files import write_text
from musicrec.workspace import TrackIndex, Workspace

_LONGEST_NAME = 60  # characters of a file name; a hash follows
_ABREAST = 3  # lists a terminal shows side by side
_LEGEND = "✓ = the user played it in the held-out period"


@dataclass(frozen=True)
class Entry:
    """One track of a list.

    Attributes:
        track: its id, or its idx where the index is missing.
        path: the file to play.
        hit: whether the user played it in the held-out period.
        note: a remark, e.g. the number of plays.
    """

    track: str
    path: Path | None
    hit: bool = False
    note: str = ""

    @property
    def text(self) -> str:
        """Returns the line to print: the file if there is one, with a tick before a hit."""
        return f"{'✓ ' if self.hit else ''}{self.path or self.track}{f' ({self.note})' if self.note else ''}"


@dataclass(frozen=True)
class UserView:
    """What a user played and what the runs recommend.

    Attributes:
        user: id as in the log.
        history: tracks of the training data, the most recent first.
        held_out: tracks of the held-out splits.
        lists: run name to its recommendations, the best first.
        infos: run name to what is known of the run.
    """

    user: str
    history: list[Entry]
    held_out: list[Entry]
    lists: dict[str, list[Entry]]
    infos: dict[str, PredictionInfo] = field(default_factory=dict)


def inspect_user(
    workspace: Workspace, user: str, runs: Iterable[Run], files: Mapping[str, Path] | None = None, k: int = 10
) -> UserView:
    """Returns the view of one user.

    Args:
        workspace: data/train.pqt, the held-out splits and preds/ are read.
        user: id as in the log; for numeric ids the digits.
        runs: whose first k recommendations are shown.
        files: track id to audio file; None: no paths.
        k: length of the lists and of the history.

    Raises:
        MusicrecError: if the user is unknown; the message names some.
    """
    truth = pd.concat([frame.assign(**{SPLIT: split}) for split, frame in load_truth(workspace, repeat=True).items()])
    train = read_split(workspace.split("train"), columns=PAIR, optional=(TIMESTAMP, COUNT))
    train = _rows_of_user(train, user)
    held_out = _rows_of_user(truth, user).drop_duplicates(TRACK)
    if train.empty and held_out.empty:
        known = ", ".join(map(str, sorted(truth[USER].unique())[:5]))
        raise MusicrecError(f"inspect.user={user}: unknown user; users of {workspace.data_dir} include {known}")
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
    lists, infos = {}, {}
    for run in runs:
        predictions = _rows_of_user(run.predictions(), user)
        if SPLIT in predictions:  # of several lists that of the test, which was made with the longest history
            predictions = predictions[predictions[SPLIT] != VAL]
        first = predictions.sort_values(RANK)[ITEM].head(k)
        lists[run.name], infos[run.name] = [entry(int(item)) for item in first], run.info
    return UserView(user, history[:k], [entry(item) for item in held_out[TRACK]], lists, infos)


def print_user(view: UserView, runs: Collection[str] | None = None) -> None:
    """Prints the history, then the runs' lists side by side.

    Args:
        view: of the user.
        runs: whose lists are printed; None: all.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    columns = {"history (most recent first)": view.history, "played later (held out)": view.held_out[:10]}
    columns |= {name: entries for name, entries in view.lists.items() if runs is None or name in runs}
    titles = list(columns)
    for start in (0, *range(2, len(titles), _ABREAST)):
        chosen = titles[start : start + _ABREAST] if start else titles[:2]
        grid = Table(title=f"user {view.user}" if start == 0 else None, title_justify="left")
        grid.add_column("")
        for title in chosen:
            grid.add_column(title, overflow="fold")
        for row in range(max(len(columns[title]) for title in chosen)):
            texts = [columns[title][row].text if row < len(columns[title]) else "" for title in chosen]
            grid.add_row(str(row + 1), *map(escape, texts))
        console.print(grid)
    console.print(_LEGEND)


def write_user(workspace: Workspace, view: UserView) -> Path:
    """Returns the path of listen/{user}.html: the same lists with a player for every file."""
    lists = {"History (most recent first)": view.history, "Played later (held out)": view.held_out, **view.lists}
    name = _file_name(view.user)
    path = workspace.root / "listen" / f"{name}.html"
    title = f"musicrec · user {view.user}"
    sources = audio_links(path.parent, [entry.path for entries in lists.values() for entry in entries if entry.path])
    known = find_looks(workspace, view.infos.values())
    looks = {name: look_of(info, known) for name, info in view.infos.items()}
    page = {"title": title, "user": view.user, "legend": _LEGEND, "lists": lists, "looks": looks, "sources": sources}
    write_text(path, render("listening.html.j2", **page))
    return path


def _file_name(user: str) -> str:
    """Returns a file name that only this user has, also on disks that do not tell letter case or Unicode forms apart.

    Other characters than digits and small Latin letters lead to a hash.

    >>> _file_name("user_7"), _file_name("a/b"), _file_name("a b"), _file_name("A")
    ('user_7', 'a-b.c14cddc0', 'a-b.c8687a08', 'a.559aead0')
    """
    name = re.sub(r"[^a-z0-9_.-]|^\.", "-", user.lower())[:_LONGEST_NAME]
    return name if name == user else f"{name}.{hashlib.sha256(user.encode(errors='surrogatepass')).hexdigest()[:8]}"


def _rows_of_user(frame: pd.DataFrame, user: str) -> pd.DataFrame:
    """Returns the rows of a user, whatever the type of the column."""
    return frame[frame[USER].astype(str) == user]
