"""A workspace of 12 embeddings × 6 recommenders × 3 seeds, without training anything, with names nobody expects."""

import json
from typing import Any

import numpy as np

from musicrec.files import write_text
from tests.evaluation.made_up import MadeUp

HOSTILE = ("<script>alert(1)</script>", "a\"b'c&d", "\u202eevil\u202c \u200fname", "long_" * 40)
EMBEDDINGS = (*HOSTILE, *(f"embedding_{number}" for number in range(7)), "שמע")
RECOMMENDERS = {f"net{number}": f"Net <{number}> & co" for number in range(6)}
SEEDS = range(3)
EPOCHS = 60


def make_large(made_up: MadeUp) -> list[str]:
    """Returns the names of 216 runs, written with configurations and curves of a usual size."""
    generator, names = np.random.default_rng(0), []
    for number, (recommender, title) in enumerate(RECOMMENDERS.items()):
        for place, embedding in enumerate(EMBEDDINGS):
            for seed in SEEDS:
                name = f"{recommender}_e{place}_s{seed}_0123abc{seed}"
                first_hit = 1 + (number + place + seed) % 7
                settings = {"recommender": {"name": recommender}, "embedding": {"name": embedding}, "seed": seed}
                own: dict[str, Any] = {
                    "table": recommender,
                    "title": title,
                    "settings": settings,
                    "size": 100 * (place + 1),
                }
                names.append(made_up.run(recommender, embedding, first_hit, seed, name, **own))
                folder = made_up.workspace.run_dir(name)
                write_text(folder / "config.yaml", _configuration(name, embedding, recommender, seed))
                write_text(folder / "metrics.csv", _curves(generator))
    return names


def _configuration(name: str, embedding: str, recommender: str, seed: int) -> str:
    """Returns a configuration of about four kilobytes, as a run records it."""
    lines = [f"seed: {seed}", f"run_name: {name}", "embedding:", f"  name: {json.dumps(embedding)}", "recommender:"]
    lines += [f"  {recommender}_option_{number}: {number / 7:.6f}" for number in range(50)]
    lines += ["data:", *(f"  column_{number}: value_{number}" for number in range(60)), "callbacks:"]
    lines += [f"  callback_{number}:\n    filename: {name}_best" for number in range(6)]
    return "\n".join(lines) + "\n"


def _curves(generator: np.random.Generator) -> str:
    """Returns metrics.csv of a run with losses and NDCG on val."""
    losses = np.exp(-np.arange(EPOCHS) / 20)[:, None] + generator.normal(0, 0.01, (EPOCHS, 3))
    rows = [f"{epoch},{epoch},{a},{b},{1 - c}" for epoch, (a, b, c) in enumerate(losses)]
    return "\n".join(["step,epoch,train/loss,val/loss,val/NDCG@10", *rows]) + "\n"
