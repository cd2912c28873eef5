"""The plan before a sweep, the report after it, and sweeps as a user types them on one machine."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import CompactHydraException
from omegaconf import DictConfig, open_dict, read_write
from submitit.local import local
from submitit.slurm import slurm

from musicrec.config import config_dir
from musicrec.files import write_json
from musicrec.processes import machine
from musicrec.sweeps import report as sweeps
from musicrec.sweeps.current import JOB_FILE, record_job, slurm_job
from musicrec.sweeps.queue import Queued
from musicrec.sweeps.record import SweepRecord
from musicrec.sweeps.slurm import LocalJob, LostJobs, QueueWatcher, SlurmJob
from musicrec.workspace import Workspace

ROOT = config_dir().parent


def sweep_config(*swept: str, overrides: tuple[str, ...] = ()) -> DictConfig:
    """Returns what Hydra hands to its callbacks when a sweep begins."""
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        config = compose(
            "config", ["hydra.job.name=train", "hydra.sweep.dir=here", *overrides], return_hydra_config=True
        )
    with read_write(config.hydra), open_dict(config.hydra):
        config.hydra.overrides.task = list(swept)
    return config


@pytest.mark.parametrize(
    ("overrides", "place"),
    [
        ((), "one after the other on this machine (basic)"),
        (("hydra/launcher=joblib",), "as many as cores at a time on this machine (joblib)"),
        (("hydra/launcher=joblib", "hydra.launcher.n_jobs=3"), "3 at a time on this machine (joblib)"),
        (
            ("hydra/launcher=submitit_local",),
            "all at the same time on this machine (submitit_local), each at most 60 minutes",
        ),
        (
            ("hydra/launcher=slurm", "hydra.launcher.partition=gpu"),
            "on SLURM partition gpu (slurm), at most 64 at a time",
        ),
    ],
)
def test_the_plan_tells_how_many_jobs_of_what_run_where(overrides: tuple[str, ...], place: str) -> None:
    config = sweep_config("recommender=knn,bert", "embedding=musicnn,random,mfcc", "seed=1", overrides=overrides)
    assert sweeps.plan(config) == f"sweep of train: 6 jobs (2 recommender × 3 embedding), {place}; here"


def test_ranges_choices_and_keys_given_twice_count_as_in_hydra() -> None:
    assert "8 jobs (4 shard × 2 seed)" in sweeps.plan(sweep_config("extract.shard=range(4)", "seed=choice(1,2)"))
    assert "train: 2 jobs (2 seed)" in sweeps.plan(sweep_config("seed=1,2,3", "seed=4,5"))
    assert "2 recommender.seed × 2 seed" in sweeps.plan(sweep_config("recommender.seed=1,2", "seed=4,5"))
    assert "train: 1 job, " in sweeps.plan(sweep_config("seed=1"))


@pytest.mark.parametrize(
    ("experiment", "jobs"),
    [
        ("shallow_grid", "120 jobs (4 neg_samples × 5 hidden_dim × 2 use_confidence × 3 l2)"),
        ("bert_grid", "48 jobs (4 max_seq_len × 3 mlm_probability × 4 batch_size)"),
    ],
)
def test_the_grids_are_those_of_the_study_and_sweep_without_m(experiment: str, jobs: str) -> None:
    config = sweep_config(overrides=(f"experiment={experiment}",))
    assert jobs in sweeps.plan(config)
    assert config.hydra.mode.name == "MULTIRUN"
    assert config.recommender.name == experiment.split("_")[0]


def test_the_report_names_each_job_that_did_not_finish(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    records: list[dict[str, Any]] = [
        {"number": 0, "name": "embedding=a", "status": "finished"},
        {"number": 1, "name": "embedding=b", "status": "failed", "error": "musicrec train: b is missing"},
        {"number": 10, "name": "embedding=c", "status": "started", "pid": 2**22 + 1, "machine": machine()},
    ]
    for record in records:
        write_json(tmp_path / str(record["number"]) / JOB_FILE, record)
    sweeps.report(SweepRecord(folder=str(tmp_path), stage="train", jobs=3), Workspace(tmp_path))
    assert caplog.messages == [
        f"sweep {tmp_path}: 1 of 4 jobs finished, 1 failed, 2 did not end",
        "  #1 embedding=b: musicrec train: b is missing",
        "  #10 embedding=c: did not end; run the same command again to resume it",
        "  #2: 1 job never started",
    ]


def test_an_error_is_one_line() -> None:
    assert sweeps.one_line(CompactHydraException("musicrec train: no\nmore")) == "musicrec train: no"
    assert sweeps.one_line(KeyError("x")) == "KeyError: 'x'"
    assert sweeps.one_line(ValueError()) == "ValueError"
    assert sweeps.one_line("no message") == "no message"


def test_a_job_is_named_as_squeue_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    assert slurm_job() is None
    monkeypatch.setenv("SLURM_JOB_ID", "18")
    assert slurm_job() == "18"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "17")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert slurm_job() == "17_3"


def test_a_job_that_the_queue_does_not_know_has_ended() -> None:
    watcher = QueueWatcher()
    for job in ("17_0", "17_1", "17_2", "18"):
        watcher.register_job(job)
    watcher._info_dict.update(
        watcher.read_info(b"17_0|RUNNING|None\n17_1|PENDING|Priority\n17_2|CANCELLED|None\n9|FAILED|None\n")
    )
    watcher._last_status_check = float("inf")
    ended = {job: watcher.is_done(job, mode="cache") for job in ("17_0", "17_1", "17_2", "18")}
    assert ended == {"17_0": False, "17_1": False, "17_2": True, "18": True}
    assert watcher.queued()["17_1"] == Queued("PENDING", "Priority")
    watcher.register_job("17")  # the array itself
    assert watcher.jobs == ["17_0", "17_1", "17_2", "18"]


@pytest.mark.parametrize(("launcher", "tolerant"), [("slurm", True), ("local", True), ("submitit_slurm", False)])
def test_the_launchers_yaml_names_what_tolerates_lost_jobs(launcher: str, tolerant: bool) -> None:
    callbacks = sweep_config(overrides=(f"hydra/launcher={launcher}",)).hydra.callbacks
    assert callbacks.sweep._target_ == "musicrec.sweeps.report.SweepReport"
    assert ("lost_jobs" in callbacks) is tolerant
    assert not tolerant or callbacks.lost_jobs._target_ == "musicrec.sweeps.slurm.LostJobs"


def test_the_slurm_launcher_without_slurm_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(SystemExit, match="hydra/launcher=slurm needs SLURM, and there is no srun on this machine"):
        LostJobs().on_multirun_start(sweep_config("seed=0,1", overrides=("hydra/launcher=slurm",)))


def test_an_array_is_named_by_what_is_swept_unless_the_user_names_it() -> None:
    config = sweep_config("recommender=knn,bert", "seed=3", overrides=("hydra/launcher=slurm",))
    sweeps.name_jobs(config)
    assert config.hydra.launcher.name == "train recommender=knn,bert"
    chosen = sweep_config("seed=0,1", overrides=("hydra/launcher=slurm", "hydra.launcher.name=mine"))
    sweeps.name_jobs(chosen)
    assert chosen.hydra.launcher.name == "mine"


def test_submitits_classes_are_replaced_during_a_sweep_only() -> None:
    executors = (slurm.SlurmExecutor, local.LocalExecutor)
    before = [executor.job_class for executor in executors]
    callback, config = LostJobs(), sweep_config("seed=0,1")
    callback.on_multirun_start(config)
    assert [executor.job_class for executor in executors] == [SlurmJob, LocalJob]
    callback.on_multirun_end(config)
    assert [executor.job_class for executor in executors] == before


def test_a_job_keeps_what_was_recorded_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_PROCID", raising=False)
    record_job(tmp_path, number=3, status="started")
    record_job(tmp_path, run="bert_x")
    record_job(tmp_path, status="finished")
    assert json.loads((tmp_path / JOB_FILE).read_text()) == {"number": 3, "status": "finished", "run": "bert_x"}
    monkeypatch.setenv("SLURM_PROCID", "1")
    record_job(tmp_path, status="failed")
    assert json.loads((tmp_path / JOB_FILE).read_text())["status"] == "finished"


def test_cluster_facts_stand_in_one_file_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "slurm.yaml").write_text("partition: gpu\ngres: gpu:1\nsetup: [module load cuda]\n")
    arguments = (f"hydra.searchpath=[file://{tmp_path}]", "hydra/launcher=slurm")
    shown = script("train", *arguments, "--cfg", "hydra", "--package", "hydra.launcher").stdout
    for line in ("partition: gpu", "gres: gpu:1", "- module load cuda", "cpus_per_task: 2"):
        assert line in shown
    without = script("train", arguments[0], "--cfg", "hydra", "--package", "hydra.launcher")
    assert without.returncode == 0
    assert "gpu" not in without.stdout


def script(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / f"{name}.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def common(root: Path) -> tuple[str, ...]:
    return ("data=custom", "trainer=cpu", "logger=none", f"paths.root={root}", f"hydra.sweep.dir={root}/sweep")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "local"])
def test_jobs_run_side_by_side_on_one_machine(tiny_workspace: Path, launcher: str) -> None:
    swept = ("-m", f"hydra/launcher={launcher}", "recommender=knn", "embedding=random,musicnn")
    result = script("train", *swept, *common(tiny_workspace))
    assert result.returncode == 1
    assert f"sweep {tiny_workspace}/sweep: 1 of 2 jobs finished, 1 failed" in result.stdout
    assert "  #1 embedding=musicnn: musicrec train: " in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    assert len(list((tiny_workspace / "preds").glob("knn_random_*.pqt"))) == 1


@pytest.mark.slow
def test_a_sweep_started_again_skips_resumes_and_runs_what_is_new(tiny_workspace: Path) -> None:
    swept = ("-m", "recommender=shallow", "embedding=random", "trainer.max_epochs=3")
    assert script("train", *swept, "seed=0,1", *common(tiny_workspace)).returncode == 0
    (unfinished,) = (tiny_workspace / "runs").glob("shallow_*_s1_*")
    predictions = {path.stem: path for path in (tiny_workspace / "preds").glob("*.pqt")}
    expected = predictions[unfinished.name].read_bytes()
    record = json.loads((unfinished / "run.json").read_text())
    write_json(unfinished / "run.json", {**record, "status": "started"})
    predictions[unfinished.name].unlink()

    again = script("train", *swept, "seed=0,1,2", *common(tiny_workspace))
    assert again.returncode == 0, again.stderr
    finished, resumed, new = again.stdout.split("\t#")[1:]
    assert "is already finished; set overwrite=true to rerun it" in finished
    assert f"{unfinished.name}: resuming from" in resumed
    assert "already finished" not in new
    assert "resuming" not in new
    assert predictions[unfinished.name].read_bytes() == expected

    forced = script("train", *swept, "seed=0,1,2", "overwrite=true", *common(tiny_workspace))
    assert "already finished" not in forced.stdout
    assert "3 of 3 jobs finished" in forced.stdout


@pytest.mark.slow
def test_optuna_finds_the_best_of_its_trials(tiny_workspace: Path) -> None:
    fixed = ("recommender.use_confidence=false", "recommender.l2=0", "trainer.max_epochs=1", "embedding=random")
    search = ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=3")
    result = script("train", "experiment=shallow_grid", *search, *fixed, *common(tiny_workspace))
    assert result.returncode == 0, result.stderr
    found = yaml.safe_load((tiny_workspace / "sweep" / "optimization_results.yaml").read_text())
    jobs = [json.loads(path.read_text()) for path in (tiny_workspace / "sweep").glob("*/job.json")]
    assert len(jobs) == 3
    assert found["best_value"] == max(job["result"] for job in jobs)

    # The search is seeded and finished runs answer at once, so one that was interrupted retraces its steps.
    again = script("train", "experiment=shallow_grid", *search, *fixed, *common(tiny_workspace))
    assert again.stdout.count("is already finished") == 3
