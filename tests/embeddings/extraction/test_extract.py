from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from musicrec.audio.library import scan
from musicrec.embeddings.base import Embedding
from musicrec.embeddings.extraction import job
from musicrec.embeddings.extraction.extract import ExtractionReport, extract
from musicrec.embeddings.extraction.plan import Plan
from musicrec.embeddings.mfcc import MFCC
from musicrec.embeddings.musicnn import MusicNN
from musicrec.embeddings.precomputed import Precomputed
from musicrec.embeddings.random import Random
from musicrec.embeddings.tables import store
from musicrec.errors import MusicrecError
from musicrec.workspace import TrackIndex, Workspace
from tests.embeddings.extraction.toy import Toy

CLIPS = Path(__file__).parents[2] / "golden" / "musicnn"


class World:
    """A library of short clips, its workspace, and extract with few words."""

    def __init__(self, root: Path):
        self.music = root / "music"
        self.workspace = Workspace(root / "workspace")
        self.music.mkdir()
        self.known: list[str] = []

    def add(self, name: str, seconds: float = 0.2, level: float = 0.5) -> None:
        wave = np.full(int(8_000 * seconds), level, dtype=np.float32)
        soundfile.write(self.music / f"{name}.wav", wave, 8_000, subtype="FLOAT")

    def tracks(self) -> TrackIndex:
        index = TrackIndex(self.known).extended(scan(self.music))
        self.known = index.ids
        return index

    def extract(self, embedding: Embedding | None = None, **options: Any) -> ExtractionReport:
        options = {**{"num_workers": 0, "device": "cpu", "batch_size": 2}, **options}
        return extract(embedding or Toy(), self.workspace, self.tracks(), scan(self.music), **options)

    def table(self, name: str = "toy") -> np.ndarray:
        return np.load(self.workspace.embedding(name))

    def info(self, name: str = "toy") -> dict[str, Any]:
        return json.loads(self.workspace.embedding_info(name).read_text())

    def files(self) -> list[str]:
        folder = self.workspace.embedding("toy").parent
        return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    for number in range(10):
        made.add(f"t{number}", seconds=0.2 + 0.05 * (number % 3), level=0.1 + 0.05 * number)
    return made


def levels(count: int) -> np.ndarray:
    return 0.1 + 0.05 * np.arange(count)


def test_rows_follow_the_track_index(world: World) -> None:
    report = world.extract()
    assert (report.tracks, report.computed, report.failed, report.complete) == (10, 10, {}, True)
    table = world.table()
    assert table.shape == (10, 3)
    assert table.dtype == np.float32
    np.testing.assert_allclose(table[:, 0], levels(10), rtol=1e-6)
    np.testing.assert_array_equal(table[:, 1], [1600, 2000, 2400] * 3 + [1600])
    assert world.files() == ["toy.json", "toy.npy"]
    np.testing.assert_array_equal(Toy().table(world.workspace, world.tracks()), table)


def test_the_description(world: World) -> None:
    world.extract()
    info = world.info()
    assert info["settings"] == Toy().settings()
    assert (info["tracks"], info["tracks_hash"], info["dim"]) == (10, world.tracks().fingerprint(), 3)
    assert info["checkpoint_sha256"] == Toy().checkpoint_hash()
    assert info["precision"] == "fp32"
    assert {"musicrec", "numpy", "torch", "soundfile", "soxr"} <= set(info["versions"])
    assert info["throughput"]["tracks"] == 10
    assert {"decode", "resample", "model", "total"} <= set(info["throughput"]["seconds"])


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_tracks_do_not_stop_the_run(world: World, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(world.music))  # without ffmpeg, whose reasons vary
    (world.music / "text.mp3").write_text("not music\n" * 50)
    (world.music / "empty.mp3").write_bytes(b"")
    world.add("short", seconds=0.05)
    world.add("silent", level=0.0)
    world.add("loud", level=0.99)
    world.add("strange", level=0.93)
    world.tracks()
    world.known.append("gone")
    report = world.extract(num_workers=workers)
    reasons = {
        "empty": "empty file (0 bytes)",
        "gone": "no audio file",
        "loud": "the model failed: too loud for me",
        "short": "too short: 0.05 s (400 samples), the model needs 0.100 s",
        "strange": "the model gave NaN or infinite values",
        "text": "not decodable as audio",
    }
    assert report.failed == world.info()["failed"] == reasons
    assert report.silent == world.info()["silent"] == ["silent"]
    table = world.table()
    missing = [track for track, row in zip(world.known, table, strict=True) if np.isnan(row).all()]
    assert sorted(missing) == sorted(reasons)
    assert np.isfinite(table).any(axis=1).sum() == 11


def test_strict_and_nothing_at_all(world: World, tmp_path: Path) -> None:
    world.add("short", seconds=0.05)
    with pytest.raises(MusicrecError, match="extract.strict=true: 1 too short; see .*toy.json"):
        world.extract(strict=True)
    assert len(world.table()) == 11  # nothing is lost
    (tmp_path / "other").mkdir()
    other = World(tmp_path / "other")
    other.add("short", seconds=0.05)
    (other.music / "text.mp3").write_text("not music\n" * 50)
    with pytest.raises(MusicrecError, match="none of the 2 tracks could be embedded: 1 too short, 1 not decodable"):
        other.extract()
    assert not other.workspace.embedding("toy").exists()
    other.add("good")
    assert other.extract().computed == 3  # what failed is tried again


def test_damaged_and_short_files_say_both(world: World) -> None:
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 44_100)
    for name, share in (("half", 0.5), ("tenth", 0.02)):
        soundfile.write(world.music / f"{name}.flac", wave, 44_100)
        content = (world.music / f"{name}.flac").read_bytes()
        (world.music / f"{name}.flac").write_bytes(content[: int(share * len(content))])
    world.extract()
    assert world.info()["damaged"]["half"].startswith("truncated: 0.")
    assert "half" not in world.info()["failed"]
    assert "tenth" in world.info()["failed"]


def test_nothing_is_done_twice(world: World) -> None:
    world.extract()
    again = Toy()
    assert world.extract(again).computed == 0
    assert again.batches == []
    assert not hasattr(again, "loaded_on")


def test_new_tracks_are_appended(world: World) -> None:
    world.extract()
    before = world.table()
    world.add("a new one", level=0.7)  # sorts before all others
    (world.music / "t3.wav").unlink()
    with pytest.raises(MusicrecError, match="1 new tracks of trackid_sorted.csv have no row yet: python extract.py"):
        Toy().table(world.workspace, world.tracks())
    embedding = Toy()
    assert world.extract(embedding).computed == 1
    assert embedding.batches == [[1600]]
    np.testing.assert_array_equal(world.table()[:10], before)
    np.testing.assert_allclose(world.table()[10, 0], 0.7, rtol=1e-6)
    assert (world.info()["tracks"], world.known[10]) == (11, "a new one")


def test_a_mended_file_is_tried_again(world: World) -> None:
    world.add("short", seconds=0.05)
    world.extract()
    assert world.extract().computed == 0
    world.add("short", seconds=0.2)
    assert world.extract().computed == 1
    assert world.info()["failed"] == world.info()["failed_files"] == {}
    assert np.isfinite(world.table()).all()


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        (Toy(scale=2.0), "scale=1.0 (now scale=2.0)"),
        (Toy(max_seconds=0.1), "max_seconds=null (now max_seconds=0.1)"),
        (Toy(max_seconds=0.1, pad=True), "max_seconds=null (now max_seconds=0.1), pad=false (now pad=true)"),
    ],
)
def test_other_settings_are_refused(world: World, changed: Toy, difference: str) -> None:
    world.extract()
    for action in (lambda: world.extract(changed), lambda: changed.table(world.workspace, world.tracks())):
        with pytest.raises(MusicrecError) as error:
            action()
        assert difference in str(error.value)
        assert "extract.overwrite=true" in str(error.value)
    world.extract(changed, overwrite=True)
    assert world.info()["settings"] == changed.settings()


def test_other_precision_weights_or_index_are_refused(world: World) -> None:
    world.extract()
    with pytest.raises(MusicrecError, match=r"precision=fp32 \(now precision=bf16\)"):
        world.extract(precision="bf16")
    world.add("new")
    with pytest.raises(MusicrecError, match="extracted with checkpoint_sha256="):
        world.extract(Toy(version="2"))
    world.known = world.known[::-1]
    with pytest.raises(MusicrecError, match="was made with another trackid_sorted.csv"):
        world.extract()


def test_a_checkpoint_matters_only_if_given(world: World) -> None:
    world.extract(Toy(checkpoint="/models/one"))
    assert len(Toy().table(world.workspace, world.tracks())) == 10
    with pytest.raises(MusicrecError, match=r"checkpoint=/models/one \(now checkpoint=/models/two\)"):
        Toy(checkpoint="/models/two").table(world.workspace, world.tracks())


def test_a_foreign_table_is_read_but_not_added_to(world: World, caplog: pytest.LogCaptureFixture) -> None:
    path = world.workspace.embedding("toy")
    path.parent.mkdir(parents=True)
    np.save(path, np.ones((10, 3)))
    with caplog.at_level(logging.WARNING):
        assert Toy().table(world.workspace, world.tracks()).dtype == np.float32
    assert "has no toy.json" in caplog.text
    with pytest.raises(MusicrecError, match="was not made by extract.py"):
        world.extract()
    world.extract(overwrite=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "fp8"}, "extract.precision=fp8 is not supported by toy; allowed: fp32, bf16, fp16"),
        ({"device": "tpu"}, "extract.device=tpu is unknown; allowed: auto, cpu, cuda"),
        ({"batch_size": 0}, "extract.batch_size=0 is invalid; must be at least 1"),
        ({"num_workers": "many"}, "extract.num_workers=many is invalid; must be auto or a number"),
        ({"shard": 2, "num_shards": 2}, "extract.shard=2 is invalid; must be between 0 and extract.num_shards - 1 = 1"),
    ],
)
def test_wrong_options(world: World, options: dict[str, Any], message: str) -> None:
    with pytest.raises(MusicrecError, match=message):
        world.extract(**options)


def test_batches_have_equal_length_and_stay_in_their_chunk(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # A GPU gets batches; the lengths are 1600, 2000, 2400 in turn, the chunks hold 8 tracks.
    monkeypatch.setattr(job, "torch_device", lambda device: "cuda")
    embedding = Toy()
    world.extract(embedding)
    assert embedding.batches == [[1600, 1600], [2000, 2000], [2400, 2400], [1600], [2000], [2400], [1600]]


def interrupted(world: World, after: int, **options: Any) -> None:
    """Extracts until the model has seen `after` batches, then fails as a lost GPU does."""

    class Failing(Toy):
        def embed(self, waves: list[np.ndarray]) -> np.ndarray:
            if len(self.batches) >= after:
                raise RuntimeError("CUDA error: device lost")
            return super().embed(waves)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on a CPU, batches are embedded in order only by a single thread
    try:
        with pytest.raises(RuntimeError, match="device lost"):
            world.extract(Failing(), **options)
    finally:
        torch.set_num_threads(threads)


def test_interrupted_and_continued_gives_the_same_bytes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "_COMMIT_SECONDS", 0.0)
    monkeypatch.setattr(job, "torch_device", lambda device: "cuda")
    world.extract()
    expected = world.workspace.embedding("toy").read_bytes()
    interrupted(world, after=5, overwrite=True)
    assert world.workspace.embedding("toy").read_bytes() == expected  # the old table stays until the new one is whole
    embedding = Toy()
    assert world.extract(embedding, batch_size=3).computed == 2  # another batch size does not move the chunks
    assert embedding.batches == [[2400], [1600]]
    assert world.workspace.embedding("toy").read_bytes() == expected
    assert world.files() == ["toy.json", "toy.npy"]


def test_parts_of_an_earlier_version_are_resumed(world: World) -> None:
    """`plan.json` and a part as they were written before `Plan` existed."""
    tracks = world.tracks()
    folder = world.workspace.embedding("toy").with_suffix(".parts")
    folder.mkdir(parents=True)
    plan = {
        "settings": Toy().settings(),
        "precision": "fp32",
        "resampler": "soxr",
        "tracks": 10,
        "tracks_hash": tracks.fingerprint(),
        "num_shards": 1,
        "chunk": 1,
        "fresh": False,
        "checkpoint_sha256": Toy().checkpoint_hash(),
    }
    (folder / "plan.json").write_text(json.dumps(plan))
    about = {
        "failed": {"t1": "empty file (0 bytes)"},
        "failed_files": {"t1": [0, 0]},
        "silent": ["t0"],
        "damaged": {},
        "seconds": {"decode": 0.1, "total": 0.5},
        "audio_seconds": 0.2,
        "device": "cpu",
    }
    np.savez(
        folder / "000000000.npz",
        rows=np.array([0]),
        vectors=np.array([[7, 8, 9]], dtype=np.float32),
        failed_rows=np.array([1]),
        about=np.frombuffer(json.dumps(about).encode(), dtype=np.uint8),
    )
    report = world.extract()
    assert (report.computed, report.silent, report.failed) == (8, ["t0"], {"t1": "empty file (0 bytes)"})
    np.testing.assert_array_equal(world.table()[:2], [[7, 8, 9], [np.nan] * 3])
    np.testing.assert_allclose(world.table()[2:, 0], levels(10)[2:], rtol=1e-6)


def test_a_plan_that_lacks_entries_is_refused_in_one_line(world: World) -> None:
    interrupted(world, after=3)
    plan = world.workspace.embedding("toy").with_suffix(".parts") / "plan.json"
    plan.write_text('{"chunk": 1}')
    np.savez(plan.with_name("000000000.npz"), rows=np.array([0]), failed_rows=np.array([1]))
    with pytest.raises(MusicrecError, match=r"precision=unknown \(now precision=fp32\).*extract.overwrite=true"):
        world.extract()
    assert world.extract(overwrite=True).computed == 10


def test_a_damaged_part_is_made_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "_COMMIT_SECONDS", 0.0)
    interrupted(world, after=9)
    parts = sorted(world.workspace.embedding("toy").with_suffix(".parts").glob("*.npz"))
    assert len(parts) == 9
    parts[0].write_bytes(parts[0].read_bytes()[:100])
    assert world.extract().computed == 2
    np.testing.assert_allclose(world.table()[:, 0], levels(10), rtol=1e-6)


def test_an_unfinished_extraction_refuses_other_settings(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "_COMMIT_SECONDS", 0.0)
    interrupted(world, after=9)
    with pytest.raises(MusicrecError, match=r"scale=1.0 \(now scale=2.0\)"):
        world.extract(Toy(scale=2.0))
    assert world.extract(Toy(scale=2.0), overwrite=True).computed == 10


def test_started_anew_and_killed_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.extract()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Toy, "load", interrupt)
        world.extract(overwrite=True)
    assert len(world.table()) == 10
    assert world.extract().computed == 10  # the old table does not count as the new one
    monkeypatch.setattr(job, "_COMMIT_SECONDS", 0.0)
    interrupted(world, after=3, overwrite=True)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Plan, "new", interrupt)  # between throwing away and the new plan
        world.extract(overwrite=True)
    assert world.extract().computed == 10
    assert world.extract().computed == 0


def interrupt(*args: Any, **options: Any) -> None:
    raise KeyboardInterrupt


def test_killed_while_merging(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    path = world.workspace.embedding("toy")
    for step in ("write_info", "writing"):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(store, step, interrupt)
            world.extract(overwrite=True)
        (path.parent / ".tmp-1-toy.npy").write_bytes(b"left by a kill")
        assert world.extract().computed == 0  # what was finished is not done again
        assert len(Toy().table(world.workspace, world.tracks())) == 10
        assert world.files() == ["toy.json", "toy.npy"]
        assert not list(path.parent.glob(".tmp-*"))
        path.unlink()


def test_removed_tracks_are_reported_and_keep_their_rows(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.add("short", seconds=0.05)
    world.extract()
    before = world.table()
    for track in ("t3", "t5", "short"):
        (world.music / f"{track}.wav").unlink()
    with caplog.at_level(logging.WARNING):
        assert world.extract().removed == ["t3", "t5"]  # the other one never had a vector
    assert "2 tracks no longer have a file, their rows are kept: t3, t5" in caplog.text
    np.testing.assert_array_equal(world.table(), before)


def test_the_resampler_is_part_of_the_identity(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    halves: list[str] = []

    def on_device(device: str) -> Any:
        halves.append(device)
        return lambda wave, rate, sample_rate: wave[::2]

    monkeypatch.setattr("musicrec.audio.resample.on_device", on_device)
    world.extract()
    assert world.info()["resampler"] == "soxr"
    with pytest.raises(MusicrecError, match=r"resampler=soxr \(now resampler=torchaudio\)"):
        world.extract(resampler="torchaudio")
    world.extract(resampler="torchaudio", overwrite=True)
    assert halves == ["cpu"]
    assert world.table()[0, 1] == 800  # the wave reaches it at the file's own rate
    world.add("new")
    world.extract()  # auto stays with what the other rows were made by
    assert world.table()[10, 1] == 800
    with pytest.raises(MusicrecError, match="extract.precision=bf16 is not supported by mfcc; allowed: fp32"):
        world.extract(MFCC(), precision="bf16")


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]])
def test_shards_give_the_same_bytes_and_the_last_one_merges(world: World, order: list[int]) -> None:
    world.extract()
    expected = world.workspace.embedding("toy").read_bytes()
    for shard in order:
        assert (world.workspace.embedding("toy").read_bytes() == expected) is True
        report = world.extract(shard=shard, num_shards=3, overwrite=True)
        assert report.complete == (shard == order[-1])
    assert world.workspace.embedding("toy").read_bytes() == expected
    assert world.files() == ["toy.json", "toy.npy"]
    assert world.extract(shard=0, num_shards=3).computed == 0


def test_a_missing_shard_is_named(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        world.extract(shard=0, num_shards=3)
    assert "still missing: shard 1 of 3 (3 tracks); shard 2 of 3 (3 tracks)" in caplog.text
    with pytest.raises(MusicrecError) as error:
        world.extract()
    assert "missing: shard 1 of 3 (3 tracks); shard 2 of 3 (3 tracks)" in str(error.value)
    assert "extract.shard=1 extract.num_shards=3" in str(error.value)
    with pytest.raises(MusicrecError, match=r"was started with num_shards=3 \(now 2\)"):
        world.extract(shard=0, num_shards=2)
    world.extract(shard=2, num_shards=3)
    assert world.extract(shard=1, num_shards=3).complete
    np.testing.assert_allclose(world.table()[:, 0], levels(10), rtol=1e-6)


def test_a_run_for_everything_can_be_continued_in_shards(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "_COMMIT_SECONDS", 0.0)
    interrupted(world, after=5)
    computed = [world.extract(shard=shard, num_shards=2).computed for shard in range(2)]
    assert sum(computed) == 5
    np.testing.assert_allclose(world.table()[:, 0], levels(10), rtol=1e-6)


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from tests.embeddings.extraction.toy import Toy
from musicrec.audio.library import scan
from musicrec.embeddings.extraction import extract as extraction
from musicrec.embeddings.extraction import job
from musicrec.workspace import TrackIndex, Workspace
job._COMMIT_SECONDS = 0.0
files = scan({music!r})
report = extraction.extract(
    Toy(delay=float(sys.argv[1])), Workspace(Path({workspace!r})), TrackIndex(sorted(files)), files,
    device="cpu", num_workers=1, batch_size=1,
)
print(report.computed)
"""


def process(world: World, delay: float) -> subprocess.Popen[str]:
    script = SCRIPT.format(
        tests=str(Path(__file__).parents[3]), music=str(world.music), workspace=str(world.workspace.root)
    )
    return subprocess.Popen(
        [sys.executable, "-c", script, str(delay)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def wait_for_part(world: World) -> None:
    parts = world.workspace.embedding("toy").with_suffix(".parts")
    deadline = time.monotonic() + 60
    while not list(parts.glob("[0-9]*.npz")):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_killed_and_started_again(world: World) -> None:
    world.extract()
    expected = world.workspace.embedding("toy").read_bytes()
    world.workspace.embedding("toy").unlink()
    world.workspace.embedding_info("toy").unlink()
    with process(world, delay=60) as first:
        wait_for_part(world)
        with process(world, delay=0) as second:
            assert second.wait() == 1
            assert second.stderr is not None
            assert "another process extracts it right now" in second.stderr.read()
        first.send_signal(signal.SIGKILL)
        assert first.wait() == -signal.SIGKILL
    assert not world.workspace.embedding("toy").exists()
    with process(world, delay=0) as third:
        output, errors = third.communicate()
        assert third.returncode == 0, errors
        assert 0 < int(output) < 10
    assert world.workspace.embedding("toy").read_bytes() == expected


def test_random_and_precomputed_are_written_too(world: World) -> None:
    world.extract(Random(dim=5, seed=3))
    np.testing.assert_array_equal(world.table("random"), Random(dim=5, seed=3).table(world.workspace, world.tracks()))
    assert world.info("random")["settings"] == {"model": "Random", "dim": 5, "seed": 3}
    world.extract(Random(dim=5, seed=3))
    with pytest.raises(MusicrecError, match=r"seed=3 \(now seed=4\)"):
        world.extract(Random(dim=5, seed=4))
    source = world.workspace.root / "mine.npz"
    np.savez(source, ids=np.array(["t1", "t0"]), vectors=np.eye(2))
    report = world.extract(Precomputed(name="mine", path=str(source)))
    assert len(report.failed) == 8
    np.testing.assert_array_equal(world.table("mine")[:2], [[0, 1], [1, 0]])
    assert np.isnan(world.table("mine")[2:]).all()
    np.savez(source, ids=np.array(["t1", "t0"]), vectors=np.array([[1.0, -np.inf], [0.0, 1.0]]))
    report = world.extract(Precomputed(name="infinite", path=str(source)))
    assert report.failed["t1"] == "its vector holds NaN or infinite values"
    assert np.isnan(world.table("infinite")[1]).all()


def test_musicnn_from_files_to_table(tmp_path: Path) -> None:
    files = scan(CLIPS)
    tracks = TrackIndex(sorted(files))
    workspace = Workspace(tmp_path)
    report = extract(MusicNN(), workspace, tracks, files, device="cpu")
    assert report.failed == {}
    table = MusicNN().table(workspace, tracks)
    for track, vector in zip(tracks.ids, table, strict=True):
        with np.load(CLIPS / f"{track}.npz") as golden:
            assert np.abs(vector - golden["msd.mean_penultimate"]).max() <= 1e-4
    info = store.read_info(workspace.embedding_info("musicnn"))
    assert info is not None
    assert (info.dim, info.model) == (200, "MusicNN")


def test_mfcc_from_files_to_table(tmp_path: Path) -> None:
    files = scan(CLIPS)
    extract(MFCC(), Workspace(tmp_path), TrackIndex(sorted(files)), files, device="cpu", num_workers=0)
    table = np.load(Workspace(tmp_path).embedding("mfcc"))
    assert table.shape == (3, 104)
    assert np.isfinite(table).all()
