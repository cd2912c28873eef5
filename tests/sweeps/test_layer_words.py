"""experiment=layers: its words, and the whole of it in one command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from musicrec.config import config_dir
from musicrec.errors import MusicrecError
from musicrec.sweeps.layer_words import asks_for_each_layer, layer_sweep, without_sweep

ROOT = config_dir().parent
TINY = ROOT / "tests" / "golden" / "mert" / "v1_95m" / "checkpoint"


@pytest.mark.parametrize(
    ("words", "asks"),
    [
        (["experiment=layers"], True),
        (["-m", "experiment=sequential", "+experiment@_global_=[layers]"], True),
        (["embedding=mert", "embedding.layer=each"], True),
        (["embedding=mert", "embedding.layer=all"], False),
        (["experiment=smoke", "run_name=layers"], False),
        (["experiment=players"], False),
        (["experiment=layers", "--help"], False),
        (["experiment=layers", "status=true"], False),
        ([], False),
    ],
)
def test_which_commands_ask_for_each_layer(words: list[str], asks: bool) -> None:
    assert asks_for_each_layer(words) is asks


def test_the_words_of_the_sweep() -> None:
    typed = ["--multirun", "experiment=layers", "embedding=mert", "embedding.name=big", "recommender=knn,shallow"]
    assert without_sweep(typed) == ["experiment=layers", "embedding=mert", "embedding.name=big"]
    assert layer_sweep(typed, "big", [1, 2]) == [
        "--multirun",
        *("embedding.layer=1,2", "embedding.name=big_layer${embedding.layer}"),
        *("experiment=layers", "embedding=mert", "recommender=knn,shallow"),
    ]
    with pytest.raises(MusicrecError, match="'embedding=mert,muq': embeddings have different layers; run"):
        without_sweep(["-m", "experiment=layers", "embedding=mert,muq"])


@pytest.mark.slow
def test_one_command_extracts_trains_and_plots(tmp_path: Path) -> None:
    (tmp_path / "music").mkdir()
    for number in range(8):
        wave = 0.3 * np.sin(2 * np.pi * 110 * (1 + number) * np.arange(24_000) / 24_000)
        soundfile.write(tmp_path / "music" / f"{number}.wav", wave.astype(np.float32), 24_000)
    rows = [f"{user}\t{(user + step) % 8}\t2019-03-0{step + 1} 10:00:00" for user in range(1, 7) for step in range(4)]
    rows += [f"{user}\t{(user + 5) % 8}\t2020-02-21 10:00:00" for user in range(1, 7)]
    (tmp_path / "log.tsv").write_text("user_id\ttrack_id\ttimestamp\n" + "\n".join(rows) + "\n")
    command = [sys.executable, str(ROOT / "train.py"), "experiment=layers", "embedding=mert", "trainer=cpu"]
    command += ["embedding.max_seconds=1", f"embedding.checkpoint={TINY}", "logger=none", "eval.k=2", "eval.top_k=3"]
    command += ["data=custom", f"data.audio_dir={tmp_path}/music", f"data.plays={tmp_path}/log.tsv"]
    command += ["data.start=2019-02-20", "data.test=2020-02-20", "data.make_missing=true", "extract.num_workers=0"]
    command += [f"paths.root={tmp_path}/workspace", f"hydra.sweep.dir={tmp_path}/sweep"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-2000:]
    said = result.stdout + result.stderr
    assert "5 jobs (5 layer)" in said and "5 layers of 32 dimensions, from one pass" in said
    table = pd.read_csv(tmp_path / "workspace" / "layers.csv")
    assert table[["embedding", "layer", "recommender"]].values.tolist() == [["mert", row, "KNN"] for row in range(5)]
    assert (tmp_path / "workspace" / "report" / "layers.svg").is_file()
