"""Training and retrieval at the study's size, beside its own loops re-written here, and beside RecTools.

Usage:
    python benchmarks/recommenders.py shallow                 a training step of Shallow, 200-d, 20 negatives
    python benchmarks/recommenders.py bert [--length 300]     a training step of BERT4Rec and its memory
    python benchmarks/recommenders.py retrieval [--dim 1024]  lists of 100 for a user
    python benchmarks/recommenders.py setup ENV               makes the environment of RecTools 0.19 in the folder ENV
    python benchmarks/recommenders.py rectools ENV            a training step of BERT4Rec beside RecTools

The data are made: 17,053 users, 56,193 items and 5.1 million pairs, skewed as listening is. Both sides take turns, each
in a process of its own; a figure is the median of --runs runs, each the median step. --device cuda where there is one.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from torch import nn

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
if importlib.util.find_spec("omegaconf"):  # the environment of RecTools has no need of ours
    from musicrec.data.interactions import Interactions, SplitData
    from musicrec.recommenders.base import Inputs
    from musicrec.recommenders.bert4rec import BERT4Rec
    from musicrec.recommenders.histories import mean_of_items, normalised
    from musicrec.recommenders.knn import KNN
    from musicrec.recommenders.retrieval.top_k import Seen
    from musicrec.recommenders.sequence_settings import ItemSettings, SequenceSettings, TransformerSettings
    from musicrec.recommenders.shallow import Shallow
USERS, ITEMS, PAIRS = 17_053, 56_193, 5_100_000
SHALLOW_STEPS = PAIRS // 10_000
# Of the study (bert4rec.yaml and train_bert.py of its repository), for a 200-d embedding.
BERT = {"hidden_size": 200, "layers": 2, "heads": 2, "intermediate_size": 256, "batch_size": 128}
MASKED = 0.2
# Sequences of the BERT4Rec measurements; all are longer than the longest input.
WALKERS = 1_280
RECTOOLS = ["rectools[torch]==0.19.0", "torch==2.13.0"]


def made_split(users: int = USERS, pairs: int = PAIRS, shortest: int = 5) -> Any:
    """Returns a SplitData of made pairs: lognormal activity, popularity that falls with the rank, every item played."""
    random = np.random.default_rng(0)
    lengths = random.lognormal(0, 1, users)
    lengths = np.maximum(shortest, (lengths * pairs / lengths.sum()).astype(int))
    owner = np.repeat(np.arange(users), lengths)
    items = (ITEMS * random.random(len(owner)) ** 2).astype(np.int64)
    items[random.permutation(len(owner))[:ITEMS]] = np.arange(ITEMS)
    keys = np.unique(owner * ITEMS + items)
    stamps = np.datetime64("2019-02-20", "us") + random.integers(0, 365 * 86_400, len(keys)) * np.timedelta64(
        10**6, "us"
    )
    frame = pd.DataFrame(
        {
            "user_id": keys // ITEMS,
            "track_id": keys % ITEMS,
            "timestamp": stamps,
            "count": 1 + random.poisson(1, len(keys)),
        }
    )
    return SplitData(Interactions.from_frame(frame, ITEMS), {"val": frame[:0], "test": frame[:0]})


def vectors(dim: int) -> np.ndarray:
    """Returns item embeddings (ITEMS, dim) with a common part, as those of audio models have."""
    random = np.random.default_rng(1)
    return (0.5 + random.standard_normal((ITEMS, dim))).astype(np.float32)


class StepTimes:
    """Seconds of each training step and memory at its highest, of a loop that calls `done` after every step."""

    def __init__(self, device: str):
        self.device = device
        self.times: list[float] = []
        self.baseline = self._memory()
        self._last = self._clock()

    def done(self) -> None:
        now = self._clock()
        self.times.append(now - self._last)
        self._last = now

    def start(self) -> None:
        self._last = self._clock()

    def result(self) -> dict[str, float]:
        """Returns the median step, the first (which warms up) left out, and what training added to the memory."""
        return {"seconds": statistics.median(self.times[1:]), "memory": self._memory() - self.baseline}

    def _clock(self) -> float:
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def _memory(self) -> float:
        """Returns the highest memory so far in GB: allocated on the GPU, else resident."""
        if self.device == "cuda":
            return torch.cuda.max_memory_allocated() / 1e9
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def ours(model: Any, device: str, steps: int, precision: str = "32-true") -> dict[str, float]:
    """Returns the figures of our model, trained by Lightning as train.py does."""

    class Steps(pl.Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            times.start()

        def on_train_batch_end(self, *_: Any) -> None:
            times.done()

    datamodule = model.datamodule()
    times = StepTimes(device)
    trainer = pl.Trainer(
        accelerator="gpu" if device == "cuda" else "cpu",
        max_epochs=1,
        limit_train_batches=steps,
        precision=precision,  # type: ignore[arg-type]
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Steps()],
    )
    model.trainer = trainer
    trainer.fit(model, datamodule=datamodule)
    return times.result()


def shallow_ours(options: argparse.Namespace) -> dict[str, float]:
    return ours(Shallow(Inputs(made_split(), vectors(200))), options.device, options.steps)


def shallow_reference(options: argparse.Namespace) -> dict[str, float]:
    """The study's loop: rows fetched one by one from a DataFrame, each sample projected for itself."""
    train = made_split().train
    frame = pd.DataFrame({"user_id": train.users, "item_id": train.items, "count": train.counts})

    class Rows(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(frame)

        def __getitem__(self, row: int) -> tuple[torch.Tensor, ...]:
            sample = frame.iloc[row]
            return tuple(torch.tensor(sample[name], dtype=torch.long) for name in ("item_id", "user_id", "count"))

    table = torch.from_numpy(vectors(200))
    items = nn.Embedding.from_pretrained(table).to(options.device)
    users = nn.Embedding(USERS, 200).to(options.device)
    project = nn.Sequential(nn.Linear(200, 128), nn.ReLU()).to(options.device)
    cosine = nn.CosineSimilarity()
    optimizer = torch.optim.Adam([*users.parameters(), *project.parameters()])
    times = StepTimes(options.device)
    loader = torch.utils.data.DataLoader(Rows(), batch_size=10_000, shuffle=True)
    times.start()
    for step, (item, user, _) in enumerate(loader):
        item = item.repeat_interleave(20).to(options.device)
        user = user.repeat_interleave(20).to(options.device)
        negative = torch.randint(0, USERS - 1, (len(item),), device=options.device)
        optimizer.zero_grad()
        liked = cosine(project(users(user)), project(items(item)))
        other = cosine(project(users(negative)), project(items(item)))
        (0.2 - liked + other).clamp(min=0).mean().backward()
        optimizer.step()
        times.done()
        if step + 1 == options.reference_steps:
            break
    return times.result()


def walkers(length: int) -> Any:
    return made_split(WALKERS, WALKERS * length * 2, shortest=length + length // 4)


def bert_ours(options: argparse.Namespace) -> dict[str, float]:
    model = BERT4Rec(
        Inputs(walkers(options.length), vectors(200)),
        network=TransformerSettings(hidden_size="same", intermediate_size=options.intermediate_size),
        sequences=SequenceSettings(max_seq_len=options.length),
        items=ItemSettings(head="tied", item_freeze=False),
        mlm_probability=MASKED,
        batch_size=BERT["batch_size"],
    )
    return ours(model, options.device, options.steps, options.precision)


def bert_reference(options: argparse.Namespace) -> dict[str, float]:
    """The study's loop: transformers' BertModel, logits at all positions; making its batches is not timed."""
    from transformers import BertConfig, BertModel  # noqa: PLC0415  (only this side has it)

    length, size = options.length, BERT["hidden_size"]
    split = walkers(length).train
    table = np.concatenate([vectors(size), np.random.default_rng(2).normal(0, 0.02, (2, size))]).astype(np.float32)
    embedding = nn.Embedding.from_pretrained(torch.from_numpy(table), freeze=False).to(options.device)
    config = BertConfig(
        vocab_size=2,
        max_position_embeddings=max(200, length),
        hidden_size=size,
        num_hidden_layers=BERT["layers"],
        num_attention_heads=BERT["heads"],
        intermediate_size=options.intermediate_size,
    )
    bert = BertModel(config).to(options.device).train()
    head = nn.Linear(size, ITEMS + 2, bias=False).to(options.device)
    head.weight = embedding.weight
    optimizer = torch.optim.Adam([*bert.parameters(), *embedding.parameters()])
    batches = []
    random = np.random.default_rng(3)
    for step in range(options.reference_steps):
        users = range(step * BERT["batch_size"], (step + 1) * BERT["batch_size"])
        tokens = np.stack([split.items[split.offsets[user + 1] - length : split.offsets[user + 1]] for user in users])
        masked = random.random(tokens.shape) < MASKED
        batches.append((np.where(masked, ITEMS, tokens), np.where(masked, tokens, -100)))
    times = StepTimes(options.device)
    times.start()
    for given, wanted in batches:
        inputs, labels = torch.from_numpy(given).to(options.device), torch.from_numpy(wanted).to(options.device)
        optimizer.zero_grad()
        states = bert(inputs_embeds=embedding(inputs), attention_mask=torch.ones(inputs.shape, device=options.device))
        logits = head(states.last_hidden_state)
        nn.functional.cross_entropy(logits.view(-1, logits.size(-1)), labels.view(-1)).backward()
        optimizer.step()
        times.done()
    return times.result()


def bert_rectools(options: argparse.Namespace) -> dict[str, float]:
    """RecTools' BERT4RecModel of equal sizes; its data preparation is not timed."""
    from rectools.dataset import Dataset  # noqa: PLC0415  (only this side has it)
    from rectools.models import BERT4RecModel  # noqa: PLC0415  (only this side has it)
    from rectools.models.nn.item_net import IdEmbeddingsItemNet  # noqa: PLC0415  (only this side has it)

    split = np.load(options.split)
    frame = pd.DataFrame(
        {
            "user_id": split["users"],
            "item_id": split["items"],
            "datetime": pd.to_datetime(split["times"]),
            "weight": 1.0,
        }
    )

    class Steps(pl.Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            times.start()

        def on_train_batch_end(self, *_: Any) -> None:
            times.done()

    model = BERT4RecModel(
        n_blocks=BERT["layers"],
        n_heads=BERT["heads"],
        n_factors=BERT["hidden_size"],
        session_max_len=options.length,
        batch_size=BERT["batch_size"],
        mask_prob=MASKED,
        loss="softmax",
        item_net_block_types=(IdEmbeddingsItemNet,),
        get_trainer_func=lambda: pl.Trainer(
            accelerator="gpu" if options.device == "cuda" else "cpu",
            max_epochs=1,
            limit_train_batches=options.reference_steps,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[Steps()],
        ),
    )
    dataset = Dataset.construct(frame)
    times = StepTimes(options.device)
    model.fit(dataset)
    return times.result()


def retrieval_ours(options: argparse.Namespace) -> dict[str, float]:
    """Lists of 100 for a block of users, the search built for them, from vectors to arrays."""
    model = KNN(Inputs(made_split(), vectors(options.dim)), search=options.search).to(options.device)
    users = np.random.default_rng(4).permutation(USERS)[: options.users]
    # As in the reference, the vectors of the users are there before.
    queries = torch.from_numpy(model.user_vectors()[users]).to(options.device)
    train = model.data.train
    seen, known = Seen(train.offsets, train.items).of(users), np.ones(len(users), dtype=bool)
    model.recommend(users[:64], 100)
    began = time.perf_counter()
    model.retriever()(queries, known, seen, 100)
    return {"seconds": (time.perf_counter() - began) / len(users), "memory": 0.0}


def retrieval_reference(options: argparse.Namespace) -> dict[str, float]:
    """The study's loop: one FAISS search a user, seen items filtered in Python."""
    import faiss  # noqa: PLC0415  (only this side has it)

    split = made_split().train
    table = normalised(vectors(options.dim))
    users = np.random.default_rng(4).permutation(USERS)[: options.reference_users]
    queries = normalised(mean_of_items(vectors(options.dim), np.arange(ITEMS), split, users))
    histories = [set(split.items[split.offsets[user] : split.offsets[user + 1]].tolist()) for user in users]
    index = faiss.IndexFlatIP(options.dim)
    index.add(table)
    times = []
    for query, history in zip(queries, histories, strict=True):
        began = time.perf_counter()
        _, found = index.search(query[None], 100 + len(history))
        assert len([item for item in found[0] if item not in history][:100]) == 100
        times.append(time.perf_counter() - began)
    return {"seconds": statistics.mean(times), "memory": 0.0}


SIDES: dict[str, Callable[[argparse.Namespace], dict[str, float]]] = {
    name: function
    for name, function in globals().items()
    if name.split("_")[0] in ("shallow", "bert", "retrieval") and callable(function)
}


def measured(side: str, options: argparse.Namespace, python: str = sys.executable) -> dict[str, float]:
    """Returns the figures of one side, measured in a process of its own."""
    given = {**vars(options), "side": side}
    result = subprocess.run(
        [python, __file__, "side", json.dumps(given)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    if result.returncode:
        raise SystemExit(f"{side} failed:\n{result.stderr[-3000:]}")
    figures: dict[str, float] = json.loads(result.stdout.splitlines()[-1])
    print(f"{side}: {figures} (load {os.getloadavg()[0]:.1f})", file=sys.stderr)
    return figures


def compare(
    names: dict[str, str], options: argparse.Namespace, scale: float, unit: str, pythons: dict[str, str]
) -> None:
    """Measures both sides in turn and prints a Markdown table; the last side is the reference."""
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in names}
    for _ in range(options.runs):
        for side in names:
            runs[side].append(measured(side, options, pythons.get(side, sys.executable)))
    seconds = {side: statistics.median(run["seconds"] for run in every) for side, every in runs.items()}
    memory = {side: statistics.median(run["memory"] for run in every) for side, every in runs.items()}
    reference = list(names)[-1]
    print(f"| | {unit} | times as fast | memory, GB | of the reference's |\n|---|---|---|---|---|")
    for side, label in names.items():
        share = f"{memory[side]:.2f} | {memory[side] / memory[reference]:.2f}" if memory[reference] else " | "
        print(f"| {label} | {seconds[side] * scale:.3g} | {seconds[reference] / seconds[side]:.1f} | {share} |")


def setup(folder: Path) -> None:
    """Makes the environment of RecTools."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    subprocess.run([str(folder / "bin" / "pip"), "install", "--quiet", *RECTOOLS], check=True)


def beside_rectools(folder: Path, options: argparse.Namespace) -> None:
    """Compares with RecTools; its feed-forward part is four times as wide as the state, so ours is, too."""
    options.intermediate_size = 4 * int(BERT["hidden_size"])
    split = walkers(options.length).train
    with tempfile.TemporaryDirectory() as temporary:
        options.split = str(Path(temporary) / "split.npz")
        np.savez(
            options.split,
            users=split.users,
            items=split.items,
            times=split.timestamps.astype("datetime64[s]").astype(str),
        )
        names = {"bert_ours": "musicrec", "bert_rectools": "RecTools 0.19"}
        compare(names, options, 1e3, "ms per step", {"bert_rectools": str(folder / "bin" / "python")})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["shallow", "bert", "retrieval", "setup", "rectools", "side"])
    parser.add_argument("env", nargs="?", help="folder of RecTools' environment")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--steps", type=int, default=8, help="training steps of ours in a run")
    parser.add_argument("--reference-steps", type=int, default=3)
    parser.add_argument("--length", type=int, default=50, help="of BERT4Rec's input")
    parser.add_argument("--precision", default="32-true", help="of our BERT4Rec, e.g. bf16-mixed")
    parser.add_argument("--dim", type=int, default=200, help="of the vectors searched")
    parser.add_argument("--search", default="auto", help="recommender.search of ours")
    parser.add_argument("--users", type=int, default=2048, help="users of a run of ours")
    parser.add_argument("--reference-users", type=int, default=100)
    parser.add_argument("--only-ours", action="store_true", help="where the reference needs more memory than there is")
    options = parser.parse_args()
    options.intermediate_size = BERT["intermediate_size"]
    if options.what == "side":
        given = json.loads(options.env)
        print(json.dumps(SIDES[given["side"]](argparse.Namespace(**given))))
    elif options.what == "setup":
        setup(Path(options.env))
    elif options.what == "rectools":
        beside_rectools(Path(options.env), options)
    else:
        names = {f"{options.what}_ours": "musicrec", f"{options.what}_reference": "the study's loop"}
        if options.only_ours:
            names.popitem()
        unit = {"shallow": f"s per epoch of {SHALLOW_STEPS} steps", "bert": "ms per step", "retrieval": "ms per user"}
        compare(names, options, SHALLOW_STEPS if options.what == "shallow" else 1e3, unit[options.what], {})


if __name__ == "__main__":
    main()
