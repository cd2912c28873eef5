"""Lists the tracks of the catalogue that are nearest to a text, with the files to play."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from musicrec.embeddings.base import Embedding, TextSearch
from musicrec.embeddings.tables import store
from musicrec.errors import MusicrecError
from musicrec.evaluation.report.audio_links import audio_links
from musicrec.evaluation.report.listening_page import Entry
from musicrec.evaluation.report.template import render
from musicrec.files import write_text
from musicrec.workspace import TrackIndex, Workspace

_LONGEST_NAME = 60  # characters of a text that name its page


@dataclass(frozen=True)
class TextView:
    """The tracks nearest to a text.

    Attributes:
        text: as given.
        embedding: name of the embedding in whose space they are near.
        tracks: the nearest first; the note is the cosine.
    """

    text: str
    embedding: str
    tracks: list[Entry]


def find_by_text(
    workspace: Workspace, embedding: Embedding, text: str, files: Mapping[str, Path] | None = None, k: int = 10
) -> TextView:
    """Returns the k tracks whose vectors have the largest cosine with that of a text; ties by the lower track idx.

    Args:
        workspace: `embeddings/{name}.npy` is read.
        embedding: with a text side.
        text: a description, in English for the published models.
        files: track id to audio file; None: no paths.
        k: length of the list.

    Raises:
        MusicrecError: the embedding has no text side or was not extracted, or its model is not available.
    """
    if not text.strip():
        raise MusicrecError('inspect.text is empty; give a description, e.g. inspect.text="calm piano"')
    if not isinstance(embedding, TextSearch):
        raise MusicrecError(f"inspect.text: embedding={embedding.name} has no text side; use embedding=clap")
    tracks = TrackIndex.load(workspace.track_index)
    vectors = embedding.table(workspace, tracks)
    [wanted] = embedding.embed_texts([text])
    path = workspace.embedding(embedding.name)
    info = store.read_info(workspace.embedding_info(embedding.name))
    if info is not None and info.checkpoint_sha256 not in (None, embedding.checkpoint_hash()):
        raise MusicrecError(
            f"{path} was made with other weights than those of the text (SHA-256 {info.checkpoint_sha256}, now "
            f"{embedding.checkpoint_hash()}): give the same embedding.checkpoint, or extract it again"
        )
    if vectors.shape[1] != len(wanted):
        raise MusicrecError(f"{path} has {vectors.shape[1]} columns, the vectors of texts have {len(wanted)}")
    cosines = vectors @ wanted / np.maximum(np.linalg.norm(vectors, axis=1), np.finfo(np.float32).tiny)
    order = np.argsort(-cosines, kind="stable")[:k]  # NaN, tracks without a vector, come last
    found = [
        Entry(tracks.ids[row], (files or {}).get(tracks.ids[row]), note=f"{cosines[row]:.3f}")
        for row in order
        if not np.isnan(cosines[row])
    ]
    return TextView(text, embedding.name, found)


def print_text(view: TextView) -> None:
    """Prints the tracks and their cosines."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    grid = Table(title=escape(f"“{view.text}”, by {view.embedding}"), title_justify="left")
    for title in ("", "track", "cosine"):
        grid.add_column(title, overflow="fold")
    for rank, entry in enumerate(view.tracks, 1):
        grid.add_row(str(rank), escape(str(entry.path or entry.track)), entry.note)
    console.print(grid)


def write_text_page(workspace: Workspace, view: TextView) -> Path:
    """Returns the path of listen/text-{text}.html: the same list with a player for every file."""
    name = re.sub(r"[^\w.]+", "-", view.text)[:_LONGEST_NAME].strip("-")
    path = workspace.root / "listen" / f"text-{name}.html"
    lists = {f"Nearest tracks ({view.embedding}, cosine)": view.tracks}
    title = f"musicrec · {view.text}"
    sources = audio_links(path.parent, [entry.path for entry in view.tracks if entry.path])
    write_text(path, render("text.html.j2", title=title, text=view.text, lists=lists, looks={}, sources=sources))
    return path
