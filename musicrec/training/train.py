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

from musicrec.config import reads_embedding
from musicrec.devices import Device, describe, warn_of_unused_gpu
from musicrec.evaluation import run_scores
from musicrec.evaluation.cutoffs import Cutoffs
from musicrec.evaluation.prediction_info import PredictionInfo
from musicrec.evaluation.scoring import score_run
from musicrec.files import write_parquet, write_text
from musicrec.recommenders.trained import TrainedRecommender
from musicrec.sweeps.current import record_job, sweep
from musicrec.tracking.loggers import facts, opened
from musicrec.tracking.wandb_access import FINISHED_ALREADY, under_agent
from musicrec.training import callbacks, outputs
from musicrec.training.checkpoints import AtomicCheckpoints, load_weights, resumable_from
from musicrec.training.given import Given
from musicrec.training.guards import FiniteLoss, Ownership, refuse_infinite_weights
from musicrec.training.last_row import LastRow
from musicrec.training.lease import Lease, TakenOver, owned
from musicrec.training.model import make_model
from musicrec.training.preemption import cluster_plugins
from musicrec.training.quiet import quiet_lightning
from musicrec.training.run import Run, is_main_process
from musicrec.training.run_record import RunRecord
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
        device: what it was trained on, or is computed on.
    """

    model: Recommender
    steps: int
    device: Device


def train_run(given: Given, run: Run) -> float | None:
    """Trains, predicts and scores a run, resuming it if it was interrupted, unless it is finished.

    Args:
        given: what the run is made from; its files go to `paths.output`, by default the workspace.
        run: what `given.find` returned.

    Returns:
        The val NDCG@k, for a sweeper to maximise; None without val users.
    """
    if not is_main_process():
        record = None if run.finished else run.join()
        if record is not None:
            _train(given, run, record, None)
        return None  # the other processes of trainer=ddp help to train only
    record_job(run=run.name)
    reads = reads_embedding(given.cfg)
    while not run.finished:
        try:
            with owned(run.name, given.output.run_dir(run.name), bool(given.cfg.wait)) as lease:
                run = given.find(run.overwrites)  # another process may have finished it meanwhile
                if not run.finished:
                    _train(given, run, run.start(lease, resumable_from(run), reads), lease)
                    return given.report(run)
        except TakenOver as taken:
            if not given.cfg.wait or torch.distributed.is_initialized():
                raise
            log.warning("%s", taken)
            run = given.find(False)
    answer = given.answer(run)
    if under_agent():
        _tell_agent(given, run)
    return answer


def _tell_agent(given: Given, run: Run) -> None:
    """Gives an agent of W&B's own sweeps, which drew the settings of a finished run, a run with its metrics."""
    if "wandb" not in given.cfg.logger:
        return
    told = given.cfg.copy()
    told.logger.wandb.tags = [*(told.logger.wandb.get("tags") or ()), FINISHED_ALREADY]
    with opened({"wandb": told.logger.wandb}, _described(given.cfg, given.data, given.vectors)) as loggers:
        more = {**run_scores.intervals(given.output, run.name, given.data), "note": FINISHED_ALREADY}
        loggers.log_final(run_scores.final_metrics(given.output, run.name, given.data), 0, more)


def _train(given: Given, run: Run, record: RunRecord, lease: Lease | None) -> None:
    """Trains, predicts, scores and marks the run as finished.

    Args:
        given: what the run is made from.
        run: the run.
        record: of this attempt.
        lease: of the run; None in every process but the main one.
    """
    started = time.monotonic()
    cfg, data, vectors, output = given.cfg, given.data, given.vectors, given.output
    main = lease is not None
    if main:
        write_text(output.run_dir(run.name) / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
        log.info("%s", run.name)
    with quiet_lightning():
        pl.seed_everything(int(cfg.seed), workers=True, verbose=False)
        model = make_model(given)
        with opened(cfg.logger if main else {}, _described(cfg, data, vectors)) as loggers:
            if lease is not None:
                loggers.guard_files(lease.check)
            try:
                result = fit(cfg, run, model, loggers.opened, run.checkpoint(record), lease)
                if lease is None:
                    return
                info = _metadata(cfg, run, result.model, given.embedding, vectors.shape[1], given.tracks)
                _write(output, result.model, data, info, int(cfg.eval.top_k), Cutoffs.of(cfg.eval.k), lease)
            except TakenOver:
                loggers.abandon_files()
                raise
            seconds, device = time.monotonic() - started, result.device.to_json()
            metrics = run_scores.final_metrics(output, run.name, data)
            intervals = run_scores.intervals(output, run.name, data)
            loggers.log_final(metrics, result.steps, {**intervals, "seconds": round(seconds, 1), **device})
        run.finish(record, seconds, lease, device)


def fit(
    cfg: DictConfig,
    run: Run,
    model: Recommender,
    loggers: Sequence[Logger],
    checkpoint: Path | None,
    lease: Lease | None = None,
) -> TrainResult:
    """Returns the model, trained if it is trainable.

    Args:
        cfg: the run's configuration.
        run: names the checkpoints.
        model: untrained.
        loggers: open; [] in every process but the main one.
        checkpoint: what to resume from; None = start from scratch.
        lease: of the run; None in every process but the main one.
    """
    precision = str(cfg.trainer.get("precision", "32-true"))
    if not isinstance(model, TrainedRecommender):
        return TrainResult(model, 0, _said(run, lease, describe(torch.device("cpu"), "32-true")))
    made = callbacks.configured(cfg, model, loggers)
    causes = f"recommender.lr={cfg.recommender.get('lr')} is too high, or too much for trainer.precision="
    causes += precision
    watching = [FiniteLoss(run.name, causes), LastRow(), *([] if lease is None else [Ownership(lease)])]
    trainer: pl.Trainer = instantiate(
        cfg.trainer,
        callbacks=[*made, *watching],
        logger=list(loggers),
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in made),
        enable_progress_bar=False,
        plugins=[*cluster_plugins(), AtomicCheckpoints(lease.check if lease else None)],
        default_root_dir=str(run.best.parent),
    )
    used = trainer.strategy.root_device
    if used.type == "cpu" and cfg.trainer.get("accelerator") != "cpu" and lease is not None:
        warn_of_unused_gpu()
    device = _said(run, lease, describe(used, precision))
    resumed = None if checkpoint is None else str(checkpoint)
    trainer.fit(model, datamodule=model.datamodule(), ckpt_path=resumed, weights_only=True)
    if trainer.is_global_zero:
        _load_best(run, model, trainer)
        refuse_infinite_weights(run.name, model, causes)
        # Lightning took it off the device; lists are computed where the model is.
        model.to(trainer.strategy.root_device)
        model.eval()
    return TrainResult(model, trainer.global_step, device)


def _said(run: Run, lease: Lease | None, device: Device) -> Device:
    """Returns the device after the main process has logged it."""
    if lease is not None:
        log.info("%s: on %s", run.name, device)
    return device


def _load_best(run: Run, model: TrainedRecommender, trainer: pl.Trainer) -> None:
    """Loads the weights of the best epoch; the last ones stay where no checkpoint was written (`fast_dev_run`)."""
    if not run.best.is_file():
        log.warning("%s: no checkpoint was written; using the weights of the last step", run.name)
        return
    checkpoints = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]
    scores = [callback.best_model_score for callback in checkpoints if callback.monitor is not None]
    best = ", ".join(f"{model.monitor} {float(score):.4f}" for score in scores if score is not None)
    log.info("%s: %d epochs, best %s", run.name, trainer.current_epoch, best)
    model.load_state_dict(load_weights(run.best))


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
        embedding=embedding.name if size else "",
        size=int(size) or None,
        seed=int(cfg.seed),
        sweep=sweep(),
        inputs=run.inputs,
        settings=run.settings,
        **tracks.stamp(),
    )


def _write(
    output: Workspace, model: Recommender, data: SplitData, info: PredictionInfo, top_k: int, k: Cutoffs, lease: Lease
) -> None:
    """Writes model embeddings, predictions and per-user metrics, if the run still belongs to this process.

    run.json says "finished" after that: a run killed here is scored again from its checkpoint.
    """
    name, metadata = info.run, info.to_json()
    predictions = outputs.predictions(model, data, top_k)
    lease.check()
    outputs.write_model_embeddings(output, name, model, data)
    write_parquet(predictions, output.predictions(name), metadata)
    score_run(output, name, data.truth, predictions, k, metadata)
