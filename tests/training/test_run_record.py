"""RunRecord: run.json, also of earlier versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from musicrec.errors import MusicrecError
from musicrec.files import write_json
from musicrec.training.run import Run
from musicrec.training.run_record import RunRecord
from musicrec.workspace import Workspace

SETTINGS = {"seed": 0, "recommender": {"name": "bert", "lr": 0.1}}
INPUTS = {"tracks": 7, "splits": {"train": "a"}, "embedding": "b"}


def run(root: Path, overwrite: bool = False, **changes: object) -> Run:
    found = {"settings": SETTINGS, "inputs": INPUTS} | changes
    return Run.find("mine", "bert", Workspace(root), found["settings"], found["inputs"], overwrite)  # type: ignore[arg-type]


def test_a_record_survives_a_round_trip(tmp_path: Path) -> None:
    record = RunRecord("finished", SETTINGS, INPUTS, "attempt", True, seconds=1.5, slurm_job="17")
    record.write(tmp_path / "run.json")
    assert RunRecord.read(tmp_path / "run.json") == record
    assert RunRecord.read(tmp_path / "none.json") is None


def test_what_is_not_known_is_left_out() -> None:
    content = RunRecord("started", SETTINGS, INPUTS, "attempt").to_json()
    assert content == {
        "status": "started",
        "settings": SETTINGS,
        "inputs": INPUTS,
        "attempt": "attempt",
        "resumes": False,
    }


def test_a_file_of_another_version_is_understood(tmp_path: Path) -> None:
    content = {"status": "finished", "settings": SETTINGS, "inputs": INPUTS, "host": "something newer"}
    write_json(tmp_path / "run.json", content)
    assert RunRecord.read(tmp_path / "run.json") == RunRecord("finished", SETTINGS, INPUTS)


def test_the_class_of_the_data_source_is_not_a_setting(tmp_path: Path) -> None:
    settings = {**SETTINGS, "data": {"_target_": "musicrec.data.demo.DemoSource", "split": "temporal"}}
    write_json(tmp_path / "run.json", {"status": "finished", "settings": settings, "inputs": INPUTS})
    record = RunRecord.read(tmp_path / "run.json")
    assert record is not None
    assert record.settings == {**SETTINGS, "data": {"split": "temporal"}}


def test_the_state_follows_from_the_record_and_the_files(tmp_path: Path) -> None:
    new = run(tmp_path)
    assert (new.finished, new.resumable) == (False, False)
    record = new.start()
    assert (record.status, record.resumes) == ("started", False)
    assert not run(tmp_path).resumable, "there is no checkpoint yet"
    new.last.parent.mkdir(parents=True)
    new.last.touch()
    assert run(tmp_path).resumable
    assert run(tmp_path).start().resumes
    assert run(tmp_path, overwrite=True).previous is None
    assert not run(tmp_path, inputs={**INPUTS, "embedding": "c"}).resumable

    new.finish(record, seconds=2.04)
    assert not run(tmp_path).finished, "its predictions are missing"
    new.workspace.predictions("mine").parent.mkdir()
    new.workspace.predictions("mine").touch()
    finished = run(tmp_path)
    assert finished.finished
    assert finished.previous is not None
    assert (finished.previous.status, finished.previous.seconds) == ("finished", 2.0)


def test_a_run_from_scratch_loses_what_an_earlier_attempt_left(tmp_path: Path) -> None:
    new = run(tmp_path)
    new.best.parent.mkdir(parents=True)
    folder = new.workspace.run_dir("mine")
    folder.mkdir(parents=True)
    left = (new.best, new.last, folder / "metrics.csv", folder / "wandb_id")
    for path in left:
        path.touch()
    new.start()
    assert not [path for path in left if path.exists()]


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    run(tmp_path).start()
    other = {"seed": 1, "recommender": {"name": "bert", "lr": 0.2}}
    with pytest.raises(MusicrecError, match=r"\(recommender.lr: 0.1 -> 0.2, seed: 0 -> 1\).*overwrite=true"):
        run(tmp_path, settings=other)
    assert run(tmp_path, overwrite=True, settings=other).previous is None
