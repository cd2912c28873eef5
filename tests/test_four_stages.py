"""The whole way, as a user types it: nothing there, one sweep, one comparison."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from musicrec.config import config_dir

ROOT = config_dir().parent


def script(name: str, *arguments: str) -> str:
    command = [sys.executable, str(ROOT / f"{name}.py"), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.slow
def test_a_sweep_on_a_fresh_demo_world_ends_in_comparison_tables(tmp_path: Path) -> None:
    root = tmp_path / "workspace"
    common = ("experiment=smoke", f"paths.root={root}", "logger=default", "trainer=cpu")
    sweep = ("-m", "recommender=knn,shallow,bert", "embedding=musicnn,random", f"hydra.sweep.dir={tmp_path}/sweep")
    said = script("train", *sweep, *common)
    assert "running prepare.py first" in said
    assert said.count("running extract.py first") == 1
    tracks = pd.read_csv(root / "trackid_sorted.csv")
    vectors = np.load(root / "embeddings" / "musicnn.npy")
    assert vectors.shape == (len(tracks), 200) == (106, 200)
    assert vectors.dtype == np.float32
    assert not np.isnan(vectors).any()
    assert json.loads((root / "embeddings" / "musicnn.json").read_text())["failed"] == {}
    assert len(list((root / "preds").glob("*.pqt"))) == 6
    assert len(list((root / "wandb").glob("offline-run-*"))) == 6
    assert len(list((root / "runs").glob("*/events.out.tfevents*"))) >= 6

    printed = script("evaluate", *common)
    for table in ("cosine", "shallow", "bert"):
        frame = pd.read_csv(root / f"{table}.csv")
        assert list(frame.columns) == [
            "embedding",
            *(f"{metric}@50" for metric in ("HitRate", "MRR", "Precision", "Recall", "NDCG")),
            "Size",
        ]
        assert set(frame.embedding) == {"musicnn", "random"}
        assert frame["NDCG@50"].is_monotonic_decreasing
        assert table in printed
    assert (root / "report.html").is_file()

    again = script("train", *sweep, *common)
    assert again.count("is already finished") == 6
