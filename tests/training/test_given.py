"""as_finished: which embedding a finished run was made with, told by its record alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from musicrec import stages
from musicrec.training.given import as_finished
from musicrec.training.run_name import run_name, settings
from musicrec.training.run_record import RunRecord
from musicrec.workspace import Workspace

Compose = Callable[..., DictConfig]


def record(cfg: DictConfig, status: str = "finished", reads_embedding: bool | None = True) -> None:
    """Writes the record of a run of a configuration."""
    path = Workspace(Path(cfg.paths.output)).run_dir(run_name(cfg)) / "run.json"
    RunRecord(status, settings(cfg), {}, reads_embedding=reads_embedding).write(path)  # type: ignore[arg-type]


def test_a_run_that_nobody_finished_is_not_known(compose: Compose) -> None:
    cfg = compose("recommender=shallow", "embedding=random")
    assert as_finished(cfg) is None
    record(cfg, "started")
    assert as_finished(cfg) is None
    record(compose("recommender=shallow", "embedding=random", "seed=1"))
    assert as_finished(cfg) is None


@pytest.mark.parametrize("reads_embedding", [True, None])
def test_a_finished_run_is_known_by_its_name_and_settings(compose: Compose, reads_embedding: bool | None) -> None:
    cfg = compose("recommender=shallow", "embedding=random")
    record(cfg, reads_embedding=reads_embedding)  # earlier versions do not say it
    assert as_finished(cfg) is cfg
    assert as_finished(compose("recommender=shallow", "embedding=random", "overwrite=true")) is None
    for target in ("subprocess.Popen", "musicrec.recommenders.knn.KNN"):
        assert as_finished(compose("recommender=shallow", "embedding=random", f"recommender._target_={target}")) is None


def test_a_run_without_an_embedding_stands_for_all_only_if_none_is_ever_read(compose: Compose) -> None:
    without = compose("recommender=bert", "embedding=none")
    record(without, reads_embedding=True)
    assert as_finished(without) is without
    assert as_finished(compose("recommender=bert", "embedding=random")) is None

    record(compose("recommender=popularity", "embedding=none"), reads_embedding=False)
    for embedding in ("random", "musicnn", "none"):
        known = as_finished(compose("recommender=popularity", f"embedding={embedding}"))
        assert known is not None
        assert known.embedding.name == "none"


def test_a_given_name_with_other_settings_is_not_taken_for_finished(compose: Compose) -> None:
    record(compose("recommender=shallow", "embedding=random", "run_name=mine"))
    assert as_finished(compose("recommender=shallow", "embedding=random", "run_name=mine")) is not None
    assert as_finished(compose("recommender=shallow", "embedding=random", "run_name=mine", "seed=1")) is None


def test_a_record_whose_data_changed_is_not_an_answer(compose: Compose, tiny_workspace: Path) -> None:
    tiny = ("data=custom", "data.name=tiny", "embedding=random", "embedding.dim=6", "eval.k=2", "eval.top_k=3")
    cfg = compose(*tiny, "recommender=knn", "logger=none")
    first = stages.train(cfg)
    path = Workspace(tiny_workspace).run_dir(run_name(cfg)) / "run.json"
    finished = RunRecord.read(path)
    assert finished is not None
    assert finished.reads_embedding is True
    RunRecord("finished", finished.settings, {**finished.inputs, "embedding": "another"}).write(path)
    assert stages.train(cfg) == first
    again = RunRecord.read(path)
    assert again is not None
    assert again.inputs == finished.inputs
