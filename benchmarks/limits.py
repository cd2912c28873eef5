"""How near the encoders are to their limit: the same matrix products by themselves, on this machine.

Usage:
    python benchmarks/limits.py                                  all encoders, one thread
    python benchmarks/limits.py --models musicnn,mert --profile  with the operations that take the most time

The limit of an encoder is the time that torch.mm takes for the products of its layers, convolutions as products of the
same sizes (products.py). Both are processor seconds of one thread, in turn, medians of --runs. The sizes are the
published ones, with random weights (MusicNN: its own). Results: RESULTS.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT)]

from networks import MODELS  # noqa: E402
from products import Shape, in_turn, limit, operations, recorded, used  # noqa: E402

from musicrec.embeddings.base import AudioEmbedding  # noqa: E402
from musicrec.embeddings.clap import CLAP  # noqa: E402
from musicrec.embeddings.musicnn import MusicNN  # noqa: E402

SECONDS = {"musicnn": 30.0, "musicnn_mtt": 30.0, "encodecmae": 8.0, "mule": 12.0}  # others: --seconds


def clap(folder: Path) -> AudioEmbedding:
    """Returns CLAP at the size of laion/larger_clap_music, with random weights."""
    audio = {"patch_embeds_hidden_size": 128, "hidden_size": 1024, "depths": [2, 2, 12, 2]}
    ClapModel(ClapConfig(audio_config=audio, projection_dim=512)).save_pretrained(folder)
    ClapFeatureExtractor(truncation="rand_trunc", padding="repeatpad").save_pretrained(folder)
    return CLAP(checkpoint=str(folder))


def encoder(name: str, folder: Path) -> AudioEmbedding:
    """Returns an encoder with weights of the published sizes."""
    if name.startswith("musicnn"):
        return MusicNN(weights=name.removeprefix("musicnn_") if "_" in name else "msd")
    return clap(folder) if name == "clap" else MODELS[name](folder).embedding


def all_filters(model: MusicNN, seconds: float) -> Counter[Shape]:
    """Returns the products of MusicNN as published: every filter convolved, dead ones too."""
    net, patches = model._model._net, int(seconds * 16_000 / 256) // model.patch_frames
    shapes: Counter[Shape] = Counter()
    for part in (*net.frontend.children(), *net.midend.children()):
        weight = part.get_parameter("conv.weight")
        positions = 96 - weight.shape[3] + 1 if weight.ndim == 4 else 1
        shapes[Shape(1, model.patch_frames * positions, weight[0].numel(), len(weight))] += patches
    return shapes


def operations_by_time(work: Callable[[], object], count: int) -> str:
    """Returns the operations of a call that take the most time, with their shares."""
    with profile(activities=[ProfilerActivity.CPU]) as recording:
        work()
    events = [(event.key.removeprefix("aten::"), event.self_cpu_time_total) for event in recording.key_averages()]
    total = sum(spent for _, spent in events)
    largest = sorted(events, key=lambda event: -event[1])[:count]
    return ", ".join(f"{name} {spent / total:.0%}" for name, spent in largest)


def measure(name: str, seconds: float, options: argparse.Namespace) -> None:
    """Prints the rows of an encoder."""
    with tempfile.TemporaryDirectory() as folder:
        model = encoder(name, Path(folder))
        model.load()
    noise = np.random.default_rng(0).standard_normal(round(seconds * model.sample_rate)).astype(np.float32)
    wave = model.prepare(noise * np.float32(0.1))

    def embed() -> np.ndarray:
        return model.embed([wave])

    shapes = {name: recorded(embed)}
    if isinstance(model, MusicNN):
        shapes[f"{name}, as if by its published layers"] = all_filters(model, seconds)
    limits = [partial(limit, part) for part in shapes.values()]
    took, *least = in_turn([partial(used, embed), *limits], options.runs)
    for (row, part), floor in zip(shapes.items(), least, strict=True):
        flops = operations(part)
        cells = [
            f"{len(wave) / model.sample_rate:g}",
            f"{flops / 1e9:.1f}",
            f"{flops / floor / 1e9:.0f}",
            f"{floor:.3f}",
            f"{took:.3f}",
        ]
        print(f"| {row} | {' | '.join(cells)} | {floor / took:.0%} |", flush=True)
    if options.profile:
        print(operations_by_time(embed, 8), flush=True)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ["musicnn", "musicnn_mtt", *MODELS, "clap"]
    parser.add_argument("--models", default=",".join(names))
    parser.add_argument("--seconds", type=float, default=10.0, help="of audio; some encoders pad it to 30")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--profile", action="store_true", help="list the operations that take the most time")
    options = parser.parse_args(arguments)
    chosen = options.models.split(",")
    if unknown := sorted(set(chosen) - set(names)):
        parser.error(f"--models: {unknown[0]} is unknown; choose from {', '.join(names)}")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"one thread, load {os.getloadavg()[0]:.1f}, {torch.backends.cpu.get_cpu_capability()}")
    columns = "encoder | audio, s | GFLOP | GFLOP/s of the products | limit, s | encoder, s | share of the limit"
    print(f"| {columns} |\n" + "|---" * len(columns.split("|")) + "|", flush=True)
    for name in chosen:
        measure(name, SECONDS.get(name, options.seconds), options)


if __name__ == "__main__":
    main()
