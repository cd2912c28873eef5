"""How time and memory grow with the catalogue and the listeners, up to 1,000,000 tracks and 100,000 users.

Usage:
    python benchmarks/growth.py                          a quarter, half and the whole of it
    python benchmarks/growth.py --sizes 1/16,1/8         smaller
    python benchmarks/growth.py --users 10_000           fewer users, the same catalogues

Each step runs in a process of its own on made listens (25 tracks per user, popularity by a power law, 64-d random
vectors): prepare.py; the lists of KNN, of 100 tracks for every val and test user; steps of SASRec with a sampled
softmax (learnt vectors of all tracks) by Adam and by optimizer=rowwise_adam, of which an epoch is extrapolated;
evaluate.py. Seconds are those of the processor, the memory is the largest that the process held. The exponent says how
a step grew from the size before: 1 = as the size; KNN's lists grow as users times tracks, so 2. Results: RESULTS.md.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).parents[1]
TRACKS, USERS, PLAYS, DIM = 1_000_000, 100_000, 25, 64
FIRST = np.datetime64("2019-01-01", "us").astype(np.int64)
SECONDS = 390 * 86_400

# Optimiser steps of SASRec: prints the processor seconds of a step of both optimizers, and the steps of an epoch.
STEPS = """
import sys, time
import numpy as np
import torch
from functools import partial
from pathlib import Path
from pytorch_lightning import Trainer
from musicrec.data.interactions import SplitData
from musicrec.recommenders.inputs import Inputs, Training
from musicrec.recommenders.networks.rowwise_adam import RowwiseAdam
from musicrec.recommenders.sasrec import SASRec
from musicrec.recommenders.sequence_settings import ItemSettings, SequenceSettings, TransformerSettings
from musicrec.workspace import TrackIndex, Workspace

root, steps, dim = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
workspace = Workspace(root)
tracks = TrackIndex.load(workspace.track_index)
data = SplitData.load(workspace, tracks)
vectors = np.random.default_rng(0).standard_normal((len(tracks), dim), dtype=np.float32)

def step(optimizer):
    training = Training(partial(optimizer, lr=0.001), scheduler=None, monitor="train/loss")
    model = SASRec(
        Inputs(data, vectors, training=training),
        network=TransformerSettings(hidden_size=dim, intermediate_size=dim, norm="pre", init="xavier"),
        sequences=SequenceSettings(max_seq_len=50, window="random"),
        items=ItemSettings(head="tied", item_freeze=False),
        batch_size=128,
        loss="sampled",
        samples=4096,
    )
    keys = model.datamodule()
    spent = {}
    for count in (2, 2 + steps):
        trainer = Trainer(accelerator="cpu", max_steps=count, logger=False, enable_checkpointing=False,
                          enable_progress_bar=False, enable_model_summary=False)
        began = time.process_time()
        trainer.fit(model, datamodule=keys)
        spent[count] = time.process_time() - began
    return (spent[2 + steps] - spent[2]) / steps, len(keys.train_dataloader())

(adam, epoch), (rowwise, _) = step(torch.optim.Adam), step(RowwiseAdam)
print(f"STEP {adam} {rowwise} {epoch}")
"""


class Cost(NamedTuple):
    """What a process took."""

    processor: float
    wall: float
    gigabytes: float
    output: str


def make(path: Path, tracks: int, users: int) -> None:
    """Writes a log of users who each discover `PLAYS` tracks in thirteen months."""
    random = np.random.default_rng(0)
    rows = users * PLAYS
    popularity = np.cumsum(1 / (np.arange(tracks) + 50) ** 0.85)
    items = random.permutation(tracks)[np.searchsorted(popularity / popularity[-1], random.random(rows))]
    times = FIRST + random.integers(0, SECONDS, rows) * 1_000_000
    # Every track occurs, so that the catalogue is as large as it says.
    items[: min(tracks, rows)] = random.permutation(tracks)[: min(tracks, rows)]
    columns = {
        "user_id": pa.array(np.repeat(np.arange(users), PLAYS)),
        "track_id": pa.array(random.permutation(items)),
        "timestamp": pa.array(times, pa.timestamp("us")),
    }
    pq.write_table(pa.table(columns), path)


def run(*command: str) -> Cost:
    """Runs a command in a process of its own."""
    began = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MUSICREC_CACHE": tempfile.gettempdir()}
    with tempfile.TemporaryFile("w+") as printed:
        process = subprocess.Popen(command, cwd=ROOT, stdout=printed, stderr=subprocess.STDOUT, env=environment)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        output = printed.read()
    if process.returncode:
        raise SystemExit(f"{' '.join(command[:3])} failed:\n{output[-2000:]}")
    return Cost(used.ru_utime + used.ru_stime, time.perf_counter() - began, used.ru_maxrss / 1e6, output)


def measure(folder: Path, tracks: int, users: int, steps: int) -> dict[str, tuple[float, float]]:
    """Returns the processor seconds and the memory of each step, and prints them."""
    log, workspace = folder / "log.parquet", folder / "workspace"
    make(log, tracks, users)
    options = ["data=custom", "data.name=growth", f"paths.root={workspace}", "logger=none"]
    vectors = ["embedding=random", f"embedding.dim={DIM}"]
    script = {name: [sys.executable, f"{name}.py", *options] for name in ("prepare", "train", "evaluate")}
    costs: dict[str, tuple[float, float]] = {}

    def keep(name: str, cost: Cost, seconds: float | None = None) -> None:
        costs[name] = cost.processor if seconds is None else seconds, cost.gigabytes
        print(
            f"{tracks:,} tracks, {users:,} users: {name}: {costs[name][0]:.1f} s of processor, wall {cost.wall:.0f} s, "
            f"{cost.gigabytes:.2f} GB, load {os.getloadavg()[0]:.1f}",
            flush=True,
        )

    keep("prepare.py", run(*script["prepare"], f"data.plays={log}"))
    keep("train.py recommender=knn", run(*script["train"], "recommender=knn", *vectors))
    cost = run(sys.executable, "-c", STEPS, str(workspace), str(steps), str(DIM))
    adam, rowwise, epoch = map(float, cost.output.split("STEP ")[1].split())
    keep("SASRec, a step", cost, adam)
    keep("SASRec, a step, rowwise_adam", cost, rowwise)
    costs["SASRec, an epoch"] = adam * epoch, cost.gigabytes
    keep("evaluate.py", run(*script["evaluate"]))
    return costs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1/4,1/2,1", help="shares of a million tracks and of --users")
    parser.add_argument("--users", type=lambda text: int(text.replace("_", "")), default=USERS)
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    sizes = [Fraction(size) for size in options.sizes.split(",")]
    found: dict[str, list[tuple[float, float]]] = {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            costs = measure(Path(folder), int(TRACKS * size), int(options.users * size), options.steps)
        for name, cost in costs.items():
            found.setdefault(name, []).append(cost)
    heads = [f"{size}: s | GB" for size in sizes]
    print(f"\n| step | {' | '.join(heads)} | exponents of the time |\n" + "|---" * (2 * len(sizes) + 2) + "|")
    for name, cells in found.items():
        growth = [
            math.log(after[0] / before[0]) / math.log(large / small)
            for before, after, small, large in zip(cells, cells[1:], sizes, sizes[1:], strict=False)
        ]
        values = " | ".join(f"{seconds:.3g} | {memory:.2f}" for seconds, memory in cells)
        print(f"| {name} | {values} | {', '.join(f'{exponent:.2f}' for exponent in growth)} |")


if __name__ == "__main__":
    main()
