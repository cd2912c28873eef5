"""One training run from splits and an embedding to checkpoints, predictions, per-user metrics and model embeddings.

A run is identified by its name. `runs/{run}/run.json` records how far it came and what it was made from: a finished run
is skipped, an unfinished one resumes from its last checkpoint, and one whose inputs changed starts from scratch.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint
from pytorch_lightning.loggers import Logger

from musicrec.errors import MusicrecError
from musicrec.evaluation.cutoffs import Cutoffs
from musicrec.evaluation.prediction_info import PredictionInfo
from musicrec.evaluation.scoring import score_run
from musicrec.evaluation.truth import VAL
from musicrec.files import write_parquet, write_text
from musicrec.recommenders.configure import make_recommender, training_settings
from musicrec.recommenders.inputs import Inputs
from musicrec.recommenders.trained import TrainedRecommender
from musicrec.sweeps.current import record_job, sweep
from musicrec.tracking.loggers import facts, opened
from musicrec.training import callbacks, results
from musicrec.training.preemption import cluster_plugins
from musicrec.training.quiet import quiet_lightning
from musicrec.training.run import Run, input_hashes, is_main_process
from musicrec.training.run_name import run_name, settings
from musicrec.workspace import TrackIndex, Workspace

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from musicrec.data.interactions import SplitData
    from musicrec.embeddings.base import Embedding
    from musicrec.recommenders.base import Recommender

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """A trained recommender.

    Attributes:
        model: with the weights of its best epoch, on the device that trained it.
        steps: optimiser steps taken.
    """

    model: Recommender
    steps: int


def train_run(
    cfg: DictConfig, workspace: Workspace, tracks: TrackIndex, data: SplitData, embedding: Embedding
) -> float | None:
    """Trains, predicts and scores the run described by `cfg`, resuming it if it was interrupted.

    Args:
        cfg: the composed configuration; it is not changed.
        workspace: has the splits and the embedding; the run's files go to `paths.output`, by default the same.
        tracks: the track index.
        data: the splits.
        embedding: what the recommender is given.

    Returns:
        The val NDCG@k, for a sweeper to maximise; None without val users.

    Raises:
        MusicrecError: an embedding that does not fit the tracks or has no usable row, or a run of the same explicit
            name with other settings.
    """
    started = time.monotonic()
    chosen = settings(cfg)
    cfg = _named(cfg, run_name(cfg, chosen))
    output, k = Workspace(Path(str(cfg.paths.output)).expanduser()), Cutoffs.of(cfg.eval.k)
    vectors = embedding.table(workspace, tracks)
    data = _usable(data, vectors, embedding, workspace)
    inputs = input_hashes(workspace, tracks, vectors)
    run = Run.find(cfg.run_name, str(cfg.recommender.name), output, chosen, inputs, bool(cfg.overwrite))
    k.check(data.truth)
    main = is_main_process()
    if main:
        record_job(run=run.name)
    if run.finished:
        log.info("%s is already finished; set overwrite=true to rerun it", run.name)
        return results.report(output, run.name, data, k.at(VAL))

    record = run.start() if main else run.join()
    if main:
        write_text(output.run_dir(run.name) / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
        log.info("%s", run.name)
    with quiet_lightning():
        pl.seed_everything(int(cfg.seed), workers=True, verbose=False)
        given = Inputs(data, vectors, embedding.trainable, seed=int(cfg.seed), training=training_settings(cfg))
        model = make_recommender(cfg.recommender, given)
        with opened(cfg.logger if main else {}, _described(cfg, data, vectors)) as loggers:
            result = fit(cfg, run, model, loggers.opened, resume=record.resumes)
            if not main:
                return None  # the other processes of trainer=ddp help to train only
            info = _metadata(cfg, run, result.model, embedding, vectors.shape[1], tracks)
            _write(output, result.model, data, info, int(cfg.eval.top_k), k)
            loggers.log_final(results.final_metrics(output, run.name, data), result.steps)
    run.finish(record, time.monotonic() - started)
    return results.report(output, run.name, data, k.at(VAL))


def fit(cfg: DictConfig, run: Run, model: Recommender, loggers: Sequence[Logger], resume: bool) -> TrainResult:
    """Returns the model, trained if it is trainable.

    Args:
        cfg: the run's configuration.
        run: names the checkpoints.
        model: untrained.
        loggers: open; [] in every process but the main one.
        resume: whether to continue from the run's last checkpoint.
    """
    if not isinstance(model, TrainedRecommender):
        return TrainResult(model, steps=0)
    made = callbacks.configured(cfg, model, loggers)
    trainer: pl.Trainer = instantiate(
        cfg.trainer,
        callbacks=made,
        logger=list(loggers),
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in made),
        enable_progress_bar=False,
        plugins=cluster_plugins(),
        default_root_dir=str(run.best.parent),
    )
    checkpoint = str(run.last) if resume else None
    trainer.fit(model, datamodule=model.datamodule(), ckpt_path=checkpoint, weights_only=True)
    if trainer.is_global_zero:
        _load_best(run, model, trainer)
        # Lightning took it off the device; lists are computed where the model is.
        model.to(trainer.strategy.root_device)
        model.eval()
    return TrainResult(model, steps=trainer.global_step)


def _named(cfg: DictConfig, name: str) -> DictConfig:
    """Returns a copy of the configuration in which `run_name` is set: loggers and callbacks refer to it."""
    copy = cfg.copy()
    copy.run_name = name
    return copy


def _usable(data: SplitData, vectors: np.ndarray, embedding: Embedding, workspace: Workspace) -> SplitData:
    """Returns the splits without the histories of tracks that have no vector.

    Raises:
        MusicrecError: if no track is left.
    """
    missing = np.isnan(vectors).any(axis=1)
    usable = data.without_items(missing)
    if not len(usable.train.candidates):
        raise MusicrecError(f"no track of {workspace.split('train')} has a row in embedding={embedding.name}")
    if missing.any():
        log.info("%d tracks without an embedding are left out of histories and recommendations", missing.sum())
    return usable


def _load_best(run: Run, model: TrainedRecommender, trainer: pl.Trainer) -> None:
    """Loads the weights of the best epoch; the last ones stay where no checkpoint was written (`fast_dev_run`)."""
    if not run.best.is_file():
        log.warning("%s: no checkpoint was written; using the weights of the last step", run.name)
        return
    checkpoints = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]
    scores = [callback.best_model_score for callback in checkpoints if callback.monitor is not None]
    best = ", ".join(f"{model.monitor} {float(score):.4f}" for score in scores if score is not None)
    log.info("%s: %d epochs, best %s", run.name, trainer.current_epoch, best)
    weights = torch.load(run.best, map_location="cpu", weights_only=True)
    model.load_state_dict(weights["state_dict"])


def _described(cfg: DictConfig, data: SplitData, vectors: np.ndarray) -> dict[str, Any]:
    """Returns the resolved configuration and, under `facts`, the sizes that it does not say."""
    resolved = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(resolved, dict)
    return {**{str(key): value for key, value in resolved.items()}, "facts": facts(data, vectors)}


def _metadata(
    cfg: DictConfig, run: Run, model: Recommender, embedding: Embedding, size: int, tracks: TrackIndex
) -> PredictionInfo:
    """Returns what the predictions file says about the run."""
    return PredictionInfo(
        run=run.name,
        recommender=run.recommender,
        table=model.table,
        title=model.title,
        embedding=embedding.name,
        size=int(size),
        seed=int(cfg.seed),
        sweep=sweep(),
        inputs=run.inputs,
        settings=run.settings,
        **tracks.stamp(),
    )


def _write(
    output: Workspace, model: Recommender, data: SplitData, info: PredictionInfo, top_k: int, k: Cutoffs
) -> None:
    """Writes model embeddings, predictions and per-user metrics.

    run.json says "finished" after that: a run killed here is scored again from its checkpoint.
    """
    name, metadata = info.run, info.to_json()
    predictions = results.predictions(model, data, top_k)
    results.write_model_embeddings(output, name, model, data)
    write_parquet(predictions, output.predictions(name), metadata)
    score_run(output, name, data.truth, predictions, k, metadata)
