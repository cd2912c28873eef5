"""The four stages, each from a composed configuration to files in the workspace."""

from __future__ import annotations

import logging
import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import ListConfig, OmegaConf

from musicrec.checks.configuration import check_settings
from musicrec.config import chosen_option, stated_settings, without_unread_embedding
from musicrec.errors import MusicrecError
from musicrec.files import exclusive, remove_leftovers
from musicrec.options import make
from musicrec.workspace import TrackIndex, Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

    from omegaconf import DictConfig

    from musicrec.data.interactions import SplitData
    from musicrec.data.source import DataSource
    from musicrec.embeddings.base import Embedding
    from musicrec.recommenders.trained import TrainedRecommender

log = logging.getLogger(__name__)

# Folders of a workspace that files are written to.
_WRITTEN = ("data", "embeddings", "preds", "metrics", "model_embeddings", "listen", "report", "sweeps")


def prepare(cfg: DictConfig) -> None:
    """Stage 2A: listening log -> trackid_sorted.csv, plays.pqt, data/{train,val,test}.pqt."""
    check_settings(cfg, "data")
    source: DataSource = make(cfg.data, "data")
    workspace = _workspace(cfg)
    with _preparing(workspace):
        source.materialise(workspace, int(cfg.seed))
        _prepare(workspace, source)


def extract(cfg: DictConfig) -> None:
    """Stage 1: audio files -> embeddings/{name}.npy and .json."""
    from musicrec.embeddings.configure import make_embedding, with_checkpoint

    if cfg.embedding.get("layer") == "each":
        layers(cfg, overwrite=True)
        return
    check_settings(cfg, "data", "embedding", "extract")
    embedding = make_embedding(with_checkpoint(cfg))
    if cfg.extract.check:
        from musicrec.embeddings.extraction.check import check

        check(embedding, str(cfg.extract.device), str(cfg.extract.precision))
        return
    source: DataSource = make(cfg.data, "data")
    workspace = _workspace(cfg)
    with _preparing(workspace):
        source.materialise(workspace, int(cfg.seed))
        tracks, files = _library(workspace, source, embedding)
    _extract(cfg, workspace, embedding, tracks, files)


def layers(cfg: DictConfig, *, overwrite: bool = False) -> list[int]:
    """Makes a table per layer of the embedding from one pass over the audio; returns the numbers of the layers.

    Args:
        cfg: the composed configuration, with `embedding.layer=each`.
        overwrite: look for new files and extract as `extract` does, also where all tables are there.
    """
    from musicrec.data.prepare import is_prepared
    from musicrec.embeddings.configure import with_checkpoint
    from musicrec.embeddings.extraction.layers import made, make_joined, split_layers

    wanted = cfg.copy()
    wanted.embedding, embedding = make_joined(with_checkpoint(cfg))
    check_settings(wanted, "data", "embedding", "extract")
    source: DataSource = make(cfg.data, "data")
    workspace, name = _workspace(cfg), str(cfg.embedding.name)
    found = [] if cfg.extract.overwrite else made(embedding, workspace, name)
    if found and not overwrite:
        return found
    with _preparing(workspace):
        source.materialise(workspace, int(cfg.seed))
        if source.make_missing and not overwrite and not is_prepared(source, workspace):
            _prepare(workspace, source)
        tracks, files = _library(workspace, source, embedding)
    _extract(wanted, workspace, embedding, tracks, files)
    return split_layers(embedding, workspace, name, len(tracks))


def train(cfg: DictConfig) -> float | None:
    """Stage 2B: trains one recommender on one embedding; returns the val NDCG@k (None without val users)."""
    from musicrec.data.interactions import SplitData
    from musicrec.embeddings.configure import make_embedding, with_checkpoint
    from musicrec.tracking.wandb_access import under_agent
    from musicrec.training.given import Given, as_finished

    check_settings(cfg, "data", "embedding")
    finished = as_finished(cfg)
    cfg = finished or _with_recommender(cfg)
    source: DataSource = make(cfg.data, "data")
    embedding = make_embedding(with_checkpoint(cfg))
    companion = None if finished else _companion_of(cfg)
    workspace = _workspace(cfg)
    # Under the lock, so that no other process changes the splits between the comparison and the reading.
    with _preparing(workspace):
        source, cfg = _as_prepared(cfg, workspace, source)
        if source.make_missing:
            _make_missing(cfg, workspace, source, embedding)
        if not workspace.split("train").is_file():
            raise MusicrecError(
                f"{workspace.split('train')} is missing: make it with: "
                f"python prepare.py data={chosen_option(cfg, 'data')} data.plays=FILE"
            )
        tracks = TrackIndex.load(workspace.track_index)
        data = SplitData.load(workspace, tracks, source.splits.candidates, bool(cfg.eval.repeat))
    files = None if finished else _files_read(cfg)
    given = Given.of(cfg, workspace, tracks, data, embedding, companion(data) if companion else None, files)
    run = given.find(bool(cfg.overwrite))
    if run.finished and not under_agent():
        return given.answer(run)
    _import_lightning()
    from musicrec.training.train import train_run

    return train_run(given, run)


def _with_recommender(cfg: DictConfig) -> DictConfig:
    """Returns the configuration with the embedding that its recommender reads, whose class is imported for that."""
    _import_lightning()
    check_settings(cfg, "extract", "recommender")
    return without_unread_embedding(cfg)


def _companion_of(cfg: DictConfig) -> Callable[[SplitData], TrainedRecommender] | None:
    """Trains the run that the run of `cfg` needs; returns what loads its model, None if it needs none."""
    from functools import partial

    from musicrec.training.companion import load_companion, train_companion

    trained = train_companion(cfg, train)
    return None if trained is None else partial(load_companion, trained)


def _files_read(cfg: DictConfig) -> dict[str, Path]:
    """Returns what the recommender reads besides splits and embedding."""
    from musicrec.recommenders.configure import files_read

    return files_read(cfg.recommender)


def _import_lightning() -> None:
    from musicrec.training.quiet import import_lightning

    import_lightning()


def evaluate(cfg: DictConfig) -> None:
    """Stage 2C: every predictions file in the workspace -> tables, significance, report; or lists, or an export."""
    from functools import partial

    from musicrec.evaluation.comparison import compare
    from musicrec.evaluation.cutoffs import Cutoffs
    from musicrec.evaluation.groups.user_file import read_users
    from musicrec.evaluation.layers import write_layers
    from musicrec.evaluation.report.headline import headlines
    from musicrec.evaluation.report.html_report import write_report
    from musicrec.evaluation.report.plots.draw import draw
    from musicrec.evaluation.report.reference_page import print_reference
    from musicrec.evaluation.report.tables import print_comparison, write_formats
    from musicrec.evaluation.statistics.equivalence import check_margin
    from musicrec.tracking.wandb_runs import start_run
    from musicrec.tracking.wandb_summary import log_comparison

    check_settings(cfg)
    workspace = _workspace(cfg)
    if cfg.inspect.embeddings:
        from musicrec import inspections

        inspections.show_embeddings(cfg, workspace)
        return
    if cfg.inspect.text is not None:
        from musicrec import inspections

        inspections.show_tracks_like_text(cfg, workspace)
        return
    if cfg.export is not None:
        from musicrec import inspections

        inspections.export_to(cfg, workspace)
        return
    users, groups = OmegaConf.select(cfg, "data.users"), cfg.eval.groups
    comparison = compare(
        workspace,
        Cutoffs.of(cfg.eval.k),
        bootstrap=int(cfg.eval.bootstrap),
        diversity=cfg.eval.diversity,
        margin=check_margin(cfg.eval.margin),
        repeat=cfg.eval.repeat,
        pooled=bool(cfg.eval.pooled_ndcg),
        groups=list(groups) if isinstance(groups, ListConfig) else groups,
        users=None if users is None else read_users(users),
    )
    if cfg.inspect.user is not None:
        from musicrec import inspections

        inspections.show_user(cfg, workspace, comparison)
        return
    if cfg.reference is not None:
        log.info("%s", print_reference(workspace, comparison, str(cfg.reference)))
        return
    print_comparison(comparison)
    for title, sentences in headlines(comparison).items():
        print(f"{title}: {sentences}.")
    write_formats(workspace, comparison)
    write_layers(workspace, comparison)
    plots = draw(workspace, comparison)
    write_report(workspace, comparison, plots)
    if "wandb" in cfg.logger:
        settings = {str(key): value for key, value in cfg.logger.wandb.items() if key != "_target_"}
        log_comparison(comparison, plots, partial(start_run, **settings))
    log.info("the report with plots and significance tests: %s", workspace.report)


def status(cfg: DictConfig) -> None:
    """Shows how far the sweeps and runs of the workspace are (`status=true` of any stage)."""
    from musicrec.sweeps.status import show_status

    which = cfg.status
    for root in dict.fromkeys(Path(str(root)).expanduser() for root in (cfg.paths.output, cfg.paths.root)):
        show_status(Workspace(root), which if isinstance(which, bool) else str(which))


def _workspace(cfg: DictConfig) -> Workspace:
    """Returns the workspace at `paths.root`, without what killed processes left in it and in `paths.output`."""
    roots = [Path(str(root)).expanduser() for root in (cfg.paths.root, cfg.paths.output)]
    for root in dict.fromkeys(roots):
        for folder in (root, *(root / name for name in _WRITTEN), *root.glob("checkpoints/*"), *root.glob("runs/*")):
            remove_leftovers(folder)
        for folder in root.glob("embeddings/*.parts"):
            remove_leftovers(folder)
    return Workspace(roots[0])


def _preparing(workspace: Workspace) -> AbstractContextManager[None]:
    """Lets one process at a time make what lies in the workspace before a run."""
    if workspace.root.is_dir() and not os.access(workspace.root, os.W_OK):
        return nullcontext()  # somebody else's workspace, which nothing is made in
    return exclusive(workspace.root / ".preparing.lock", f"waiting: another process is preparing {workspace.root}")


def _prepare(workspace: Workspace, source: DataSource) -> None:
    """Makes plays.pqt and the splits, and logs their sizes."""
    from musicrec.data.prepare import prepare as prepare_data

    report = prepare_data(source, workspace)
    log.info("%s", report.table)


def _library(workspace: Workspace, source: DataSource, embedding: Embedding) -> tuple[TrackIndex, dict[str, Path]]:
    """Returns the track index, made or extended from the audio folder, and the file of each track id."""
    files: dict[str, Path] = {}
    if embedding.needs_audio:
        from musicrec.audio.library import scan

        files = scan(source.audio_path(workspace))
    if workspace.track_index.is_file():
        known = TrackIndex.load(workspace.track_index)
        tracks = known.extended(files)
        # An older index may hold another Unicode form of a file's name.
        files = {tracks.ids[tracks.row(track)]: path for track, path in files.items()}
        if tracks is not known:
            log.info("appending %d new tracks to %s", len(tracks) - len(known), workspace.track_index)
            tracks.save(workspace.track_index)
    elif files:
        tracks = TrackIndex(sorted(files))
        tracks.save(workspace.track_index)
    else:
        raise MusicrecError(
            f"{workspace.track_index} is missing and embedding={embedding.name} reads no audio: make it with: "
            "python prepare.py (with the same data=…)"
        )
    return tracks, files


def _extract(
    cfg: DictConfig, workspace: Workspace, embedding: Embedding, tracks: TrackIndex, files: dict[str, Path]
) -> None:
    """Makes an embedding."""
    from musicrec.embeddings.extraction.extract import extract as extract_embedding

    options = {str(key): value for key, value in cfg.extract.items() if key != "check"}
    extract_embedding(embedding, workspace, tracks, files, **options)


def _as_prepared(cfg: DictConfig, workspace: Workspace, source: DataSource) -> tuple[DataSource, DictConfig]:
    """Returns the source and the configuration with the settings of the splits that are there.

    Settings that the command does not state (they are those of the option of the group `data`) follow the splits.

    Raises:
        MusicrecError: if a stated one is another than that of the splits.
    """
    from musicrec.data.prepared import as_prepared
    from musicrec.training.run_name import run_name

    source, followed = as_prepared(source, workspace, stated_settings(cfg, "data"))
    if not followed:
        return source, cfg
    log.info("%s was prepared with %s", workspace.data_dir, " ".join(f"data.{k}={v}" for k, v in followed.items()))
    changed = cfg.copy()
    changed.run_name = run_name(cfg, read=True)  # the name of the command, whichever splits it finds
    for key, value in followed.items():
        changed.data[key] = value
    return source, changed


def _make_missing(cfg: DictConfig, workspace: Workspace, source: DataSource, embedding: Embedding) -> None:
    """Runs the earlier stages that have not been run; the caller holds the lock of `_preparing`."""
    from musicrec.data.prepare import is_prepared

    source.materialise(workspace, int(cfg.seed))
    if not is_prepared(source, workspace):
        log.info("%s/ is missing or was built with different settings; running prepare.py first", workspace.data_dir)
        _prepare(workspace, source)
    if embedding.needs_audio and not workspace.embedding(embedding.name).is_file():
        log.info("%s is missing; running extract.py first", workspace.embedding(embedding.name))
        tracks, files = _library(workspace, source, embedding)
        _extract(cfg, workspace, embedding, tracks, files)
