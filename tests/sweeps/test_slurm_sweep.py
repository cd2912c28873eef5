"""Sweeps on a real SLURM: arrays, shared preparation, failing, killed, requeued and preempted jobs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from tests.sweeps.conftest import ROOT, Cluster

pytestmark = pytest.mark.slow

Wait = Callable[[Callable[[], object], "subprocess.Popen[str]"], None]


def common(root: Path, sweep: Path) -> tuple[str, ...]:
    return ("experiment=smoke", "trainer=cpu", f"paths.root={root}", f"hydra.sweep.dir={sweep}")


def finish(process: subprocess.Popen[str], timeout: float = 240) -> tuple[int, str]:
    try:
        said, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        pytest.fail(f"the sweep waits forever:\n{process.communicate()[0]}")
    return process.returncode, said


def job(sweep: Path, number: int) -> dict[str, object]:
    path = sweep / str(number) / "job.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def says(log: Path, text: str) -> bool:
    return text in log.read_text()


def pending(cluster: Cluster, job_id: str) -> bool:
    return "PENDING" in cluster.state(job_id)


@pytest.fixture(scope="module")
def world(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a workspace made by the first sweep: nothing was there when its four jobs started."""
    folder = tmp_path_factory.mktemp("world")
    sweep = ("recommender=knn,shallow", "embedding=random,mfcc")
    returned, said = finish(cluster.script("train", *sweep, *common(folder / "workspace", folder / "sweep")))
    (folder / "said").write_text(said)
    assert returned == 0, said
    return folder


def test_an_array_ends_with_four_runs(world: Path) -> None:
    said = (world / "said").read_text()
    plan = (
        "sweep of train: 4 jobs (2 recommender × 2 embedding), on SLURM partition tests (slurm), at most 64 at a time"
    )
    assert plan in said.splitlines()[0]
    assert "4 of 4 jobs finished" in said.splitlines()[-1]
    root = world / "workspace"
    names = sorted(path.stem for path in (root / "preds").glob("*.pqt"))
    assert [name.split("_epochs")[0] for name in names] == [
        "knn_mfcc",
        "knn_random",
        "shallow_mfcc",
        "shallow_random",
    ]
    records = [json.loads((root / "runs" / name / "run.json").read_text()) for name in names]
    assert [record["status"] for record in records] == ["finished"] * 4
    assert len({record["slurm_job"] for record in records}) == 4
    assert {job(world / "sweep", number)["run"] for number in range(4)} == set(names)


def test_jobs_that_need_the_same_preparation_do_it_once(world: Path) -> None:
    logs = [path.read_text() for path in (world / "sweep").glob("*/train.log")]
    assert len(logs) == 4
    said = "\n".join(logs)
    assert said.count("running prepare.py first") == 1
    assert said.count("running extract.py first") == 1


def test_the_other_stages_run_on_the_cluster(cluster: Cluster, world: Path, tmp_path: Path) -> None:
    root = world / "workspace"
    short = ("embedding=mfcc", "embedding.name=short", "embedding.max_seconds=1")
    shards = ("extract.num_shards=2", "extract.shard=range(2)")
    started = {
        "prepare": cluster.script("prepare", *common(root, tmp_path / "prepare")),
        "extract": cluster.script("extract", *common(root, tmp_path / "extract"), *short, *shards),
        "evaluate": cluster.script("evaluate", *common(root, tmp_path / "evaluate"), "logger=none"),
    }
    for stage, process in started.items():
        returned, said = finish(process)
        assert returned == 0, said
        jobs = 2 if stage == "extract" else 1
        assert f"sweep of {stage}: {jobs} job" in said
        assert f"{jobs} of {jobs} jobs finished" in said
    assert (root / "embeddings" / "short.npy").is_file()
    assert (root / "cosine.csv").is_file()


def test_jobs_that_cannot_start_say_why_and_ctrl_c_leaves_them(cluster: Cluster, tmp_path: Path, wait: Wait) -> None:
    root, sweep = tmp_path / "workspace", tmp_path / "sweep"
    process = cluster.script("train", *common(root, sweep), "hydra.launcher.partition=nowhere", "seed=0,1")
    returned, said = finish(process)
    assert returned == 1
    (line,) = (line for line in said.splitlines() if line.startswith("musicrec: SLURM refuses the jobs: "))
    assert "partition" in line
    assert "; each job asks for 1 core, 2 GB, 30 min; see hydra.launcher" in line
    assert "Traceback" not in said

    cluster.command("scontrol", "update", "PartitionName=tests", "State=DOWN")
    try:
        process = cluster.script("train", *common(root, sweep), "seed=0,1")
        records = root / "sweeps"
        wait(lambda: [path for path in records.glob("*.json") if json.loads(path.read_text())["slurm"]], process)
        (record,) = (json.loads(path.read_text()) for path in records.glob("*.json"))
        array = record["slurm"][0].split("_")[0]
        assert record["slurm"] == [f"{array}_0", f"{array}_1"]
        assert "train seed=0,1" in cluster.command("squeue", "--noheader", f"--jobs={array}", "--format=%j")
        process.send_signal(signal.SIGINT)
        returned, said = finish(process)
        assert returned == 1
        assert f"SLURM array {array} of 2 jobs was submitted; cancel it with: scancel {array}" in said
        assert f"no longer waiting; the jobs of SLURM array {array} go on" in said
        assert "0 of 2 jobs finished, 2 still pending or running" in said
        assert "Traceback" not in said
        status = [sys.executable, str(ROOT / "train.py"), "status=true", f"paths.root={root}"]
        assert "2 pending (PartitionDown: the partition is down: hydra.launcher.partition)" in cluster.command(*status)
        cluster.command("scancel", array)
        shown = cluster.command(*status)
        assert f"#0, #1: 2 jobs of SLURM array {array} were cancelled before they started" in shown
    finally:
        cluster.command("scontrol", "update", "PartitionName=tests", "State=UP")


def test_failed_and_killed_jobs_are_reported_by_name_and_the_others_finish(
    cluster: Cluster, world: Path, tmp_path: Path, wait: Wait
) -> None:
    sweep = tmp_path / "sweep"
    endless = ("recommender.max_epochs=1000000", "recommender.patience=1000000", "trainer.max_epochs=1000000")
    arguments = ("recommender=bert", "embedding=random,precomputed", "recommender.num_hidden_layers=1", *endless)
    process = cluster.script("train", *common(world / "workspace", sweep), *arguments)
    checkpoints = world / "workspace" / "checkpoints" / "bert"
    wait(lambda: list(checkpoints.glob("*_best.ckpt")), process)
    victim = str(job(sweep, 0)["slurm_job"])
    cluster.command("scancel", "--signal=KILL", "--full", victim)
    returned, said = finish(process)
    assert returned == 1
    assert f"job {victim} was killed (state " in said
    report = said[said.index("0 of 2 jobs finished, 1 failed, 1 did not end") :]
    assert f"(SLURM job {victim}): was cancelled; run the same command" in report or "): did not end" in report
    failed = next(line for line in report.splitlines() if "#1" in line)
    assert failed.strip().startswith("#1 embedding=precomputed (SLURM job ")
    assert "): musicrec train: embedding=precomputed has no file" in failed


def test_requeued_and_preempted_jobs_end_with_the_metrics_of_undisturbed_ones(
    cluster: Cluster, world: Path, tmp_path: Path, wait: Wait
) -> None:
    sweep, root = tmp_path / "sweep", world / "workspace"
    long = ("recommender=bert", "embedding=random", "seed=0,1", "recommender.patience=1000", "trainer.max_epochs=60")
    interrupted = cluster.script("train", *common(root, sweep), *long, "run_name=bert_again_${seed}")
    for number in range(2):
        # The first best checkpoint: from here on there is something to lose.
        wait((root / "checkpoints" / "bert" / f"bert_again_{number}_best.ckpt").is_file, interrupted)
        number_of_job = str(job(sweep, number)["slurm_job"])
        if number == 0:
            cluster.command("scancel", "--signal=USR2", number_of_job)
        else:
            cluster.command("scontrol", "requeue", number_of_job)
        log = sweep / str(number) / "train.log"
        wait(partial(says, log, "training stops in epoch"), interrupted)
        wait(partial(pending, cluster, number_of_job), interrupted)
        # SLURM lets a requeued job wait for two minutes.
        cluster.command("scontrol", "update", f"JobId={number_of_job}", "StartTime=now")
    returned, said = finish(interrupted)
    assert returned == 0, said
    undisturbed = cluster.script("train", *common(root, tmp_path / "undisturbed"), *long)
    returned, said = finish(undisturbed)
    assert returned == 0, said
    for number in range(2):
        log_text = (sweep / str(number) / "train.log").read_text()
        assert "training stops in epoch" in log_text
        assert f"bert_again_{number}: resuming from" in log_text
        other = job(tmp_path / "undisturbed", number)["run"]
        for split in ("val", "test"):
            again, expected = (
                pd.read_parquet(root / "metrics" / f"{run}_{split}.pqt") for run in (f"bert_again_{number}", other)
            )
            pd.testing.assert_frame_equal(again, expected)
