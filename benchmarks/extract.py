"""Extraction: MusicNN against the TensorFlow extractor it replaces, memory over many clips, loss by precision.

Usage:
    python benchmarks/extract.py setup ENV             makes the reference's environment (Python 3.11) in the folder ENV
    python benchmarks/extract.py speed ENV             tracks per second of both, in turn, and shares of the time
    python benchmarks/extract.py memory                resident memory of all processes over 2,000 clips
    python benchmarks/extract.py precision FOLDER...   what bf16 and fp16 change, on audio of your own

Medians of --runs alternating runs, so that other load on the machine affects both. Results: RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import soundfile
import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from musicrec.audio.decode import AudioError, load_audio  # noqa: E402
from musicrec.audio.library import scan  # noqa: E402
from musicrec.embeddings.musicnn import MusicNN  # noqa: E402

SOURCE = ROOT / "tests" / "golden" / "musicnn" / "etr_spunkyrace_44k_stereo.mp3"
PACKAGES = ["tensorflow-cpu==2.15.1", "keras==2.15.0", "numpy==1.26.4", "librosa==0.10.2.post1"]

# The study's script: the package's extractor once per file, in a pool of processes. Its imports are not timed.
REFERENCE = """
import json, os, sys, time
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
from multiprocessing import Pool
from musicnn.extractor import extractor

def embed(path):
    _, _, features = extractor(path, model="MSD_musicnn", extract_features=True)
    return features["penultimate"].mean(axis=0)

def clock():
    used = [getrusage(who) for who in (RUSAGE_SELF, RUSAGE_CHILDREN)]
    return time.perf_counter(), sum(part.ru_utime + part.ru_stime for part in used)

processes, files = int(sys.argv[1]), sys.argv[2:]
start = clock()
if processes == 1:
    results = [embed(path) for path in files]
else:
    with Pool(processes) as pool:
        results = pool.map(embed, files, chunksize=1)
        pool.close()
        pool.join()
assert len(results) == len(files)
print(json.dumps([end - begin for begin, end in zip(start, clock())]))
"""

# Ours: the whole of `extract`, from starting the decoders to the renamed file; importing torch is not timed either.
OURS = """
import json, sys, time
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
import torch
from musicrec.audio.library import scan
from musicrec.embeddings.extraction.extract import extract
from musicrec.embeddings.musicnn import MusicNN
from musicrec.workspace import TrackIndex, Workspace

def clock():
    used = [getrusage(who) for who in (RUSAGE_SELF, RUSAGE_CHILDREN)]
    return time.perf_counter(), sum(part.ru_utime + part.ru_stime for part in used)

files = scan(sys.argv[1])
start = clock()
report = extract(MusicNN(), Workspace(Path(sys.argv[2])), TrackIndex(sorted(files)), files, device="cpu")
assert not report.failed
print(json.dumps([end - begin for begin, end in zip(start, clock())]))
"""


def make_clips(folder: Path, count: int, seconds: float) -> list[Path]:
    """Returns stereo 44.1 kHz MP3s of real music, looped to a length and each of its own loudness."""
    music, rate = soundfile.read(SOURCE, dtype="float32")
    frames = int(rate * seconds)
    looped = np.tile(music, (-(-frames // len(music)) + 1, 1))
    folder.mkdir(parents=True)
    paths = [folder / f"clip{number:04d}.mp3" for number in range(count)]
    for number, path in enumerate(paths):
        begin = number * 997 % len(music)
        soundfile.write(path, looped[begin : begin + frames] * (0.9 - 0.5 * number / count), rate, format="MP3")
    return paths


def seconds_of(command: list[str], **environment: str) -> tuple[float, float]:
    """Returns the wall time and the processor time that a program prints last."""
    ran = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | environment,
        check=True,
    )
    wall, processor = json.loads(ran.stdout.splitlines()[-1])
    return wall, processor


def setup(arguments: argparse.Namespace) -> None:
    """Makes a virtual environment with the reference; its own version limits predate every Python that is left."""
    python = Path(arguments.environment) / "bin" / "python"
    subprocess.run([arguments.python, "-m", "venv", arguments.environment], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", "musicnn==0.1.0"], check=True)


def speed(arguments: argparse.Namespace) -> None:
    """Prints tracks per second of both and the ratio."""
    reference = [str(Path(arguments.environment) / "bin" / "python"), "-c", REFERENCE]
    with tempfile.TemporaryDirectory() as folder:
        clips = make_clips(Path(folder) / "music", arguments.clips, arguments.seconds)
        few = [str(path) for path in clips[: arguments.reference_clips]]
        wall: dict[str, list[float]] = {}
        processor: dict[str, list[float]] = {}
        for run in range(arguments.runs):
            load = os.getloadavg()[0]
            workspace = Path(folder) / f"run{run}"
            programs = {
                "musicrec": ([sys.executable, "-c", OURS, str(clips[0].parent), str(workspace)], len(clips)),
                "reference, a pool of 2": ([*reference, "2", *few], len(few)),
                "reference, one process": ([*reference, "1", *few], len(few)),
            }
            for name, (command, count) in programs.items():
                took, used = seconds_of(command, PYTHONPATH=str(ROOT) if name == "musicrec" else "")
                wall.setdefault(name, []).append(took / count)
                processor.setdefault(name, []).append(used / count)
            shown = ", ".join(f"{name} {values[-1]:.2f}" for name, values in wall.items())
            print(f"run {run + 1} (load before it {load:.1f}): seconds per track: {shown}", flush=True)
        print("\n| extractor | tracks/s | ratio | processor s per track | ratio |\n|---|---|---|---|---|")
        for name in wall:
            median = statistics.median(wall[name])
            used = statistics.median(processor[name])
            ratio, ratio_used = (
                statistics.median(theirs / ours for theirs, ours in zip(both[name], both["musicrec"], strict=True))
                for both in (wall, processor)
            )
            print(f"| {name} | {1 / median:.3f} | {ratio:.1f} | {used:.3f} | {ratio_used:.1f} |")
        seconds = json.loads((workspace / "embeddings" / "musicnn.json").read_text())["throughput"]["seconds"]
        shares(seconds, clips[0])


def shares(seconds: dict[str, float], clip: Path) -> None:
    """Prints where the processor time of an extraction went."""
    torch.set_num_threads(1)
    model = MusicNN()
    model.load()
    wave = load_audio(clip, model.sample_rate)
    model.embed([wave])
    spectrogram, whole = [], []
    for _ in range(5):
        start = time.perf_counter()
        list(model._model.patches(wave))
        middle = time.perf_counter()
        model.embed([wave])
        spectrogram.append(middle - start)
        whole.append(time.perf_counter() - middle)
    share = statistics.median(spectrogram) / statistics.median(whole)
    parts = {
        "decode": seconds["decode"],
        "resample": seconds["resample"],
        "spectrogram": seconds["model"] * share,
        "network": seconds["model"] * (1 - share),
    }
    total = sum(parts.values())
    print("\n| " + " | ".join(parts) + " |\n|" + "---|" * len(parts))
    print("| " + " | ".join(f"{100 * part / total:.0f} %" for part in parts.values()) + " |")


def memory(arguments: argparse.Namespace) -> None:
    """Prints the resident memory of the extracting process and its decoders as the clips go by."""
    with tempfile.TemporaryDirectory() as folder:
        originals = make_clips(Path(folder) / "originals", 40, arguments.seconds)
        music = Path(folder) / "music"
        music.mkdir()
        for number in range(arguments.clips):
            os.link(originals[number % len(originals)], music / f"clip{number:05d}.mp3")
        command = [sys.executable, "-c", OURS, str(music), str(Path(folder) / "workspace")]
        process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE)
        sizes: list[float] = []

        def watch() -> None:
            while process.poll() is None:
                sizes.append(resident(process.pid) / 2**20)
                time.sleep(0.5)

        watcher = threading.Thread(target=watch)
        watcher.start()
        took = json.loads(process.communicate()[0])[0]
        watcher.join()
    print(f"{arguments.clips} clips of {arguments.seconds:.0f} s in {took:.0f} s; resident memory, MB, by tenths:")
    tenths = [part.max() for part in np.array_split(np.array(sizes), 10)]
    print("| " + " | ".join(f"{10 * (i + 1)} %" for i in range(10)) + " |\n|" + "---|" * 10)
    print("| " + " | ".join(f"{tenth:.0f}" for tenth in tenths) + " |")


def resident(pid: int) -> int:
    """Returns the bytes in memory of a process and its children."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        except (OSError, ValueError):  # it has ended meanwhile
            continue
        if int(folder.name) == pid or int(status["PPid"]) == pid:
            total += int(status.get("VmRSS", "0 kB").split()[0]) * 1024
    return total


def precision(arguments: argparse.Namespace) -> None:
    """Prints how far half precision is from fp32 and how long it takes, per clip on one core."""
    torch.set_num_threads(1)
    files = [path for folder in arguments.folders for path in scan(folder).values()]
    waves = []
    for path in files[:: max(1, len(files) // arguments.clips)]:
        try:
            waves.append(load_audio(path, 16_000, 30))
        except AudioError:
            continue
    waves = [wave for wave in waves if len(wave) >= MusicNN().min_samples]
    tables, took = {}, {}
    for name in ("fp32", "bf16", "fp16"):
        model = MusicNN()
        model.load("cpu", name)
        model.embed(waves[:1])
        start = time.perf_counter()
        tables[name] = model.embed(waves).astype(np.float64)
        took[name] = (time.perf_counter() - start) / len(waves)
    exact = tables["fp32"]
    print(f"{len(waves)} clips; nearest = share of clips whose nearest neighbour by cosine stays the same\n")
    print("| precision | largest difference | least cosine | nearest | s per clip |\n|---|---|---|---|---|")
    for name, table in tables.items():
        cosine = (table * exact).sum(1) / np.linalg.norm(table, axis=1) / np.linalg.norm(exact, axis=1)
        same = (nearest(table) == nearest(exact)).mean()
        print(f"| {name} | {np.abs(table - exact).max():.4f} | {cosine.min():.6f} | {same:.3f} | {took[name]:.3f} |")


def nearest(table: np.ndarray) -> np.ndarray:
    """Returns the row of the nearest other vector by cosine."""
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -2)
    return similarity.argmax(axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("setup")
    command.add_argument("environment")
    command.add_argument("--python", default="python3.11")
    command.set_defaults(run=setup)
    command = commands.add_parser("speed")
    command.add_argument("environment")
    command.add_argument("--clips", type=int, default=60)
    command.add_argument("--reference-clips", type=int, default=10)
    command.add_argument("--seconds", type=float, default=30.0)
    command.add_argument("--runs", type=int, default=5)
    command.set_defaults(run=speed)
    command = commands.add_parser("memory")
    command.add_argument("--clips", type=int, default=2000)
    command.add_argument("--seconds", type=float, default=30.0)
    command.set_defaults(run=memory)
    command = commands.add_parser("precision")
    command.add_argument("folders", nargs="+")
    command.add_argument("--clips", type=int, default=100)
    command.set_defaults(run=precision)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
