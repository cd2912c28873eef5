"""Searches with Optuna: their direction and seed, and how one in a storage is resumed."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from typing import Any

from omegaconf import DictConfig, OmegaConf, read_write

from musicrec.errors import first_line

log = logging.getLogger(__name__)


def is_search(config: DictConfig) -> bool:
    """Returns whether a sweep is a search and not a grid."""
    return config.hydra.sweeper.get("n_trials") is not None


def maximise(config: DictConfig) -> None:
    """Makes a search maximise the val score that train.py returns, and seeds it; Optuna minimises by default.

    A file conf/hydra/sweeper/optuna.yaml could not do so: Hydra refuses one beside the plugin's own of that name.
    """
    sweeper = config.hydra.sweeper
    with read_write(sweeper):
        sweeper.direction = "maximize"
        if OmegaConf.select(sweeper, "sampler.seed") is None and "seed" in (sweeper.get("sampler") or {}):
            sweeper.sampler.seed = config.seed


def resume(config: DictConfig) -> None:
    """Lets a search whose trials are in a storage do only what is left of `n_trials`.

    A study that the user does not name is named by what is searched, so that the same command finds it again.
    """
    os.environ.setdefault("SQLALCHEMY_SILENCE_UBER_WARNING", "1")  # optuna 2.10 is older than SQLAlchemy 2
    sweeper = config.hydra.sweeper
    storage = sweeper.get("storage")
    if storage is None:
        return
    if sweeper.study_name is None:
        words = [f"{key}={value}" for key, value in (sweeper.get("params") or {}).items()]
        words += sorted(map(str, config.hydra.overrides.task))
        with read_write(sweeper):
            sweeper.study_name = f"musicrec-{hashlib.sha256(chr(10).join(words).encode()).hexdigest()[:8]}"
    done = _finished_trials(str(storage), str(sweeper.study_name))
    with read_write(sweeper):
        sweeper.n_trials = max(int(sweeper.n_trials) - done, 0)
        # Seeded as at the beginning, the sampler would draw the same settings again.
        if done and OmegaConf.select(sweeper, "sampler.seed") is not None:
            sweeper.sampler.seed += done
    if done:
        log.info(
            "the search %s in %s has %d finished trials; %d are left (more: hydra.sweeper.n_trials)",
            *(sweeper.study_name, storage, done, sweeper.n_trials),
        )


def _finished_trials(storage: str, name: str) -> int:
    """Returns how many trials of a study have ended well; those of a killed search are marked as failed."""
    import optuna  # noqa: PLC0415 (half a second, which only searches need)

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        if name not in [study.study_name for study in optuna.get_all_study_summaries(storage)]:
            return 0
        study: Any = optuna.load_study(study_name=name, storage=storage)
        states = optuna.trial.TrialState
        for trial in study.get_trials(deepcopy=False, states=(states.RUNNING,)):
            study.tell(trial.number, state=states.FAIL)
        return len(study.get_trials(deepcopy=False, states=(states.COMPLETE,)))
    except Exception as error:  # whatever the storage's driver raises
        sys.exit(
            f"musicrec: hydra.sweeper.storage={storage} cannot be used ({first_line(error)}); must be a database, e.g. "
            "sqlite:///search.db"
        )
