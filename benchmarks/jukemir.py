"""Jukebox's prior: speed against the straightforward loop, and memory while its weights are loaded.

Usage:
    python benchmarks/jukemir.py speed                   reduced size, CPU, fp32
    python benchmarks/jukemir.py speed --device cuda     36 layers at the published width, fp16, random weights
    python benchmarks/jukemir.py clip --device cuda      the same from the waveform of a 24 s clip: what a track takes
    python benchmarks/jukemir.py memory                  a made-up checkpoint of 72 layers, half of which are needed
    python benchmarks/jukemir.py memory --full           the same at the published size: 10 GB of zeros in a sparse file

Medians of --runs alternating runs. The limit is the time that the arithmetic takes at the speed of one large matrix
product on the same device, in the same precision. Results: RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from musicrec.embeddings.jukemir import JukeMIR  # noqa: E402
from musicrec.embeddings.networks.jukebox import conditioning  # noqa: E402
from musicrec.embeddings.networks.jukebox.encoder import Encoder  # noqa: E402
from musicrec.embeddings.networks.jukebox.prior import Layer, Prior  # noqa: E402
from musicrec.embeddings.networks.jukebox.sizes import PriorSizes, Sizes, VQVAESizes  # noqa: E402

# Loads a checkpoint in a process of its own and prints megabytes: memory of its own at most, mapped files in the end.
LOADING = """
import json, sys, threading, time
import torch
from musicrec.embeddings.jukemir import JukeMIR

def megabytes(*keys):
    lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return sum(int(lines[key].split()[0]) for key in keys) / 1024

peak, done = 0.0, False
def watch():
    global peak
    while not done:
        peak = max(peak, megabytes("RssAnon"))
        time.sleep(0.002)

way, folder, precision = sys.argv[1:]
model = JukeMIR(checkpoint=folder)
import musicrec.embeddings.checkpoints.jukebox, safetensors.torch
base = megabytes("RssAnon"), megabytes("RssFile")
watcher = threading.Thread(target=watch)
watcher.start()
start = time.perf_counter()
if way == "torch.load":
    weights = torch.load(f"{folder}/prior_level_2.pth.tar", weights_only=True)["model"]
else:
    model.load(precision=precision)
seconds = time.perf_counter() - start
if way != "torch.load":
    for value in model._prior.state_dict().values():
        value.float().sum()  # as the first clip does: every page is read
done = True
watcher.join()
print(json.dumps([seconds, peak - base[0], megabytes("RssFile") - base[1]]))
"""


def random_prior(sizes: PriorSizes, layers: int, device: str, dtype: torch.dtype) -> Prior:
    """Returns a prior with random weights, held as those of a checkpoint are."""
    with torch.device("meta"):
        prior = Prior(sizes, 2048, layers)
    for name, value in list(prior.named_parameters()):
        held = torch.float16 if name.endswith(".w") else torch.float32
        made = torch.empty(value.shape, dtype=held, device=device).normal_(std=0.02)
        owner = prior.get_submodule(name.rpartition(".")[0])
        setattr(owner, name.rpartition(".")[2], torch.nn.Parameter(made, requires_grad=False))
    prior.dtype = dtype
    return prior


def straightforward(prior: Prior, sizes: PriorSizes, codes: list[Tensor]) -> Tensor:
    """Returns the mean of each clip the simple way: clip by clip, scores of all pairs of positions, masked."""
    means = []
    for clip in codes:
        length = len(clip)
        hidden = torch.cat([prior.start[None], prior.x_emb[clip[:-1]]]) + prior.positions[:length]
        hidden = hidden.to(prior.dtype)
        for number, layer in enumerate(prior.layers):
            assert isinstance(layer, Layer)
            hidden = _masked_layer(hidden, layer, number, sizes)
        means.append(hidden.float().mean(dim=0))
    return torch.stack(means)


def _masked_layer(hidden: Tensor, layer: Layer, number: int, sizes: PriorSizes) -> Tensor:
    """Returns a layer's output for one clip, (length, width)."""
    dtype, length = hidden.dtype, len(hidden)
    position = torch.arange(length, device=hidden.device)
    row, column = position // sizes.block, position % sizes.block
    mask = [
        (row[:, None] == row) & (column <= column[:, None]),
        (column[:, None] == column) & (row <= row[:, None]),
        row[:, None] == row + 1,
    ][number % 3]
    normed = layer.ln_0(hidden.float()).to(dtype)
    projected = normed @ layer.attn.c_attn.w.to(dtype) + layer.attn.c_attn.b.to(dtype)
    query, key, value = projected.view(length, 3, sizes.heads, -1).permute(1, 2, 0, 3)
    scores = query @ key.transpose(1, 2) / query.shape[-1] ** 0.5
    weights = scores.masked_fill(~mask, -torch.inf).float().softmax(dim=-1).nan_to_num(0.0).to(dtype)
    mixed = (weights @ value).transpose(0, 1).flatten(1)
    hidden = hidden + (mixed @ layer.attn.c_proj.w.to(dtype) + layer.attn.c_proj.b.to(dtype))
    normed = layer.ln_1(hidden.float()).to(dtype)
    inner = normed @ layer.mlp.c_fc.w.to(dtype) + layer.mlp.c_fc.b.to(dtype)
    inner = inner * torch.sigmoid(1.702 * inner)
    return hidden + (inner @ layer.mlp.c_proj.w.to(dtype) + layer.mlp.c_proj.b.to(dtype))


def operations(sizes: PriorSizes, layers: int, positions: int) -> float:
    """Returns the floating-point operations of a clip: matrix products and the pairs that the patterns look at."""
    width, attention = sizes.width, sizes.attention_width
    products = 2 * positions * (4 * width * attention + 2 * width * sizes.mlp_width)
    row, column = sizes.block / 2, positions / sizes.block / 2
    pairs = 4 * attention * positions * (row + column + sizes.block) / 3
    return layers * (products + pairs)


def product_speed(device: str, dtype: torch.dtype) -> float:
    """Returns the operations per second of one large matrix product."""
    size = 8192 if device != "cpu" else 2048
    one, other = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / min(seconds_of(lambda: one @ other, device) for _ in range(8))


def seconds_of(work: object, device: str) -> float:
    """Returns how long a call takes, what a GPU still has to do included."""
    assert callable(work)
    if device != "cpu":
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def chosen(arguments: argparse.Namespace) -> tuple[str, torch.dtype, PriorSizes, int]:
    """Returns device, precision, sizes and number of layers: the published ones on a GPU, smaller ones on a CPU."""
    if arguments.device == "cpu":
        return "cpu", torch.float32, replace(PriorSizes(), width=1280, n_ctx=4096, blocks=64), 6
    return arguments.device, torch.float16, PriorSizes(), 36


@torch.inference_mode()
def speed(arguments: argparse.Namespace) -> None:
    """Prints codes per second of both ways, the ratio, and the share of what matrix products alone allow."""
    device, dtype, sizes, layers = chosen(arguments)
    prior = random_prior(sizes, layers, device, dtype)
    clips = arguments.clips or (1 if device == "cpu" else 4)
    codes = list(torch.randint(2048, (clips, sizes.n_ctx), device=device))
    ways = {"musicrec": lambda: prior(codes), "straightforward": lambda: straightforward(prior, sizes, codes)}
    difference = (ways["musicrec"]() - ways["straightforward"]()).abs().max().item()  # also warms up
    took: dict[str, list[float]] = {way: [] for way in ways}
    rates = []
    for _ in range(arguments.runs):
        rates.append(product_speed(device, dtype))
        for way, work in ways.items():
            took[way].append(seconds_of(work, device))
    amount = clips * operations(sizes, layers, sizes.n_ctx)
    print(f"{device}, {dtype}, {layers} layers of width {sizes.width}, {clips} clips of {sizes.n_ctx} codes:")
    print(f"{amount / 1e12:.2f} TFLOP; largest difference between the ways {difference:.1e}")
    print(f"one large matrix product: {statistics.median(rates) / 1e12:.3f} TFLOP/s; load {os.getloadavg()[0]:.1f}\n")
    print("| way | codes/s | ratio | share of the limit |\n|---|---|---|---|")
    for way, seconds in took.items():
        share = statistics.median(amount / rate / second for rate, second in zip(rates, seconds, strict=True))
        ratio = statistics.median(theirs / ours for theirs, ours in zip(seconds, took["musicrec"], strict=True))
        print(f"| {way} | {clips * sizes.n_ctx / statistics.median(seconds):.0f} | {ratio:.2f} | {100 * share:.0f} % |")
    if device != "cpu":
        print(f"\nGPU memory at most {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB (both ways)")


@torch.inference_mode()
def clip(arguments: argparse.Namespace) -> None:
    """Prints the seconds of encoder and prior for whole 24 s clips."""
    device, dtype, sizes, layers = chosen(arguments)
    model = JukeMIR()
    model._sizes = replace(Sizes(), prior=sizes)
    model._device = torch.device(device)
    model._encoder = Encoder(VQVAESizes()).to(device).requires_grad_(False)
    torch.nn.init.normal_(model._encoder.k)
    model._prior = random_prior(sizes, layers, device, dtype)
    clips = arguments.clips or (1 if device == "cpu" else 16)
    waves = list(np.random.default_rng(0).standard_normal((clips, 24 * 44_100), dtype=np.float32))
    model.embed(waves[:1])
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    whole = [seconds_of(lambda: model.embed(waves), device) / clips for _ in range(arguments.runs)]
    encoder = [
        seconds_of(lambda: model._encoder(model._normalise(waves[0])), device) for _ in range(max(3, arguments.runs))
    ]
    print(f"{device}, {dtype}, {layers} layers of width {sizes.width}: {statistics.median(whole):.3f} s per clip,")
    print(f"of which encoder {statistics.median(encoder):.3f} s")
    if device != "cpu":
        print(f"GPU memory at most {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB")


def memory(arguments: argparse.Namespace) -> None:
    """Prints what loading half the layers takes, in both file formats, and the sizes at the published width."""
    if arguments.full:
        full_memory()
        return
    width, needed = arguments.width, 36
    sizes = replace(PriorSizes(), width=width, n_ctx=1024, blocks=16)
    tiny = ROOT / "tests" / "golden" / "jukebox"
    config = json.loads((tiny / "config.json").read_text())
    config["prior"] |= {"width": width, "depth": 72, "heads": 8, "n_ctx": 1024, "blocks": 16, "t_bins": 128}
    config |= {"layer": needed}
    layer = sum(value.numel() * (2 if name.endswith(".w") else 4) for name, value in Layer(sizes, 0).named_parameters())
    print("| file | way | seconds | own memory at most, MB | mapped, MB |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        for kind in ("zip", "legacy"):
            folder = Path(name) / kind
            folder.mkdir()
            (folder / "config.json").write_text(json.dumps(config))
            (folder / "vqvae.pth.tar").write_bytes((tiny / "vqvae.pth.tar").read_bytes())
            model = _made_up(sizes, config)
            zipped = kind == "zip"
            path = folder / "prior_level_2.pth.tar"
            torch.save({"model": model}, path, _use_new_zipfile_serialization=zipped)
            del model
            for way, precision in [("torch.load", ""), ("first time", "fp32"), ("later", "fp32"), ("later", "bf16")]:
                load_once(f"{kind}, {path.stat().st_size / 2**20:.0f} MB", way, precision, folder)
    print(f"\n{needed} of 72 layers: {needed * layer / 2**20:.0f} MB")
    with torch.device("meta"):
        prior = Prior(PriorSizes(), 2048, needed)
    held = sum(value.numel() * (2 if name.endswith(".w") else 4) for name, value in prior.named_parameters())
    encoder = sum(value.numel() * 4 for value in Encoder(VQVAESizes()).parameters())
    print(f"published sizes: prior {held:,} bytes = {held / 2**30:.2f} GiB, encoder and codebook {encoder:,} bytes")


def load_once(file: str, way: str, precision: str, folder: Path) -> None:
    """Prints what a process needs that loads a checkpoint."""
    environment = {"PYTHONPATH": str(ROOT), "MUSICREC_CACHE": str(folder / "cache")}
    command = [sys.executable, "-c", LOADING, way, str(folder), precision]
    ran = subprocess.run(command, env=os.environ | environment, stdout=subprocess.PIPE, check=True)
    seconds, own, mapped = json.loads(ran.stdout.splitlines()[-1])
    print(f"| {file} | {way}, {precision} | {seconds:.1f} | {own:.0f} | {mapped:.0f} |", flush=True)


def full_memory() -> None:
    """Prints what loading takes at the published size, from a file in the legacy format that holds zeros."""
    sizes = Sizes()
    shapes: dict[str, tuple[int, ...]] = {**conditioning.table_shapes(sizes)}
    width = sizes.prior.width
    shapes |= {"prior.x_emb.weight": (2048, width), "prior.pos_emb.pos_emb": (sizes.prior.n_ctx, width)}
    with torch.device("meta"):
        layer = Layer(sizes.prior, 0)
    for number in range(sizes.prior.depth):
        prefix = f"prior.transformer._attn_mods.{number}."
        shapes |= {prefix + name: tuple(value.shape) for name, value in layer.named_parameters()}
    shapes["prior.x_out.weight"] = (2048, width)
    encoder = Encoder(VQVAESizes()).state_dict()
    vqvae = {f"encoders.2.{name}": value for name, value in encoder.items() if name != "k"}
    print("| file | way | seconds | own memory at most, MB | mapped, MB |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.save({"model": vqvae | {"bottleneck.level_blocks.2.k": encoder["k"]}}, folder / "vqvae.pth.tar")
        path = folder / "prior_level_2.pth.tar"
        write_zeros(path, shapes)
        for way, precision in (("first time", "fp32"), ("later", "fp32"), ("later", "bf16")):
            load_once(f"legacy, {path.stat().st_size / 2**20:,.0f} MB", way, precision, folder)


class _Storage:
    """Stands for a storage when a checkpoint is written."""

    def __init__(self, key: str, elements: int, half: bool):
        self.reference = ("storage", torch.HalfStorage if half else torch.FloatStorage, key, "cpu", elements, None)


class _Tensor:
    """Is written as a tensor that takes up the whole of its storage."""

    def __init__(self, storage: _Storage, shape: tuple[int, ...]):
        stride = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
        self._arguments = (storage, 0, shape, stride, False, OrderedDict[str, Tensor]())

    def __reduce__(self) -> tuple[object, ...]:
        return torch._utils._rebuild_tensor_v2, self._arguments


class _Pickler(pickle.Pickler):
    def persistent_id(self, value: object) -> object:
        return value.reference if isinstance(value, _Storage) else None


def write_zeros(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """Writes a checkpoint of zeros as torch did before 1.6; the file has holes, so it takes no space."""
    storages = {
        name: _Storage(str(number), math.prod(shape), name.endswith(".w"))
        for number, (name, shape) in enumerate(shapes.items())
    }
    model = OrderedDict((name, _Tensor(storages[name], shape)) for name, shape in shapes.items())
    with path.open("wb") as file:
        for part in (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}):
            pickle.dump(part, file, protocol=2)
        _Pickler(file, protocol=2).dump({"model": model})
        pickle.dump([storage.reference[2] for storage in storages.values()], file, protocol=2)
        for name, storage in storages.items():
            file.write(int(storage.reference[4]).to_bytes(8, "little"))
            file.seek(storage.reference[4] * (2 if name.endswith(".w") else 4), os.SEEK_CUR)
        file.truncate()


def _made_up(sizes: PriorSizes, config: dict) -> dict[str, Tensor]:
    """Returns a state of all layers in the upstream's names and types."""
    width = sizes.width
    rows = dict(zip(("bow_genre_emb", "artist_emb"), config["prior"]["y_bins"], strict=True))
    rows |= dict.fromkeys(("total_length_emb", "absolute_pos_emb", "relative_pos_emb"), config["prior"]["t_bins"])
    state = {f"y_emb.{name}.emb.weight": torch.randn(number, width) for name, number in rows.items()}
    state["prior.x_emb.weight"] = torch.randn(config["vqvae"]["l_bins"], width)
    state["prior.pos_emb.pos_emb"] = torch.randn(sizes.n_ctx, width)
    for number in range(72):
        for name, value in Layer(sizes, number).named_parameters():
            made = torch.randn(value.shape) * 0.02
            state[f"prior.transformer._attn_mods.{number}.{name}"] = made.half() if name.endswith(".w") else made
    state["prior.x_out.weight"] = torch.randn(config["vqvae"]["l_bins"], width)
    return state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for run in (speed, clip):
        command = commands.add_parser(run.__name__)
        command.add_argument("--device", default="cpu")
        command.add_argument("--clips", type=int)
        command.add_argument("--runs", type=int, default=3)
        command.set_defaults(run=run)
    command = commands.add_parser("memory")
    command.add_argument("--width", type=int, default=1280)
    command.add_argument("--full", action="store_true")
    command.set_defaults(run=memory)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
