"""BERT4Rec and SASRec beside RecTools on a public leave-one-out file: wall and processor time per epoch.

Usage:
    python benchmarks/recommenders.py setup ENV     makes the environment of RecTools 0.19 in the folder ENV
    python benchmarks/sequential.py ENV FILE        seconds per training epoch of both, in turn

Their quality is measured by benchmarks/sequential_quality.py.

FILE has a line "user item item …" per user. Both sides train on all items but the last two of each user, with equal
sizes (64 dimensions, 2 layers, 2 heads, the last 50 items, batches of 128) and their own defaults otherwise, each in a
process of its own; a figure is the median of --runs runs, each the median epoch. On a machine with other work the ratio
of processor times is steadier than that of wall times.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
if importlib.util.find_spec("omegaconf"):  # the environment of RecTools has no need of ours
    from musicrec.data.interactions import Interactions, SplitData
    from musicrec.recommenders.base import Inputs
    from musicrec.recommenders.bert4rec import BERT4Rec
    from musicrec.recommenders.inputs import Training
    from musicrec.recommenders.sasrec import SASRec
    from musicrec.recommenders.sequence_settings import ItemSettings, SequenceSettings, TransformerSettings

DIM, LONGEST, BATCH = 64, 50, 128
MODELS = ("bert", "sasrec")


def train_frame(file: str) -> pd.DataFrame:
    """Returns user, item, day of all items but the last two of each line."""
    rows = []
    for user, line in enumerate(Path(file).read_text().splitlines()):
        rows += [(user, int(item), day) for day, item in enumerate(line.split()[1:-2])]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "day"])


class EpochTimes(pl.Callback):
    """Measures wall and processor seconds of each training epoch."""

    def __init__(self) -> None:
        self.seconds: list[tuple[float, float]] = []

    def on_train_epoch_start(self, *_: Any) -> None:
        self.started = time.perf_counter(), time.process_time()

    def on_train_epoch_end(self, *_: Any) -> None:
        wall, processor = self.started
        self.seconds.append((time.perf_counter() - wall, time.process_time() - processor))


def trainer(epochs: int, times: EpochTimes) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[times],
    )


def ours(model: str, file: str, epochs: int) -> list[tuple[float, float]]:
    frame = train_frame(file).rename(columns={"item_id": "track_id"})
    frame["timestamp"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(frame.pop("day"), unit="D")
    frame["count"] = 1
    data = SplitData(
        Interactions.from_frame(frame, int(frame.track_id.max()) + 1), {"val": frame[:0], "test": frame[:0]}
    )
    inputs = Inputs(data, training=Training(scheduler=None, monitor="train/loss"))
    made = (BERT4Rec if model == "bert" else SASRec)(
        inputs,
        network=TransformerSettings(hidden_size=DIM, intermediate_size=256, dropout=0.2, norm="pre", init="xavier"),
        sequences=SequenceSettings(max_seq_len=LONGEST, window="random"),
        items=ItemSettings(head="tied"),
        batch_size=BATCH,
    )
    times = EpochTimes()
    trainer(epochs, times).fit(made, datamodule=made.datamodule())
    return times.seconds


def rectools(model: str, file: str, epochs: int) -> list[tuple[float, float]]:
    from rectools.dataset import Dataset  # noqa: PLC0415  (only this side has it)
    from rectools.models import BERT4RecModel, SASRecModel  # noqa: PLC0415  (only this side has it)
    from rectools.models.nn.item_net import IdEmbeddingsItemNet  # noqa: PLC0415  (only this side has it)

    frame = train_frame(file)
    frame["datetime"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(frame.pop("day"), unit="D")
    times = EpochTimes()
    options: dict[str, Any] = {
        "n_blocks": 2,
        "n_heads": 2,
        "n_factors": DIM,
        "session_max_len": LONGEST,
        "batch_size": BATCH,
        "dropout_rate": 0.2,
        "item_net_block_types": (IdEmbeddingsItemNet,),
        "get_trainer_func": lambda: trainer(epochs, times),
    }
    made = BERT4RecModel(mask_prob=0.2, **options) if model == "bert" else SASRecModel(**options)
    made.fit(Dataset.construct(frame.assign(weight=1.0)))
    # It trains with a copy of the trainer, and so of the callback.
    return next(each.seconds for each in made.fit_trainer.callbacks if isinstance(each, EpochTimes))


def measured(python: str, side: str, model: str, options: argparse.Namespace) -> np.ndarray:
    """Returns wall and processor seconds of the median epoch of a side in a process of its own."""
    command = [python, __file__, "side", options.file, "--side", side, "--model", model]
    command += ["--epochs", str(options.epochs), "--threads", str(options.threads)]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": str(options.threads)}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if result.returncode:
        raise SystemExit(f"{side} failed:\n{result.stderr[-3000:]}")
    seconds = json.loads(result.stdout.splitlines()[-1])
    print(f"{model} {side}: {np.round(seconds, 2).tolist()} s (load {os.getloadavg()[0]:.1f})", file=sys.stderr)
    return np.median(seconds, axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("env", help="folder of RecTools' environment")
    parser.add_argument("file", help="lines of user item item …")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--model", choices=MODELS, help="only this one")
    options = parser.parse_args()
    if options.env == "side":
        torch.set_num_threads(options.threads)
        print(
            json.dumps({"ours": ours, "rectools": rectools}[options.side](options.model, options.file, options.epochs))
        )
        return
    pythons = {"ours": sys.executable, "rectools": str(Path(options.env) / "bin" / "python")}
    print("| | | musicrec, s per epoch | RecTools 0.19 | times as fast |\n|---|---|---|---|---|")
    for model in [options.model] if options.model else MODELS:
        runs: dict[str, list[np.ndarray]] = {side: [] for side in pythons}
        for _ in range(options.runs):
            for side, python in pythons.items():
                runs[side].append(measured(python, side, model, options))
        own, theirs = (np.median(runs[side], axis=0) for side in pythons)
        for index, clock in enumerate(("wall", "processor")):
            ratio = theirs[index] / own[index]
            print(f"| {model} | {clock} | {own[index]:.2f} | {theirs[index]:.2f} | {ratio:.1f} |", flush=True)


if __name__ == "__main__":
    main()
