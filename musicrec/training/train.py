"""One training run from splits and an embedding to checkpoints, predictions, per-user metrics and model embeddings.

A run is identified by its name. `runs/{run}/run.json` says how far it came and what it was made from: a finished run
is not done again, an unfinished one goes on from its last checkpoint, and one whose inputs changed starts anew.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
import uuid
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from musicrec.columns import ITEM, RANK, SCORE, SPLIT, USER
from musicrec.errors import MusicrecError
from musicrec.evaluation.prediction_info import PredictionInfo
from musicrec.evaluation.scoring import score_run
from musicrec.files import atomic_path, file_hash, read_json, write_json, write_parquet, write_text
from musicrec.sweeps.current import sweep
from musicrec.tracking import loggers
from musicrec.tracking.loggers import quiet_lightning
from musicrec.training.run_name import run_name, settings
from musicrec.workspace import TrackIndex, Workspace

if TYPE_CHECKING:
    import pandas as pd
    from omegaconf import DictConfig

    from musicrec.data.interactions import Interactions, SplitData
    from musicrec.embeddings.base import Embedding

log = logging.getLogger(__name__)

# Lightning starts the other processes of trainer=ddp with the environment of the first.
_ATTEMPT = "MUSICREC_ATTEMPT"
# Seconds that the processes of a SLURM job may start apart.
_LONGEST_WAIT = 600.0


def train_run(
    cfg: DictConfig, workspace: Workspace, tracks: TrackIndex, data: SplitData, embedding: Embedding
) -> float | None:
    """Does the run that `cfg` describes, as far as it is not done yet.

    Returns:
        The val NDCG@k, for a sweeper to maximise; None without val users.

    Raises:
        MusicrecError: an embedding that does not fit the tracks or has no usable row, or a run of the same explicit
            name with other settings.
    """
    from omegaconf import OmegaConf

    name = run_name(cfg)
    cfg.run_name = name
    table = embedding.table(workspace, tracks)
    missing = np.isnan(table).any(axis=1)
    data = data.without_items(missing)
    if not len(data.train.candidates):
        raise MusicrecError(f"no track of {workspace.split('train')} has a row in embedding={embedding.name}")
    if missing.any():
        log.info("%d tracks without an embedding are left out of histories and recommendations", missing.sum())
    run = _Run(
        workspace,
        name,
        settings(cfg),
        _inputs(workspace, tracks, table),
        str(cfg.recommender.name),
        bool(cfg.overwrite),
    )
    if run.finished:
        log.info("%s is finished already (overwrite=true does it again)", name)
        return _report(workspace, name, data, int(cfg.eval.k))

    if is_main_process():
        run.start()
        write_text(workspace.run_dir(name) / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
        log.info("%s", name)
    else:
        run.join()
    started = time.monotonic()
    with quiet_lightning():
        model, open_loggers, step = _fit(cfg, run, data, table, embedding.trainable)
    if not is_main_process():
        return None  # the other processes of trainer=ddp help to train only
    predictions = _predictions(model, data, int(cfg.eval.top_k))
    metadata = PredictionInfo(
        run=name,
        recommender=str(cfg.recommender.name),
        table=model.table,
        title=getattr(model, "title", None),
        embedding=embedding.name,
        size=int(table.shape[1]),
        seed=int(cfg.seed),
        sweep=sweep(),
        inputs=run.inputs,
        settings=run.settings,
        **tracks.stamp(),
    ).to_json()
    _write_model_embeddings(workspace, name, model, data)
    # run.json says "finished" last: a run killed here is scored again from its checkpoint.
    write_parquet(predictions, workspace.predictions(name), metadata)
    score_run(workspace, name, data.truth, predictions, int(cfg.eval.k), metadata)
    loggers.log_final(open_loggers, _described(cfg, data, table), _final_metrics(workspace, name, data), step)
    run.finish(seconds=round(time.monotonic() - started, 1))
    return _report(workspace, name, data, int(cfg.eval.k))


class _Run:
    """Where a run of some settings and inputs stands, kept in `runs/{run}/run.json`."""

    def __init__(
        self,
        workspace: Workspace,
        name: str,
        chosen: dict[str, Any],
        inputs: dict[str, Any],
        recommender: str,
        overwrite: bool,
    ):
        self.settings = chosen
        self.inputs = inputs
        self.name = name
        self.workspace = workspace
        self.best = workspace.checkpoint(recommender, name, "best")
        self.last = workspace.checkpoint(recommender, name, "last")
        self._path = workspace.run_dir(name) / "run.json"
        known = read_json(self._path) or {}
        if known and not overwrite and known.get("settings") != chosen:
            raise MusicrecError(
                f"run {name!r} exists with other settings ({_difference(known.get('settings', {}), chosen)}): choose "
                "another run_name, or overwrite=true"
            )
        same = not overwrite and known.get("inputs") == inputs
        if known and not overwrite and not same:
            log.info("%s was made from other data or another embedding: it starts anew", name)
        self._attempt = _attempt()
        self.finished = same and known.get("status") == "finished" and workspace.predictions(name).is_file()
        self.resumable = same and known.get("status") == "started" and self.last.is_file()

    def start(self) -> None:
        """Marks the run as started; one that cannot be resumed loses what an earlier attempt left."""
        if self.resumable:
            log.info("%s goes on from %s", self.name, self.last)
        else:
            folder = self.workspace.run_dir(self.name)
            for path in (self.best, self.last, folder / "metrics.csv", folder / loggers.WANDB_ID):
                path.unlink(missing_ok=True)
        self._write("started")

    def join(self) -> None:
        """Waits until the main process has started this attempt, and resumes if it does."""
        deadline = time.monotonic() + _LONGEST_WAIT
        while (known := read_json(self._path) or {}).get("attempt") != self._attempt:
            if time.monotonic() > deadline:
                raise MusicrecError(f"the main process of {self.name} did not start within {_LONGEST_WAIT:.0f} s")
            time.sleep(0.2)
        self.resumable = bool(known["resumes"])

    def finish(self, **facts: Any) -> None:
        """Marks the run as finished."""
        self._write("finished", **facts)

    def _write(self, status: str, **facts: Any) -> None:
        content = {"status": status, "settings": self.settings, "inputs": self.inputs, **facts}
        content |= {"attempt": self._attempt, "resumes": self.resumable}
        job = os.environ.get("SLURM_JOB_ID")
        if job:
            content["slurm_job"] = job
        write_json(self._path, content)


def is_main_process() -> bool:
    """Returns whether this process writes files: the only one, or rank 0 of trainer=ddp."""
    from pytorch_lightning.utilities import rank_zero_only

    return int(getattr(rank_zero_only, "rank", 0) or 0) == 0


def _attempt() -> str:
    """Returns what the processes of one start of a run share: the SLURM job's start, or what rank 0 passes on."""
    if "SLURM_PROCID" in os.environ:
        return "{SLURM_JOB_ID}.{SLURM_STEP_ID}.{SLURM_RESTART_COUNT}".format_map(defaultdict(lambda: "0", os.environ))
    if is_main_process():
        os.environ[_ATTEMPT] = uuid.uuid4().hex
    return os.environ.get(_ATTEMPT, "")


def _inputs(workspace: Workspace, tracks: TrackIndex, table: np.ndarray) -> dict[str, Any]:
    """Returns hashes of everything a run reads."""
    splits = {path.stem: file_hash(path) for path in sorted(workspace.data_dir.glob("*.pqt"))}
    digest = hashlib.blake2b(np.ascontiguousarray(table).data, digest_size=8).hexdigest()
    return {**tracks.stamp(), "splits": splits, "embedding": digest}


def _difference(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> str:
    """Returns `key: old -> new` for the first few settings that differ."""
    found = []
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            inner = _difference(before, after, f"{prefix}{key}.")
            found += [inner] if inner else []
        elif before != after:
            found.append(f"{prefix}{key}: {before} -> {after}")
    return ", ".join(found[:5])


def _described(cfg: DictConfig, data: SplitData, table: np.ndarray) -> dict[str, Any]:
    """Returns the resolved configuration and, under `facts`, the sizes that it does not say."""
    from omegaconf import OmegaConf

    resolved = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(resolved, dict)
    return {**{str(key): value for key, value in resolved.items()}, "facts": loggers.facts(data, table)}


def _fit(
    cfg: DictConfig, run: _Run, data: SplitData, table: np.ndarray, embedding_trainable: bool
) -> tuple[Any, list[Any], int]:
    """Returns the trained model, its best weights loaded, the open loggers and the number of steps taken."""
    import pytorch_lightning as pl
    import torch
    from hydra.utils import instantiate

    pl.seed_everything(int(cfg.seed), workers=True, verbose=False)
    model = instantiate(cfg.recommender)(data=data, item_embeddings=table, embedding_trainable=embedding_trainable)
    open_loggers = loggers.start(instantiate(cfg.logger), _described(cfg, data, table)) if is_main_process() else []
    if not model.trainable:
        return model, open_loggers, 0

    from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

    from musicrec.progress import TrainingProgress
    from musicrec.training.preemption import LastCheckpoint, PreemptionGuard, cluster_plugins

    checkpoint = ModelCheckpoint(
        dirpath=run.best.parent,
        filename=run.best.stem,
        monitor=model.monitor,
        mode=model.monitor_mode,
        enable_version_counter=False,
        auto_insert_metric_name=False,
    )
    guard = PreemptionGuard()
    callbacks: list[pl.Callback] = [
        checkpoint,
        LastCheckpoint(run.last, guard),
        EarlyStopping(
            monitor=model.monitor,
            mode=model.monitor_mode,
            patience=model.patience,
            check_on_train_epoch_end=model.monitor.startswith("train/"),
        ),
        guard,
    ]
    if cfg.trainer.get("enable_progress_bar", True):
        callbacks.append(TrainingProgress(run.name, model.monitor, model.monitor_mode))
    trainer = instantiate(
        cfg.trainer,
        callbacks=callbacks,
        logger=open_loggers,
        enable_progress_bar=False,
        plugins=cluster_plugins(),
        default_root_dir=str(run.best.parent),
    )
    resume = str(run.last) if run.resumable else None
    trainer.fit(model, datamodule=model.datamodule(), ckpt_path=resume, weights_only=True)
    if not trainer.is_global_zero:
        return model, [], trainer.global_step
    log.info("%s: %d epochs, best %s %.4f", run.name, trainer.current_epoch, model.monitor, checkpoint.best_model_score)
    best = torch.load(run.best, map_location="cpu", weights_only=True)
    model.load_state_dict(best["state_dict"])
    model.to(trainer.strategy.root_device)  # Lightning took it off the device; lists are computed where the model is
    return model.eval(), open_loggers, trainer.global_step


def _predictions(model: Any, data: SplitData, k: int) -> pd.DataFrame:
    """Returns user_id, item_id, rank, score for every user with a held-out pair, best first.

    If splits differ in what is known of a user (leave_one_out), each has its own lists, named in a column `split`.
    """
    import pandas as pd

    if not data.sequential:
        return _lists(model, data.train, pd.concat([truth[USER] for truth in data.truth.values()]), k)
    lists = {name: _lists(model, data.history(name), truth[USER], k) for name, truth in data.truth.items()}
    return pd.concat([frame.assign(**{SPLIT: name}) for name, frame in lists.items()], ignore_index=True)


def _lists(model: Any, history: Interactions, users: pd.Series, k: int) -> pd.DataFrame:
    """Returns the lists of these users, whose history is given."""
    import pandas as pd

    user_ids = history.user_ids
    positions = np.flatnonzero(pd.Index(user_ids).isin(users))
    ids, scores = model.recommend(positions, k, history)
    rows, columns = np.nonzero(ids >= 0)
    return pd.DataFrame(
        {USER: user_ids[positions[rows]], ITEM: ids[rows, columns], RANK: columns + 1, SCORE: scores[rows, columns]}
    )


def _write_model_embeddings(workspace: Workspace, name: str, model: Any, data: SplitData) -> None:
    """Writes the vectors whose dot product is the score, and the user ids of the user rows."""
    for side, vectors in (("users", model.user_vectors()), ("items", model.item_vectors())):
        with atomic_path(workspace.model_embeddings(name, side)) as temporary:
            np.save(temporary, np.asarray(vectors, dtype=np.float32))
    lines = [USER, *map(str, data.train.user_ids)]
    write_text(workspace.model_embeddings(name, "users", "csv"), "\n".join(lines) + "\n")


def _final_metrics(workspace: Workspace, name: str, data: SplitData) -> dict[str, float]:
    """Returns {"val/NDCG@50": mean over users, ...} from the per-user files; a split without users has none."""
    import pandas as pd

    final = {}
    for split in data.truth:
        if workspace.metrics(name, split).is_file():
            means = pd.read_parquet(workspace.metrics(name, split)).drop(columns=USER).mean()
            final.update({f"{split}/{column}": float(value) for column, value in means.items()})
    return final


def _report(workspace: Workspace, name: str, data: SplitData, k: int) -> float | None:
    """Logs the final means in one line; returns the val NDCG@k."""
    final = _final_metrics(workspace, name, data)
    for split in data.truth:
        values = [f"{key.split('/')[1]} {value:.4f}" for key, value in final.items() if key.startswith(f"{split}/")]
        if values:
            log.info("%s  %-9s  %s", name, split, "  ".join(values))
    return final.get(f"val/NDCG@{k}")
