"""Where an epoch of Shallow and BERT4Rec goes at the study's size, and how near it is to its limit.

Usage:
    python benchmarks/epochs.py                        both, as shipped and with the study's sizes, one thread
    python benchmarks/epochs.py --models bert --profile

Seconds are those of the processor per training step, medians: making the batch, loss, backward pass, optimizer. The
limit is the matrix products of the step by themselves (products.py), plus the memory that it cannot but read and write:
7 numbers per learnt weight (Adam), at the speed of a large copy. "Lightning" is what Trainer.fit adds to a step; val
and checkpoint are per epoch. Data as in recommenders.py. Results: RESULTS.md.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT)]

from limits import operations_by_time  # noqa: E402
from products import limit, operations, recorded, used  # noqa: E402
from recommenders import ITEMS, made_split, vectors  # noqa: E402

from musicrec.recommenders.bert4rec import BERT4Rec  # noqa: E402
from musicrec.recommenders.inputs import Inputs, Training  # noqa: E402
from musicrec.recommenders.sequence_settings import ItemSettings, SequenceSettings, TransformerSettings  # noqa: E402
from musicrec.recommenders.shallow import Shallow  # noqa: E402
from musicrec.recommenders.trained import TrainedRecommender  # noqa: E402
from musicrec.training.checkpoints import AtomicCheckpoints  # noqa: E402

VAL_USERS = 2_459


def inputs() -> Inputs:
    """Returns the split of recommenders.py, the last tracks of 2,459 of its users held out, and 200-d vectors."""
    data = made_split()
    train = data.train
    users = np.random.default_rng(5).permutation(train.num_users)[:VAL_USERS]
    held = np.random.default_rng(6).integers(0, ITEMS, (VAL_USERS, 10))
    stamps = np.full(VAL_USERS * 10, np.datetime64("2020-02-25", "us"))
    columns = {"user_id": train.user_ids[users].repeat(10), "track_id": held.ravel(), "timestamp": stamps, "count": 1}
    data.truth["val"] = pd.DataFrame(columns).drop_duplicates(["user_id", "track_id"])
    return Inputs(data, vectors(200), training=Training(scheduler=None))


def bert_study(given: Inputs) -> TrainedRecommender:
    return BERT4Rec(
        given,
        network=TransformerSettings(hidden_size="same"),
        sequences=SequenceSettings(max_seq_len=50),
        items=ItemSettings(head="tied", item_freeze=False),
    )


MODELS: dict[str, Callable[[Inputs], TrainedRecommender]] = {
    "shallow": Shallow,
    "bert": BERT4Rec,
    "bert_study": bert_study,
}


def copy_speed() -> float:
    """Returns the bytes per processor second that are read or written in a large copy."""
    one, other = torch.zeros(2**25), torch.ones(2**25)
    return 8 * len(one) / statistics.median(used(partial(one.copy_, other)) for _ in range(5))


def phases(model: TrainedRecommender, steps: int, compiled: bool) -> tuple[dict[str, float], Callable[[], None]]:
    """Returns the processor seconds of each part of a step, and a call that does one step."""
    keys = list(zip(range(steps + 2), model.datamodule().train_dataloader(), strict=False))
    made = model.configure_optimizers()
    optimizer: Any = made["optimizer"] if isinstance(made, dict) else made
    loss_of = torch.compile(model.loss) if compiled else model.loss
    cpu = torch.device("cpu")
    taken: dict[str, list[float]] = {name: [] for name in ("batch", "loss", "backward", "optimizer")}

    def step(number: int) -> None:
        key = keys[number][1]
        clock = [time.process_time()]
        batch = key.source.batch(key, cpu)
        clock.append(time.process_time())
        torch.manual_seed(number)
        loss, _ = loss_of(batch)
        loss = loss + model.penalty(batch)
        clock.append(time.process_time())
        optimizer.zero_grad()
        loss.backward()
        clock.append(time.process_time())
        optimizer.step()
        clock.append(time.process_time())
        for name, begin, end in zip(taken, clock, clock[1:], strict=False):
            taken[name].append(end - begin)

    model.train()
    for number in range(steps + 2):
        step(number)
    return {name: statistics.median(seconds[2:]) for name, seconds in taken.items()}, partial(step, 0)


def lightning(model: TrainedRecommender, steps: int) -> tuple[float, float, float, float]:
    """Returns the processor seconds of a step by Trainer.fit, of validation, of a checkpoint, and its megabytes."""
    spent: dict[str, float] = {}

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, number: int) -> None:
            spent.setdefault("first", time.process_time())
            spent["last"] = time.process_time()

        def on_validation_start(self, *_: Any) -> None:
            spent["val"] = time.process_time()

        def on_validation_end(self, *_: Any) -> None:
            spent["val"] = time.process_time() - spent["val"]

    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        limit_train_batches=steps,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Watch()],
        plugins=[AtomicCheckpoints()],
    )
    trainer.fit(model, datamodule=model.datamodule())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "last.ckpt"
        wrote = used(partial(trainer.save_checkpoint, path))
        return (spent["last"] - spent["first"]) / (steps - 1), spent["val"], wrote, path.stat().st_size / 1e6


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="torch.compile the loss")
    parser.add_argument("--profile", action="store_true", help="list the operations that take the most time")
    options = parser.parse_args(arguments)
    chosen = options.models.split(",")
    if unknown := sorted(set(chosen) - set(MODELS)):
        parser.error(f"--models: {unknown[0]} is unknown; choose from {', '.join(MODELS)}")
    torch.set_num_threads(1)
    given, speed = inputs(), copy_speed()
    print(f"one thread, load {os.getloadavg()[0]:.1f}, copies at {speed / 1e9:.1f} GB/s")
    columns = "model | batch | loss | backward | optimizer | sum | products, GFLOP | products, s | memory, s"
    columns += " | share of the limit | Lightning adds | steps | val, s | checkpoint, s | MB"
    print(f"| {columns} |\n" + "|---" * len(columns.split("|")) + "|", flush=True)
    for name in chosen:
        model = MODELS[name](given)
        parts, step = phases(model, options.steps, options.compile)
        shapes = recorded(step)
        floor = limit(shapes)
        learnt = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
        memory = 7 * 4 * learnt / speed
        whole = sum(parts.values())
        by_fit, val, wrote, size = lightning(MODELS[name](given), options.steps + 1)
        cells = [*(f"{seconds:.3f}" for seconds in (*parts.values(), whole)), f"{operations(shapes) / 1e9:.1f}"]
        cells += [f"{floor:.3f}", f"{memory:.3f}", f"{(floor + memory) / whole:.0%}", f"{by_fit - whole:+.3f}"]
        cells += [f"{len(model.datamodule().train_dataloader())}", f"{val:.1f}", f"{wrote:.2f}", f"{size:.0f}"]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
        if options.profile:
            print(operations_by_time(step, 14), flush=True)


if __name__ == "__main__":
    main()
