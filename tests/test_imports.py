"""What a command imports: nothing that it does not need, because the imports are nearly all of a short job's time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from musicrec.config import config_dir

ROOT = config_dir().parent
SLOW = ("torch", "pytorch_lightning", "lightning_fabric", "torchmetrics", "transformers", "wandb", "tensorboard")
# Runs scripts one after the other in one process, and prints after each what of the slow packages it has imported.
PROGRAM = """
import json, runpy, sys
for words in json.loads(sys.argv[1]):
    sys.argv = words
    try:
        runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        assert not end.code, end.code
    print("imported:", json.dumps(sorted(name for name in {names} if name in sys.modules)))
"""


def imported(root: Path, *commands: str) -> list[set[str]]:
    """Returns which slow packages are imported after each of the commands, run in one new process."""
    common = ["data=custom", "data.name=tiny", f"data.plays={root.parent}/log.tsv", "data.start=2019-02-20"]
    common += ["data.test=2020-02-20", f"paths.root={root}", "embedding=random", "embedding.dim=6", "logger=csv"]
    common += ["trainer=cpu", "trainer.max_epochs=1", "eval.k=2", "eval.top_k=3"]
    words = [[str(ROOT / f"{name}.py"), *more, *common] for name, *more in (each.split() for each in commands)]
    program = PROGRAM.replace("{names}", repr((*SLOW, "scipy.stats", "matplotlib")))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", program, json.dumps(words)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    return [set(json.loads(line.partition(": ")[2])) for line in lines if line.startswith("imported: ")]


def test_what_needs_no_training_imports_no_torch_and_no_lightning(tiny_workspace: Path) -> None:
    runs = ("train recommender=knn", "train recommender=popularity", "train recommender=shallow")
    *_, trained = imported(tiny_workspace, *runs)
    # A first step needs Lightning, and Lightning torchmetrics, but not what torchmetrics imports beside.
    assert trained == {"torch", "pytorch_lightning", "lightning_fabric", "torchmetrics"}

    # Finished runs; popularity reads no embedding, whichever is chosen, which its record tells.
    prepared, *answered, evaluated = imported(tiny_workspace, "prepare", *runs, "evaluate")
    assert [prepared, *answered] == [set()] * 4
    assert evaluated == {"scipy.stats", "matplotlib"}


def test_an_embedding_that_is_only_read_imports_no_torch() -> None:
    program = "import sys, musicrec.embeddings.musicnn, musicrec.embeddings.random; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", program], env=environment, timeout=60, check=False).returncode == 0


def test_preparing_a_clean_log_imports_no_pandas_and_no_scipy(tmp_path: Path) -> None:
    lines = [f"{user}\t{track}\t2019-03-0{user}" for user in (1, 2, 3, 4) for track in "abc"]
    lines += [f"{user}\t{track}\t2020-02-2{user}" for user, track in ((1, "d"), (2, "d"), (3, "d"))]
    lines += ["4\td\t2019-03-05"]
    (tmp_path / "log.tsv").write_text("user_id\ttrack_id\ttimestamp\n" + "".join(f"{line}\n" for line in lines))
    settings = ["data=custom", f"data.plays={tmp_path}/log.tsv", "data.start=2019-02-20", "data.test=2020-02-20"]
    words = [[str(ROOT / "prepare.py"), *settings, f"paths.root={tmp_path}/workspace"]]
    program = PROGRAM.replace("{names}", repr(("pandas", "scipy", "torch")))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, json.dumps(words)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert "imported: []" in result.stdout, result.stdout + result.stderr
    assert (tmp_path / "workspace" / "data" / "test.pqt").is_file()
