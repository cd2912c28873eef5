"""Measures every stored embedding: geometry.csv, a table on the terminal and one plot."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from scipy.sparse import csr_matrix

from musicrec.columns import TRACK, USER
from musicrec.data.artists import load_artists
from musicrec.data.split_files import PAIR, read_split
from musicrec.embeddings.tables.transforms import prepared
from musicrec.embeddings.tables.vector_options import VectorOptions
from musicrec.errors import MusicrecError
from musicrec.evaluation.geometry import geometry
from musicrec.evaluation.prediction_info import PredictionInfo
from musicrec.evaluation.report.looks import find_looks, look_of
from musicrec.evaluation.report.plots.style import STYLE, WIDTH, shade
from musicrec.files import atomic_path
from musicrec.workspace import TrackIndex, Workspace

log = logging.getLogger(__name__)

# Column to heading and number of digits.
_COLUMNS = {
    "tracks": ("tracks", 0),
    "size": ("size", 0),
    "effective_rank": ("effective rank", 1),
    "mean_cosine": ("mean cosine", 3),
    "hubness": ("hubness", 2),
    "co_listening": ("co-listening", 4),
    "lift": ("× chance", 2),
    "same_artist": ("same artist", 3),
}
_PANELS = ("effective_rank", "mean_cosine", "hubness", "lift")


def measure_embeddings(workspace: Workspace, options: VectorOptions, seed: int = 0) -> pd.DataFrame:
    """Returns one row per stored embedding, the one whose neighbours share most listeners first; writes geometry.csv.

    Args:
        workspace: needs data/train.pqt and embeddings/; the artists are those of data/artists.csv.
        options: what is done to the vectors first.
        seed: of the shuffle and of the sample of tracks.

    Raises:
        MusicrecError: no embedding, or none that has vectors for two tracks of train.
    """
    pairs = read_split(workspace.split("train"), columns=PAIR).drop_duplicates()
    tracks, items = np.unique(pairs[TRACK].to_numpy(np.int64), return_inverse=True)
    users = pd.factorize(pairs[USER])[0]
    listeners = csr_matrix((np.ones(len(pairs)), (items, users)))
    index = TrackIndex.load_optional(workspace.track_index)
    found = None if index is None else load_artists(workspace, len(index))
    artists = None if found is None else found.matrix[tracks]
    rows = {}
    for path in sorted((workspace.root / "embeddings").glob("[!.]*.npy")):
        name = " ".join([path.stem, *options.words()])
        try:
            rows[name] = _measure(path, tracks, listeners, artists, options, seed)
        except (MusicrecError, ValueError, OSError) as error:
            log.warning("skipped embeddings/%s: %s", path.name, error)
    if not rows:
        raise MusicrecError(f"no embedding to inspect in {workspace.root / 'embeddings'}: make one with extract.py")
    frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("embedding").sort_values("lift", ascending=False)
    with atomic_path(workspace.root / "geometry.csv") as temporary:
        frame.to_csv(temporary)
    return frame


def _measure(
    path: Path,
    tracks: np.ndarray,
    listeners: csr_matrix,
    artists: csr_matrix | None,
    options: VectorOptions,
    seed: int,
) -> dict[str, float]:
    """Returns the row of a table."""
    table = np.load(path, mmap_mode="r", allow_pickle=False)
    if table.ndim != 2 or tracks.max(initial=0) >= len(table):
        raise MusicrecError(f"it has shape {table.shape}, train has track idx up to {tracks.max(initial=0)}")
    vectors = prepared(np.asarray(table), tracks, tracks, options, seed, path.stem)[tracks]
    known = np.isfinite(vectors).all(axis=1)
    if known.sum() < 2:
        raise MusicrecError(f"{known.sum()} tracks of train have a vector; at least two are needed")
    return geometry(vectors[known], listeners[known], None if artists is None else artists[known], seed).to_row()


def print_geometry(frame: pd.DataFrame) -> None:
    """Prints the table."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    grid = Table(title="geometry of the embeddings, on the tracks of train", title_justify="left")
    grid.add_column("embedding", no_wrap=True)
    columns = [column for column in _COLUMNS if frame[column].notna().any()]
    for column in columns:
        grid.add_column(_COLUMNS[column][0], justify="right")
    for name, row in frame.iterrows():
        grid.add_row(escape(str(name)), *(f"{row[column]:.{_COLUMNS[column][1]}f}" for column in columns))
    console.print(grid)


def draw_geometry(workspace: Workspace, frame: pd.DataFrame) -> Path:
    """Returns the path of report/geometry.svg, which is written beside a .png: one panel per measure."""
    path = workspace.root / "report" / "geometry.svg"
    # Names are those of files, followed by what was done to the vectors.
    infos = {name: PredictionInfo("", embedding=str(name).split(" ")[0]) for name in frame.index}
    looks = find_looks(workspace, infos.values())
    colors = [shade(look_of(info, looks)) for info in infos.values()]
    with rc_context(STYLE):
        figure = Figure(figsize=(1.6 * WIDTH, 0.9 + 0.3 * len(frame)))
        panels = figure.subplots(1, len(_PANELS), sharey=True)
        heights = list(range(len(frame)))
        for column, axes in zip(_PANELS, panels, strict=True):
            axes.barh(heights, np.nan_to_num(frame[column].to_numpy(float)), height=0.72, color=colors)
            axes.set_title("co-listening × chance" if column == "lift" else _COLUMNS[column][0])
            axes.locator_params(axis="x", nbins=4)
        panels[0].set_yticks(heights, [str(name) for name in frame.index])
        panels[0].invert_yaxis()
        for target in (path, path.with_suffix(".png")):
            with atomic_path(target) as temporary:
                figure.savefig(temporary, dpi=160, metadata={"Date": None} if target == path else None)
    return path
