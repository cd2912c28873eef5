"""Training in processes of its own: killed and started again, and shared between two."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from musicrec.config import config_dir

TRAIN = [sys.executable, str(config_dir().parent / "train.py")]
# One thread, so that sums have one order.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def train(*arguments: str) -> str:
    result = subprocess.run(
        [*TRAIN, *arguments], env=ENVIRONMENT, capture_output=True, text=True, timeout=600, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def results(root: Path, folder: str) -> dict[str, pd.DataFrame]:
    return {path.name: pd.read_parquet(path) for path in sorted((root / folder).glob("*.pqt"))}


@pytest.mark.slow
def test_a_sweep_killed_in_an_epoch_goes_on_and_ends_with_the_same_numbers(tmp_path: Path) -> None:
    arguments = [
        "-m",
        "experiment=smoke",
        "recommender=bert",
        "embedding=random",
        "seed=0,1",
        "recommender.batch_size=4",
        "trainer=cpu",
        "trainer.max_epochs=10",
        "logger=none",
        f"hydra.sweep.dir={tmp_path}/sweep",
    ]
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    train(*arguments, f"paths.root={undisturbed}")

    process = subprocess.Popen(
        [*TRAIN, *arguments, f"paths.root={killed}"],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and len(list(killed.glob("checkpoints/bert/*_last.ckpt"))) < 2:
        time.sleep(0.02)
    time.sleep(0.1)
    assert process.poll() is None, "it was too fast to be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    states = [json.loads(path.read_text()) for path in killed.glob("runs/*/run.json")]
    assert {state["settings"]["seed"]: state["status"] for state in states} == {0: "finished", 1: "started"}

    said = train(*arguments, f"paths.root={killed}")
    assert "is already finished" in said
    assert "resuming from" in said
    for folder in ("preds", "metrics"):
        expected, found = results(undisturbed, folder), results(killed, folder)
        assert expected.keys() == found.keys() and len(expected) == (2 if folder == "preds" else 4)
        for name, frame in expected.items():
            pd.testing.assert_frame_equal(found[name], frame, check_exact=True)


@pytest.mark.slow
@pytest.mark.parametrize("options", [("bert",), ("sasrec", "recommender.loss=binary")], ids=lambda given: given[0])
def test_two_processes_train_as_well_as_one(tmp_path: Path, options: tuple[str, ...]) -> None:
    root = tmp_path / "workspace"
    common = (
        "experiment=smoke",
        f"recommender={options[0]}",
        *options[1:],
        "embedding=random",
        "recommender.batch_size=16",
        "trainer.max_epochs=8",
        "monitor=val/ndcg@20",
        "logger=csv",
        f"paths.root={root}",
    )
    train(*common, "trainer=cpu")
    train(*common, "trainer=ddp", "trainer.accelerator=cpu")
    scores = [frame["NDCG@50"] for name, frame in results(root, "metrics").items() if name.endswith("_test.pqt")]
    assert len(scores) == 2, "each is a run of its own"
    assert not scores[0].equals(scores[1])
    difference = scores[0] - scores[1]
    assert abs(difference.mean()) < 0.25 * scores[0].mean()
    # Files are written once: a table of steps without repeats, and one set of predictions.
    for path in root.glob("runs/*/metrics.csv"):
        steps = pd.read_csv(path)["step"]
        assert steps.is_unique and steps.is_monotonic_increasing
