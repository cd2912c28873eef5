"""RunRecord: run.json, also of earlier versions."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from musicrec.errors import MusicrecError
from musicrec.files import write_json, write_parquet
from musicrec.training.checkpoints import resumable_from
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


def checkpoint(path: Path, best: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    callbacks = {"ModelCheckpoint": {"monitor": "val/loss", "best_model_path": best}} if best else {}
    parts: dict[str, dict[str, int]] = {part: {} for part in ("state_dict", "optimizer_states", "loops")}
    torch.save({"epoch": 1, "global_step": 2, "callbacks": callbacks, **parts}, path)


def test_the_state_follows_from_the_record_and_the_files(tmp_path: Path) -> None:
    new = run(tmp_path)
    assert (new.finished, resumable_from(new)) == (False, None)
    record = new.start()
    assert (record.status, record.resumes) == ("started", False)
    assert resumable_from(run(tmp_path)) is None, "there is no checkpoint yet"
    checkpoint(new.last)
    assert resumable_from(run(tmp_path)) == "last"
    assert run(tmp_path).start(resumes_from="last").resumes
    assert run(tmp_path, overwrite=True).previous is None
    assert resumable_from(run(tmp_path, inputs={**INPUTS, "embedding": "c"})) is None

    new.finish(record, seconds=2.04)
    assert not run(tmp_path).finished, "its predictions are missing"
    assert resumable_from(run(tmp_path)) == "last", "they are made again from the checkpoint"
    write_parquet(pd.DataFrame({"user_id": [1]}), new.workspace.predictions("mine"))
    finished = run(tmp_path)
    assert finished.finished
    assert finished.previous is not None
    assert (finished.previous.status, finished.previous.seconds) == ("finished", 2.0)
    new.workspace.predictions("mine").write_bytes(b"half")
    assert not run(tmp_path).finished


@pytest.mark.parametrize("damage", ["empty", "half", "flipped", "garbage", "list"])
def test_a_damaged_checkpoint_is_never_resumed_from(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    new = run(tmp_path)
    new.start()
    for path in (new.last, new.best):
        checkpoint(path, best="b")
    assert resumable_from(run(tmp_path)) == "last"

    def broken(path: Path) -> None:
        if damage == "list":
            torch.save([1, 2], path)
            return
        whole = path.read_bytes()
        middle = whole.index(b"optimizer_states") + 3
        flipped = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
        contents = {"empty": b"", "half": whole[: len(whole) // 2], "flipped": flipped, "garbage": b"x" * 5000}
        path.write_bytes(contents[damage])

    whole = new.last.read_bytes()
    broken(new.last)
    assert resumable_from(run(tmp_path)) == "best"
    assert "resuming from the best epoch before" in caplog.text
    broken(new.best)
    assert resumable_from(run(tmp_path)) is None
    assert "starting from scratch" in caplog.text
    new.last.write_bytes(whole)
    assert resumable_from(run(tmp_path)) is None, "the best weights so far are lost"


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "null", '{"status": 1}', '{"settings": []}', "\x00\x01"])
def test_a_damaged_record_counts_as_none(tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "run.json").write_text(content)
    assert RunRecord.read(tmp_path / "run.json") is None
    assert ("is damaged" in caplog.text) is (content != "null")


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
