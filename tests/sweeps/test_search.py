"""Searches: their direction and seed, and a storage from which they are resumed."""

from __future__ import annotations

import logging
from pathlib import Path

import optuna
import pytest

from musicrec.sweeps.report import plan
from musicrec.sweeps.search import maximise, resume
from tests.sweeps.test_report import sweep_config


def test_a_search_maximises_over_the_same_space_from_the_run_seed() -> None:
    overrides = ("experiment=bert_grid", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=7", "seed=3")
    config = sweep_config(overrides=overrides)
    maximise(config)
    assert config.hydra.sweeper.direction == "maximize"
    assert config.hydra.sweeper.sampler.seed == 3
    space = "4 max_seq_len × 3 mlm_probability × 4 batch_size"
    assert f"7 jobs (optuna searches {space} for the best val score, 2 at a time)" in plan(config)


def test_a_search_in_a_storage_does_only_what_is_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    storage = f"sqlite:///{tmp_path}/search.db"
    words = ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=5", f"hydra.sweeper.storage={storage}", "seed=3")
    config = sweep_config("recommender.lr=interval(0.1,0.2)", overrides=words)
    maximise(config)
    resume(config)
    name = config.hydra.sweeper.study_name
    assert name.startswith("musicrec-")
    assert config.hydra.sweeper.n_trials == 5
    study = optuna.create_study(study_name=name, storage=storage, direction="maximize")
    for value in (0.1, 0.2):
        study.tell(study.ask(), value)
    study.ask()  # a trial that was killed

    config = sweep_config("recommender.lr=interval(0.1,0.2)", overrides=words)
    maximise(config)
    resume(config)
    assert config.hydra.sweeper.study_name == name
    assert (config.hydra.sweeper.n_trials, config.hydra.sweeper.sampler.seed) == (3, 5)
    assert caplog.messages[-1].startswith(f"the search {name} in {storage} has 2 finished trials; 3 are left")
    trials = optuna.load_study(name, storage).get_trials()
    assert [trial.state.name for trial in trials] == ["COMPLETE", "COMPLETE", "FAIL"]
    other = sweep_config("recommender.lr=interval(0.1,0.3)", overrides=words)
    resume(other)
    assert other.hydra.sweeper.study_name != name


@pytest.mark.parametrize("storage", ["nonsense", "sqlite:////no/such/folder/x.db", "oracle://x"])
def test_a_storage_that_cannot_be_used_is_one_line(storage: str) -> None:
    config = sweep_config(overrides=("hydra/sweeper=optuna", f"hydra.sweeper.storage={storage}"))
    with pytest.raises(SystemExit) as left:
        resume(config)
    assert f"hydra.sweeper.storage={storage} cannot be used (" in str(left.value)
    assert "\n" not in str(left.value)
