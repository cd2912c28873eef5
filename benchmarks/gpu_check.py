"""Compares a GPU with the CPU: encoders, half precision, recommenders, search and resuming, as Markdown tables.

Usage:
    python benchmarks/gpu_check.py                  on the GPU; `make gpu-check` then measures speed at published sizes
    python benchmarks/gpu_check.py --device cpu     without one: the same checks, of the CPU against itself

The encoders have the tiny random checkpoints of tests/golden (MusicNN its real weights), so a checkout is needed and
nothing is fetched; the recommenders are small and train on made plays. Paste what it prints into RESULTS.md.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from lightning_fabric.utilities import move_data_to_device

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]

from musicrec.config import config_dir  # noqa: E402
from musicrec.data.interactions import Interactions, SplitData  # noqa: E402
from musicrec.embeddings.base import AudioEmbedding  # noqa: E402
from musicrec.embeddings.configure import make_embedding  # noqa: E402
from musicrec.errors import MusicrecError  # noqa: E402
from musicrec.recommenders.configure import make_recommender  # noqa: E402
from musicrec.recommenders.inputs import Inputs  # noqa: E402
from musicrec.recommenders.retrieval.top_k import Seen, VectorTopK  # noqa: E402
from musicrec.recommenders.trained import TrainedRecommender  # noqa: E402
from musicrec.training.quiet import quiet_lightning  # noqa: E402

# Option -> its checkpoint in tests/golden; None = the weights in the package, or none.
ENCODERS = {
    "musicnn": None,
    "mfcc": None,
    "mert": "mert/v1_330m/checkpoint",
    "mert_95m": "mert/v1_95m/checkpoint",
    "music2vec": "music2vec/checkpoint",
    "encodecmae": "encodecmae/v1",
    "musicfm_mean": "musicfm/checkpoint",
    "muq": "muq/checkpoint",
    "muq_mulan": "muq_mulan/checkpoint",
    "mule": "mule/checkpoint",
}
SECONDS = 12  # of a clip: more than the shortest that any of them takes
RECOMMENDERS = {
    "bert": ("recommender.hidden_size=32", "recommender.dropout=0"),
    "sasrec": ("recommender.hidden_size=32", "recommender.dropout=0"),
    "shallow": (),
    "elsa": ("recommender.factors=16",),
}
Row = list[str]


def config(*overrides: str) -> Any:
    """Returns the composed configuration."""
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose("config", list(overrides))


def encoder(option: str) -> AudioEmbedding:
    """Returns an encoder with the tiny checkpoint of the tests."""
    path = ENCODERS[option]
    whole = [] if path is None else [f"embedding.checkpoint={ROOT}/tests/golden/{path}", "embedding.pad=false"]
    made = make_embedding(config(f"embedding={option}", *whole).embedding)
    assert isinstance(made, AudioEmbedding)
    return made


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Returns the least cosine of rows of two arrays."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    return float(((one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)).min())


def encoders(device: str, names: list[str]) -> Iterator[Row]:
    """Yields per encoder: the largest difference of device and CPU in fp32, cosines of half precision, clips/s."""
    random = np.random.default_rng(0)
    for name in names:
        model = encoder(name)
        noise = random.standard_normal((4, SECONDS * model.sample_rate)).astype(np.float32) * 0.1
        waves = [model.prepare(wave) for wave in noise]
        model.load("cpu", "fp32")
        exact = model.embed(waves)
        row = [name, "", "-", "-", ""]
        for column, precision in enumerate(("fp32", "bf16", "fp16"), 1):
            try:
                model.load(device, precision)
                found = model.embed(waves)
            except MusicrecError:
                row[column] = "refused"
                continue
            largest = np.abs(found - exact).max() / np.abs(exact).max()
            row[column] = f"{largest:.1e}" if precision == "fp32" else f"{cosine(found, exact):.6f}"
            if precision == "fp32":
                synchronise(device)
                start = time.perf_counter()
                model.embed(waves)
                synchronise(device)
                row[4] = f"{len(waves) / (time.perf_counter() - start):.1f}"
        yield row


def synchronise(device: str) -> None:
    """Waits for what a GPU still computes."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def made_plays(users: int = 60, tracks: int = 80) -> tuple[SplitData, np.ndarray]:
    """Returns made plays, of which each user's last are held out, and vectors (tracks, 16)."""
    random = np.random.default_rng(0)
    played = [random.permutation(tracks)[:25] for _ in range(users)]
    rows = [(user, int(track), day, 1) for user, items in enumerate(played) for day, track in enumerate(items)]
    frame = pd.DataFrame(rows, columns=["user_id", "track_id", "timestamp", "count"])
    frame["timestamp"] = np.datetime64("2019-02-20", "us") + frame["timestamp"].to_numpy() * np.timedelta64(1, "D")
    late = frame.groupby("user_id").cumcount() >= 13
    held_out = frame[late & (frame["user_id"] < 20)]
    data = SplitData(Interactions.from_frame(frame[~late], tracks), {"val": held_out, "test": held_out[:0]})
    return data, random.standard_normal((tracks, 16)).astype(np.float32)


def recommender(name: str) -> TrainedRecommender:
    """Returns a small recommender on made plays."""
    data, vectors = made_plays()
    node = config(f"recommender={name}", *RECOMMENDERS[name]).recommender
    made = make_recommender(node, Inputs(data, vectors, seed=0))
    assert isinstance(made, TrainedRecommender)
    return made


def gradients(model: TrainedRecommender, batch: Any) -> tuple[float, torch.Tensor]:
    """Returns the loss of a batch and its gradient, flat, on the CPU."""
    model.zero_grad()
    loss, _ = model.loss(batch)
    (loss + model.penalty(batch)).backward()
    parts = [weight.grad.flatten().cpu() for weight in model.parameters() if weight.grad is not None]
    return float(loss.detach()), torch.cat(parts)


def fitted(model: TrainedRecommender, device: str, epochs: int, resume: Path | None = None) -> pl.Trainer:
    """Returns the trainer of a model that was trained for some epochs."""
    trainer = pl.Trainer(
        accelerator="gpu" if device.startswith("cuda") else "cpu",
        devices=1,
        max_epochs=epochs,
        limit_train_batches=4,
        limit_val_batches=1,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    checkpoint = None if resume is None else str(resume)
    trainer.fit(model, datamodule=model.datamodule(), ckpt_path=checkpoint, weights_only=True)
    return trainer


def steps(device: str, folder: Path) -> Iterator[Row]:
    """Yields per recommender: differences of loss and gradient to the CPU, and of a resumed to a whole training."""
    for name in RECOMMENDERS:
        model = recommender(name)
        keys = model.datamodule()
        batch = keys.transfer_batch_to_device(next(iter(keys.train_dataloader())), torch.device("cpu"), 0)
        loss, gradient = gradients(model, batch)
        there = copy.deepcopy(model).to(device)
        other, moved = gradients(there, move_data_to_device(batch, torch.device(device)))
        whole = recommender(name)
        fitted(whole, device, 2)
        half = recommender(name)
        fitted(half, device, 1).save_checkpoint(folder / f"{name}.ckpt")
        resumed = recommender(name)
        fitted(resumed, device, 2, folder / f"{name}.ckpt")
        pairs = zip(whole.parameters(), resumed.parameters(), strict=True)
        apart = max(float((one.cpu() - two.cpu()).detach().abs().max()) for one, two in pairs)
        share = float((gradient - moved).norm() / gradient.norm())
        yield [name, f"{abs(loss - other) / abs(loss):.1e}", f"{share:.1e}", f"{apart:.1e}"]


def search(device: str) -> Row:
    """Returns how many lists of FAISS equal those of torch, and the seconds of both."""
    random = np.random.default_rng(0)
    items = torch.from_numpy(random.standard_normal((20_000, 64)).astype(np.float32)).to(device)
    queries = torch.from_numpy(random.standard_normal((256, 64)).astype(np.float32)).to(device)
    everybody, nothing = np.ones(len(queries), dtype=bool), Seen.nothing(len(queries))
    lists, seconds = {}, {}
    for name in ("torch", "faiss"):
        try:
            find: Callable[..., Any] = VectorTopK(items, np.arange(len(items)), name)
            find(queries, everybody, nothing, 50)
            start = time.perf_counter()
            lists[name], _ = find(queries, everybody, nothing, 50)
            seconds[name] = time.perf_counter() - start
        except MusicrecError as error:
            return [str(error), "-", "-"]
    equal = float((lists["torch"] == lists["faiss"]).all(axis=1).mean())
    return [f"{equal:.3f}", f"{seconds['torch']:.3f}", f"{seconds['faiss']:.3f}"]


def table(columns: Row, rows: list[Row]) -> str:
    """Returns a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu")
    parser.add_argument("--encoders", default=",".join(ENCODERS), help="options of embedding, separated by commas")
    options = parser.parse_args(arguments)
    names = [name for name in options.encoders.split(",") if name]
    if unknown := sorted(set(names) - set(ENCODERS)):
        parser.error(f"--encoders: {unknown[0]} is unknown; choose from {', '.join(ENCODERS)}")
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error(f"--device {options.device}: torch finds no GPU here; use --device cpu")
    kind = torch.cuda.get_device_name() if options.device.startswith("cuda") else "the CPU itself"
    print(f"## {kind} against the CPU, torch {torch.__version__}\n", flush=True)
    columns = ["encoder", "largest difference fp32", "cosine bf16", "cosine fp16", "clips/s (tiny weights)"]
    print(table(columns, list(encoders(options.device, names))), flush=True)
    with tempfile.TemporaryDirectory() as folder, quiet_lightning():
        rows = list(steps(options.device, Path(folder)))
    print("\n" + table(["recommender", "loss", "gradient", "resumed against whole"], rows), flush=True)
    print("\n" + table(["lists of FAISS equal to torch's", "torch, s", "FAISS, s"], [search(options.device)]))


if __name__ == "__main__":
    main()
