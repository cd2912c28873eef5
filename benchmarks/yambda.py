"""A log of the size and schema of Yambda-50m: makes it, prepares it, searches and trains on it.

    python benchmarks/yambda.py make FOLDER --rows 50_000_000   flat/50m/listens.parquet, synthetic
    python benchmarks/yambda.py prepare FOLDER                  wall, processor time, peak memory of prepare.py
    python benchmarks/yambda.py search --users 10000            exact, ivf and hnsw over 629,298 vectors of 128
    python benchmarks/yambda.py train FOLDER                    some steps of ELSA and of SASRec with a sampled softmax

Yambda-50m has 10,000 users and about 46 million listens; its train (val_window=0) has 629,298 items. What is made here
has as many users; items follow a power law, users repeat the tracks of a library of their own, six of ten listens reach
half of the track. The vectors of `search` are drawn around 2,000 centres, since vectors without any structure are the
worst case of an approximate index, and audio has structure.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pytorch_lightning import Callback, Trainer

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from musicrec.data.interactions import SplitData  # noqa: E402
from musicrec.recommenders.baselines.elsa import ELSA  # noqa: E402
from musicrec.recommenders.inputs import Inputs, Training  # noqa: E402
from musicrec.recommenders.retrieval.top_k import Seen, VectorTopK  # noqa: E402
from musicrec.recommenders.sasrec import SASRec  # noqa: E402
from musicrec.recommenders.sequence_settings import ItemSettings, SequenceSettings, TransformerSettings  # noqa: E402
from musicrec.workspace import TrackIndex, Workspace  # noqa: E402

USERS, ITEMS, LAST = 10_000, 660_000, 26_000_000
# Train of Yambda-50m, and the published vectors.
CATALOGUE, DIM, CENTRES = 629_298, 128, 2_000
USERS_PER_GROUP = 250


def make(folder: Path, rows: int) -> None:
    """Writes the listens, sorted by user and time as the published ones."""
    random = np.random.default_rng(0)
    popularity = 1 / (np.arange(ITEMS) + 50) ** 0.85
    bounds = np.cumsum(popularity / popularity.sum())
    names = random.permutation(np.arange(1, 9_390_624, dtype=np.uint32))[:ITEMS]
    activity = random.lognormal(0, 1, USERS)
    counts = np.maximum(1, (rows * activity / activity.sum()).astype(np.int64))
    path = folder / "flat" / "50m" / "listens.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    kinds = {"uid": pa.uint32(), "item_id": pa.uint32(), "timestamp": pa.uint32(), "is_organic": pa.uint8()}
    kinds |= {"played_ratio_pct": pa.uint16(), "track_length_seconds": pa.uint32()}
    with pq.ParquetWriter(path, pa.schema(list(kinds.items())), compression="zstd") as writer:
        for start in range(0, USERS, USERS_PER_GROUP):
            parts: list[list[np.ndarray]] = [[] for _ in kinds]
            for user, size in enumerate(counts[start : start + USERS_PER_GROUP], start):
                library = np.searchsorted(bounds, random.random(max(1, size // 3)))
                items = library[(len(library) * random.random(size) ** 1.5).astype(np.int64)]
                whole, part_of = random.integers(50, 101, size), random.integers(0, 50, size)
                ratio = np.where(random.random(size) < 0.6, whole, part_of)
                values = (
                    np.full(size, user * 100),
                    names[items],
                    np.sort(random.integers(0, LAST // 5 + 1, size)) * 5,
                    random.integers(0, 2, size),
                    ratio,
                    120 + items % 240,
                )
                for part, value in zip(parts, values, strict=True):
                    part.append(value)
            joined = zip(map(np.concatenate, parts), kinds.values(), strict=True)
            columns = [pa.array(values).cast(kind) for values, kind in joined]
            writer.write_table(pa.table(columns, names=list(kinds)))
    print(f"{path}: {pq.read_metadata(path).num_rows:,} rows, {path.stat().st_size / 1e6:.0f} MB")


def prepare(folder: Path) -> None:
    """Runs prepare.py on it in a process of its own."""
    command = [sys.executable, str(ROOT / "prepare.py"), "data=yambda", f"data.plays={folder}"]
    command += [f"paths.root={folder / 'workspace'}", "data.val_window=0"]
    began = time.perf_counter()
    subprocess.run(command, check=True, cwd=ROOT)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = used.ru_utime + used.ru_stime
    print(
        f"prepare: {time.perf_counter() - began:.0f} s wall, {processor:.0f} s processor, "
        f"peak {used.ru_maxrss / 1e6:.2f} GB, load {os.getloadavg()[0]:.1f}"
    )


def search(users: int, catalogue: int) -> None:
    """Times lists of 100 of a catalogue for users whose vectors are means of 100 items; measures the recall."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(CENTRES, DIM))
    items = centres[random.integers(0, CENTRES, catalogue)] + 0.7 * random.normal(size=(catalogue, DIM))
    items = (items / np.linalg.norm(items, axis=1, keepdims=True)).astype(np.float32)
    # A user has a taste: the tracks of a few centres, some of which were played.
    history = np.sort(random.integers(0, catalogue, (users, 100)), axis=1)
    liked = centres[random.integers(0, CENTRES, (users, 3))].mean(axis=1)
    queries = liked / np.linalg.norm(liked, axis=1, keepdims=True) + items[history].mean(axis=1)
    queries = (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)
    seen = Seen(np.arange(users + 1) * history.shape[1], history.ravel())
    exact: np.ndarray | None = None
    for name in ("torch", "ivf", "hnsw"):
        began, worked = time.perf_counter(), time.process_time()
        index = VectorTopK(torch.from_numpy(items), np.arange(catalogue), name)
        built, after = time.perf_counter() - began, time.process_time()
        ids, _ = index(torch.from_numpy(queries), np.ones(users, dtype=bool), seen, 100)
        wall, processor = time.perf_counter() - began - built, time.process_time() - after
        exact = ids if exact is None else exact
        recall = np.mean([len(np.intersect1d(own, true)) / 100 for own, true in zip(ids, exact, strict=True)])
        print(
            f"{name}: index {built:.0f} s wall ({after - worked:.0f} s processor), {users:,} lists {wall:.0f} s wall "
            f"({processor:.0f} s processor), recall@100 {recall:.3f}, peak {_peak():.2f} GB, "
            f"load {os.getloadavg()[0]:.1f}",
            flush=True,
        )


class Steps(Callback):
    """Keeps the loss of each step."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, *rest: Any) -> None:
        """Keeps the loss."""
        self.losses.append(float(rest[1]["loss"]))


def train(folder: Path, steps: int) -> None:
    """Takes some optimiser steps of ELSA with 64 factors and of SASRec with a sampled softmax."""
    workspace = Workspace(folder / "workspace")
    began = time.perf_counter()
    data = SplitData.load(workspace, TrackIndex.load(workspace.track_index), repeat=True)
    print(
        f"loaded {len(data.train):,} pairs, {data.train.num_users:,} users, {len(data.train.candidates):,} tracks in "
        f"{time.perf_counter() - began:.0f} s, peak {_peak():.2f} GB",
        flush=True,
    )
    inputs = Inputs(data, training=Training(scheduler=None, monitor="train/loss"))
    for name in ("sasrec", "elsa"):
        began = time.perf_counter()
        if name == "elsa":
            model: Any = ELSA(inputs, factors=64, batch_size=32)
        else:
            model = SASRec(
                inputs,
                network=TransformerSettings(hidden_size=64, intermediate_size=64, norm="pre", init="xavier"),
                sequences=SequenceSettings(max_seq_len=200, window="random"),
                items=ItemSettings(head="tied"),
                batch_size=32,
                loss="sampled",
                samples=4096,
            )
        taken = Steps()
        trainer = Trainer(
            accelerator="cpu",
            max_steps=steps,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[taken],
        )
        made = time.perf_counter() - began
        worked = time.process_time()
        trainer.fit(model, datamodule=model.datamodule())
        processor = (time.process_time() - worked) / steps
        wall = (time.perf_counter() - began - made) / steps
        print(
            f"{name}: {steps} steps, {wall:.2f} s wall and {processor:.2f} s processor each (made in {made:.0f} s), "
            f"loss {taken.losses[0]:.6g} -> {taken.losses[-1]:.6g}, peak {_peak():.2f} GB, "
            f"load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
        del model, trainer


def _peak() -> float:
    """Returns the peak memory of this process in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("make", "prepare", "search", "train"))
    parser.add_argument("folder", nargs="?", type=Path, default=Path("yambda"))
    parser.add_argument("--rows", type=lambda text: int(text.replace("_", "")), default=50_000_000)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--items", type=int, default=CATALOGUE)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    if options.what == "make":
        make(options.folder, options.rows)
    elif options.what == "prepare":
        prepare(options.folder)
    elif options.what == "search":
        search(options.users, options.items)
    else:
        train(options.folder, options.steps)


if __name__ == "__main__":
    main()
