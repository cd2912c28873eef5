"""The scripts as a user types them: mistakes end in one clear line and exit status 1."""

import subprocess
import sys
from pathlib import Path

import pytest

from musicrec.config import config_dir

ROOT = config_dir().parent


def script(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / f"{name}.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("name", ["prepare", "extract", "train", "evaluate"])
def test_help_tells_the_stages_and_groups(name: str) -> None:
    shown = script(name, "--help").stdout
    assert "python evaluate.py" in shown
    groups = dict(line.strip().split(": ", 1) for line in shown.splitlines() if ": " in line)
    assert {"bert", "bert_paper", "knn", "shallow", "shallow_paper_text"} <= set(groups["recommender"].split(", "))
    assert {"musicnn", "musicnn_first", "music2vec_24khz", "random_learnt"} <= set(groups["embedding"].split(", "))
    assert groups["debug"] == "default, fast_dev_run, limit, overfit, profiler"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "recommender=nonsense"), "Could not find 'recommender/nonsense'"),
        (("train", "recommender.nonsense=1"), "Key 'nonsense' is not in struct"),
        (("prepare", "data=custom"), "musicrec prepare: data=custom needs a listening log"),
        (("extract", "data=custom"), "musicrec extract: data=custom needs a folder of audio"),
        (("train", "data=custom"), "is missing: make it with: python prepare.py"),
        (
            ("prepare", "data=custom", "data.plays=Demos (old), 1991/R&B.csv"),
            "Demos (old), 1991/R&B.csv does not exist",
        ),
        (("prepare", "hydra.job.name=a(b"), "write it as: 'hydra.job.name=\"a(b\"'"),
        (("evaluate", "data=custom"), "is missing: make it with python prepare.py"),
    ],
)
def test_a_mistake_is_one_clear_line(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    result = script(*arguments, f"paths.root={tmp_path}/workspace")
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stdout + result.stderr


def test_a_failing_job_does_not_stop_its_sweep(tiny_workspace: Path) -> None:
    result = script(
        "train",
        "-m",
        "recommender=knn",
        "embedding=musicnn,random",
        "data=custom",
        "logger=none",
        f"paths.root={tiny_workspace}",
        f"hydra.sweep.dir={tiny_workspace}/sweep",
    )
    assert result.returncode == 1
    assert "train failed: " in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    assert len(list((tiny_workspace / "preds").glob("knn_random_*.pqt"))) == 1
