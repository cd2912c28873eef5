"""Recommenders without audio at the study's size: a training epoch of ELSA, the fit of EASE, and their memory.

Usage:
    python benchmarks/baselines.py elsa [--items 55262] [--steps 10]     seconds per epoch, from so many steps
    python benchmarks/baselines.py ease [--items 55262]                  seconds of the fit

The data are made as for benchmarks/recommenders.py: 17,053 users and 5.1 million pairs at the study's 55,262 items, and
proportionally fewer at fewer items. Memory is the peak of the process. Processor seconds are given beside wall time, as
they are steadier on a machine with other work.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import csr_matrix

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from musicrec.data.batches.base import BatchKey  # noqa: E402
from musicrec.data.interactions import Interactions, SplitData  # noqa: E402
from musicrec.recommenders.base import Inputs  # noqa: E402
from musicrec.recommenders.baselines.ease import ease_weights  # noqa: E402
from musicrec.recommenders.baselines.elsa import ELSA  # noqa: E402

USERS, ITEMS, PAIRS = 17_053, 55_262, 5_100_000


def made_matrix(items: int) -> csr_matrix:
    """Returns (users, items) of plays, with popularity that falls with the rank; every item is played."""
    random = np.random.default_rng(0)
    users, pairs = USERS * items // ITEMS, PAIRS * items // ITEMS
    ranks = (items * random.random(pairs) ** 3).astype(np.int64)
    columns = np.concatenate([ranks, np.arange(items)])
    rows = np.concatenate([np.sort(random.integers(0, users, pairs)), random.integers(0, users, items)])
    matrix = csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(users, items))
    matrix.data[:] = 1
    return matrix


def split_of(matrix: csr_matrix) -> SplitData:
    """Returns the matrix as training data."""
    users = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    times = np.zeros(len(users), dtype="datetime64[us]")
    counts, ids = np.ones(len(users), dtype=np.int64), np.arange(matrix.shape[0])
    items = matrix.indices.astype(np.int64)
    train = Interactions(ids, users, items, counts, times, matrix.shape[1], np.arange(matrix.shape[1]))
    return SplitData(train, {})


def elsa(matrix: csr_matrix, steps: int) -> str:
    """Returns the time of an epoch, from that of some steps with the optimizer that recommender=elsa uses."""
    model = ELSA(Inputs(split_of(matrix))).train()
    optimizer = torch.optim.NAdam(model.parameters(), lr=0.1)
    train = model.data.train
    active = np.flatnonzero(np.diff(train.offsets))
    source = model.train_source(active)
    seconds = []
    for number in range(steps):
        started = clocks()
        batch = source.batch(BatchKey(source, 0, number, 0, 1), torch.device("cpu"))
        optimizer.zero_grad()
        model.loss(batch)[0].backward()
        optimizer.step()
        seconds.append(clocks() - started)
    wall, processor = np.median(seconds, axis=0)
    epoch = f"{wall * len(source):,.0f} s ({processor * len(source):,.0f}) per epoch of {len(source)} steps"
    return f"{wall:.2f} s (processor {processor:.2f}) per step of 128 users, {epoch}"


def clocks() -> np.ndarray:
    """Returns wall and processor time in seconds."""
    return np.array([time.perf_counter(), time.process_time()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["elsa", "ease"])
    parser.add_argument("--items", type=int, default=ITEMS)
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    matrix = made_matrix(options.items)
    if options.what == "elsa":
        figure = elsa(matrix, options.steps)
    else:
        started = clocks()
        ease_weights(matrix, l2=300.0)
        wall, processor = clocks() - started
        figure = f"{wall:.1f} s (processor {processor:.1f})"
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{options.what}, {options.items:,} items: {figure}; peak memory {memory:.1f} GiB")


if __name__ == "__main__":
    main()
