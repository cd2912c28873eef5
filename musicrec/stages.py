"""The four stages, each from a composed configuration to files in the workspace."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.utils import instantiate

from musicrec.errors import MusicrecError
from musicrec.files import exclusive
from musicrec.workspace import TrackIndex, Workspace

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from musicrec.data.source import DataSource
    from musicrec.embeddings.base import Embedding
    from musicrec.evaluation.comparison import Comparison

log = logging.getLogger(__name__)


def prepare(cfg: DictConfig) -> None:
    """Stage 2A: listening log -> trackid_sorted.csv, plays.pqt, data/{train,val,test}.pqt."""
    source: DataSource = instantiate(cfg.data)
    workspace = _workspace(cfg)
    with _preparing(workspace):
        source.materialise(workspace, int(cfg.seed))
        _prepare(workspace, source)


def extract(cfg: DictConfig) -> None:
    """Stage 1: audio files -> embeddings/{name}.npy and .json."""
    source: DataSource = instantiate(cfg.data)
    embedding: Embedding = instantiate(cfg.embedding)
    workspace = _workspace(cfg)
    with _preparing(workspace):
        source.materialise(workspace, int(cfg.seed))
        tracks, files = _library(workspace, source, embedding)
    _extract(cfg, workspace, embedding, tracks, files)


def train(cfg: DictConfig) -> float | None:
    """Stage 2B: trains one recommender on one embedding; returns the val NDCG@k (None without val users)."""
    from musicrec.data.interactions import SplitData
    from musicrec.training.train import train_run

    source: DataSource = instantiate(cfg.data)
    embedding: Embedding = instantiate(cfg.embedding)
    workspace = _workspace(cfg)
    if source.make_missing:
        _make_missing(cfg, workspace, source, embedding)
    if not workspace.split("train").is_file():
        raise MusicrecError(
            f"{workspace.split('train')} is missing: make it with: python prepare.py data={source.name} data.plays=FILE"
        )
    tracks = TrackIndex.load(workspace.track_index)
    return train_run(cfg, workspace, tracks, SplitData.load(workspace, tracks, source.candidates), embedding)


def evaluate(cfg: DictConfig) -> None:
    """Stage 2C: every predictions file in the workspace -> tables, significance, report; or one user's lists."""
    from functools import partial

    from musicrec.evaluation.comparison import compare
    from musicrec.evaluation.cutoffs import Cutoffs
    from musicrec.evaluation.report.html_report import write_report
    from musicrec.evaluation.report.plots.draw import draw
    from musicrec.evaluation.report.tables import print_comparison, write_formats
    from musicrec.tracking.wandb_summary import log_comparison

    workspace = _workspace(cfg)
    comparison = compare(
        workspace, Cutoffs.of(cfg.eval.k), bootstrap=int(cfg.eval.bootstrap), diversity=cfg.eval.diversity
    )
    if cfg.inspect.user is not None:
        _inspect(cfg, workspace, comparison)
        return
    print_comparison(comparison)
    write_formats(workspace, comparison)
    plots = draw(workspace, comparison)
    write_report(workspace, comparison, plots)
    if "wandb" in cfg.logger:
        log_comparison(comparison, plots, partial(instantiate, cfg.logger.wandb))
    log.info("the report with plots and significance tests: %s", workspace.report)


def _inspect(cfg: DictConfig, workspace: Workspace, comparison: Comparison) -> None:
    """Shows what a user played and what each compared run recommends, with the files to play where there is audio."""
    from musicrec.evaluation.report.listening_page import inspect_user, print_user, write_user

    source: DataSource = instantiate(cfg.data)
    files = None
    if source.has_audio(workspace):
        from musicrec.audio.library import scan

        files = scan(source.audio_path(workspace))
    shown = [name for table in (*comparison.titles, None) for name in comparison.shown(table)["run"]]
    view = inspect_user(workspace, str(cfg.inspect.user), [comparison.runs[name] for name in shown], files)
    print_user(view)
    log.info("open in a browser to listen: %s", write_user(workspace, view))


def _workspace(cfg: DictConfig) -> Workspace:
    """Returns the workspace at `paths.root`."""
    return Workspace(Path(str(cfg.paths.root)).expanduser())


def _preparing(workspace: Workspace) -> AbstractContextManager[None]:
    """Lets one process at a time make what lies in the workspace before a run."""
    return exclusive(workspace.root / ".preparing.lock", f"waiting: another process is preparing {workspace.root}")


def _prepare(workspace: Workspace, source: DataSource) -> None:
    """Makes plays.pqt and the splits, and logs their sizes."""
    from musicrec.data.prepare import prepare as prepare_data

    report = prepare_data(source, workspace)
    log.info("%s", report.statistics.to_string(index=False))


def _library(workspace: Workspace, source: DataSource, embedding: Embedding) -> tuple[TrackIndex, dict[str, Path]]:
    """Returns the track index, made or extended from the audio folder, and the file of each track id."""
    files: dict[str, Path] = {}
    if embedding.needs_audio:
        from musicrec.audio.library import scan

        files = scan(source.audio_path(workspace))
    if workspace.track_index.is_file():
        known = TrackIndex.load(workspace.track_index)
        tracks = known.extended(files)
        if tracks is not known:
            log.info("appending %d new tracks to %s", len(tracks) - len(known), workspace.track_index)
            tracks.save(workspace.track_index)
    elif files:
        tracks = TrackIndex(sorted(files))
        tracks.save(workspace.track_index)
    else:
        raise MusicrecError(
            f"{workspace.track_index} is missing and embedding={embedding.name} reads no audio: make it with: "
            f"python prepare.py data={source.name} data.plays=FILE"
        )
    return tracks, files


def _extract(
    cfg: DictConfig, workspace: Workspace, embedding: Embedding, tracks: TrackIndex, files: dict[str, Path]
) -> None:
    """Makes an embedding."""
    from musicrec.embeddings.extraction.extract import extract as extract_embedding

    extract_embedding(embedding, workspace, tracks, files, **cfg.extract)


def _make_missing(cfg: DictConfig, workspace: Workspace, source: DataSource, embedding: Embedding) -> None:
    """Runs the earlier stages that have not been run; of two jobs that need the same one only one runs it."""
    from musicrec.data.prepare import is_prepared

    with _preparing(workspace):
        source.materialise(workspace, int(cfg.seed))
        if not is_prepared(source, workspace):
            log.info(
                "%s/ is missing or was built with different settings; running prepare.py first", workspace.data_dir
            )
            _prepare(workspace, source)
        if embedding.needs_audio and not workspace.embedding(embedding.name).is_file():
            log.info("%s is missing; running extract.py first", workspace.embedding(embedding.name))
            tracks, files = _library(workspace, source, embedding)
            _extract(cfg, workspace, embedding, tracks, files)
