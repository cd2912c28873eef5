"""What evaluate.py does instead of a comparison: embeddings in space, a user's lists, tracks like a text, exports."""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from musicrec.audio.library import scan
from musicrec.config import option
from musicrec.data.source import DataSource
from musicrec.embeddings.base import TextSearch
from musicrec.embeddings.configure import make_embedding, with_checkpoint
from musicrec.embeddings.tables import store
from musicrec.embeddings.tables.vector_options import VectorOptions
from musicrec.errors import MusicrecError
from musicrec.evaluation.comparison import Comparison
from musicrec.evaluation.report.geometry_page import draw_geometry, measure_embeddings, print_geometry
from musicrec.evaluation.report.listening_page import inspect_user, print_user, write_user
from musicrec.evaluation.report.text_page import find_by_text, print_text, write_text_page
from musicrec.export.export import export
from musicrec.options import make
from musicrec.workspace import TrackIndex, Workspace

log = logging.getLogger(__name__)


def show_embeddings(cfg: DictConfig, workspace: Workspace) -> None:
    """Shows how the vectors of every stored embedding lie in space."""
    frame = measure_embeddings(workspace, VectorOptions.of(cfg.embedding), int(cfg.seed))
    print_geometry(frame)
    log.info("%s and %s", workspace.root / "geometry.csv", draw_geometry(workspace, frame))


def show_user(cfg: DictConfig, workspace: Workspace, comparison: Comparison) -> None:
    """Shows what a user played and what each run recommends, with the files to play where there is audio.

    The terminal shows the runs that the tables compare, the page every run.
    """
    files = _playable(cfg, workspace)
    shown = [name for table in (*comparison.titles, None) for name in comparison.shown(table)["run"]]
    names = dict.fromkeys([*shown, *comparison.runs])
    view = inspect_user(workspace, str(cfg.inspect.user), [comparison.runs[name] for name in names], files)
    print_user(view, set(shown))
    _tell(write_user(workspace, view))


def show_tracks_like_text(cfg: DictConfig, workspace: Workspace) -> None:
    """Shows the tracks nearest to a description, with the files to play where there is audio."""
    embedding = make_embedding(with_checkpoint(cfg))
    if not isinstance(embedding, TextSearch):
        options = option("embedding", str(cfg.inspect.text_embedding))
        if not options:
            raise MusicrecError(f"inspect.text_embedding={cfg.inspect.text_embedding} is no option of embedding")
        # The weights are those that the tracks were extracted with.
        recorded = store.read_info(workspace.embedding_info(str(options["name"])))
        settings = recorded.settings if recorded else {}
        weights = {key: settings[key] for key in ("checkpoint", "hub", "revision") if key in settings}
        embedding = make_embedding(OmegaConf.create({**options, **weights}))
    view = find_by_text(workspace, embedding, str(cfg.inspect.text), _playable(cfg, workspace))
    print_text(view)
    _tell(write_text_page(workspace, view))


def export_to(cfg: DictConfig, workspace: Workspace) -> None:
    """Writes splits and vectors in the format of another framework."""
    export(
        workspace,
        str(cfg.export),
        str(cfg.data.name),
        make_embedding(with_checkpoint(cfg)),
        VectorOptions.of(cfg.embedding),
        seed=int(cfg.seed),
        repeat=bool(cfg.eval.repeat),
        overwrite=bool(cfg.overwrite),
    )


def _tell(page: Path) -> None:
    log.info("open in a browser to listen: %s", page)
    log.info("from another machine: python -m http.server --bind 127.0.0.1 --directory %s", page.parent)


def _playable(cfg: DictConfig, workspace: Workspace) -> dict[str, Path] | None:
    """Returns the audio file of each track id, None where there is no audio."""
    source: DataSource = make(cfg.data, "data")
    if not source.has_audio(workspace):
        return None
    tracks = TrackIndex.load(workspace.track_index)
    found = scan(source.audio_path(workspace))
    return {tracks.ids[tracks.row(track)]: path for track, path in found.items() if track in tracks}
