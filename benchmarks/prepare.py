"""Measures prepare.py on a synthetic log of N plays against the study's way with pandas.

    python benchmarks/prepare.py 10_000_000              # both, three runs each
    python benchmarks/prepare.py 253_000_000 --runs 1 --only musicrec

The log has as many users and tracks as Music4All-Onion and a similar skew: a few users and tracks have most of the
plays, and users repeat their own tracks. Rows are in random order. Each run is a separate process. Its time includes
imports, its memory is the largest resident set.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

USERS, TRACKS, LIBRARY = 119_140, 56_512, 600
FIRST, LAST, START, TEST = "2006-01-01", "2020-03-20", "2019-02-20", "2020-02-20"
CHUNK = 2_000_000

MUSICREC = """
import sys
from pathlib import Path
from musicrec.data.prepare import prepare
from musicrec.data.source import DataSource
from musicrec.data.splits.settings import SplitSettings
from musicrec.workspace import Workspace
log, folder, start, test, memory_limit = sys.argv[1:]
source = DataSource("benchmark", plays=log, splits=SplitSettings(start=start, test=test), memory_limit=memory_limit)
print(prepare(source, Workspace(Path(folder))).table)
"""

# The steps of the study's preprocessing, in its order. It reads the log twice, once whole and once in chunks.
PANDAS = """
import sys
import pandas as pd
from sklearn.model_selection import train_test_split
log, folder, start, test, _ = sys.argv[1:]
options = {"sep": chr(9), "parse_dates": ["timestamp"]}
whole = pd.read_csv(log, **options)
tracks = pd.Index(sorted(whole.track_id.unique()))
numbers = pd.Series(range(len(tracks)), tracks)
chunks = []
for chunk in pd.read_csv(log, chunksize=1_000_000, **options):
    chunk["idx"] = chunk.track_id.map(numbers)
    chunks.append(chunk)
pd.concat(chunks).to_parquet(f"{folder}/plays.pqt")
plays = pd.read_parquet(f"{folder}/plays.pqt")[["user_id", "idx", "timestamp"]]
plays.columns = ["user_id", "track_id", "timestamp"]
plays = plays[plays.timestamp >= start]
def pairs(frame):
    groups = frame.groupby(["user_id", "track_id"])
    return groups.agg(timestamp=("timestamp", "min"), count=("timestamp", "count")).reset_index()
held_out = pairs(plays)
held_out = held_out[held_out.timestamp >= test]
train = pairs(plays[plays.timestamp < test])
known = held_out.user_id.isin(train.user_id.unique()) & held_out.track_id.isin(train.track_id.unique())
held_out = held_out[known]
val_users, _ = train_test_split(held_out.user_id.unique(), test_size=0.5, random_state=42)
is_val = held_out.user_id.isin(val_users)
for name, frame in (("train", train), ("val", held_out[is_val]), ("test", held_out[~is_val])):
    frame.to_parquet(f"{folder}/{name}.pqt")
    print(name, len(frame), frame.user_id.nunique(), frame.track_id.nunique())
"""

SCRIPTS = {"musicrec": MUSICREC, "pandas": PANDAS}


def make_log(path: Path, rows: int) -> None:
    """Writes a tab-separated log with `rows` plays."""
    random = np.random.default_rng(0)
    letters = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", "S1")
    names = pa.array(letters[random.integers(0, len(letters), (TRACKS, 16))].view("S16").ravel().astype(str))
    activity = np.cumsum(random.lognormal(0, 1.5, USERS))
    activity /= activity[-1]
    first = np.datetime64(FIRST, "s")
    seconds = int((np.datetime64(LAST, "s") - first).astype(int))
    options = pa_csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
    with path.open("wb") as file:
        file.write(b"user_id\ttrack_id\ttimestamp\n")
        for begin in range(0, rows, CHUNK):
            many = min(CHUNK, rows - begin)
            users = np.searchsorted(activity, random.random(many))
            # Each user has a fixed library of LIBRARY tracks; its first tracks are played more.
            index = (LIBRARY * random.random(many) ** 2).astype(np.uint64)
            mixed = (users.astype(np.uint64) * np.uint64(LIBRARY) + index) * np.uint64(0x9E3779B97F4A7C15)
            mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
            tracks = (TRACKS * ((mixed >> np.uint64(11)) / 2.0**53) ** 2).astype(np.int64)
            times = first + (seconds * random.random(many) ** 0.5).astype("timedelta64[s]")
            table = pa.table({"u": users, "t": names.take(pa.array(tracks)), "at": pa.array(times)})
            pa_csv.write_csv(table, file, options)


def measure(script: str, log: Path, folder: Path, memory_limit: str) -> tuple[float, float, float]:
    """Returns seconds, CPU seconds and peak memory (GB) of a process that runs `script` on the log."""
    with tempfile.TemporaryDirectory(dir=folder) as out:
        command = [sys.executable, "-c", script, str(log), out, START, TEST, memory_limit]
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        shown = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"failed with status {process.returncode}")
    print(shown, file=sys.stderr)
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024**2


def main() -> None:
    """Makes the log, measures, prints a Markdown table with one row per way, and deletes the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=int, help="plays of the log")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=sorted(SCRIPTS), help="one way instead of both")
    parser.add_argument("--memory-limit", default="4GB", help="data.memory_limit")
    parser.add_argument("--folder", type=Path, help="where there is room; the system's temporary folder by default")
    arguments = parser.parse_args()
    if arguments.folder is not None:
        arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as made:
        folder = Path(made)
        log = folder / "log.tsv"
        began = time.perf_counter()
        make_log(log, arguments.rows)
        print(f"{log.stat().st_size / 1e9:.1f} GB of text made in {time.perf_counter() - began:.0f} s", file=sys.stderr)
        ways = [arguments.only] if arguments.only else sorted(SCRIPTS)
        runs: dict[str, list[tuple[float, float, float]]] = {way: [] for way in ways}
        # Interleaved, so that other work on the machine affects both alike.
        for _ in range(arguments.runs):
            for way in ways:
                runs[way].append(measure(SCRIPTS[way], log, folder, arguments.memory_limit))
                shown = "{:.1f} s, {:.1f} s of CPU, {:.2f} GB".format(*runs[way][-1])
                print(f"{way}: {shown} (load {os.getloadavg()[0]:.1f})", file=sys.stderr)
    head = f"median of {arguments.runs}" if arguments.runs > 1 else "one run"
    print(f"| {arguments.rows:,} plays | seconds ({head}) | all runs | CPU seconds | peak memory, GB |")
    print("|---|---|---|---|---|")
    for way, measured in runs.items():
        seconds, cpu, memory = zip(*measured, strict=True)
        every = ", ".join(f"{value:.1f}" for value in sorted(seconds))
        middle = f"{statistics.median(seconds):.1f} | {every} | {statistics.median(cpu):.1f}"
        print(f"| {way} | {middle} | {max(memory):.2f} |")


if __name__ == "__main__":
    main()
