"""The demo world as files: formats, resume, one world per workspace, and what it refuses."""

import hashlib
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from musicrec.audio.library import scan
from musicrec.data.demo.source import DemoSource
from musicrec.data.prepare import prepare
from musicrec.errors import MusicrecError
from musicrec.options import construct, make
from musicrec.workspace import TrackIndex, Workspace


def _small(**options: Any) -> DemoSource:
    settings: dict[str, Any] = {"tracks_per_style": 1, "listeners": 20, "new_tracks": 0.0, **options}
    return construct(DemoSource, settings, "data")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("demo") / "world")
    _small(tracks_per_style=3).materialise(workspace, seed=3)
    return workspace


def _audio(workspace: Workspace) -> list[Path]:
    return sorted(path for path in (workspace.root / "audio").rglob("*") if path.is_file())


def _state(workspace: Workspace) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in workspace.root.rglob("*") if path.is_file()}


def _samples(workspace: Workspace) -> dict[str, str]:
    """Returns a digest of each file's decoded sound; containers hold dates and serial numbers."""
    root = workspace.root / "audio"
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(soundfile.read(path)[0].tobytes()).hexdigest()
        for path in _audio(workspace)
    }


def test_all_formats_and_rates_are_there_and_sound(world: Workspace) -> None:
    files = _audio(world)
    assert len(files) == 16 * 3
    infos = [soundfile.info(path) for path in files]
    assert {(info.format, info.subtype) for info in infos} == {
        ("WAV", "PCM_16"),
        ("WAV", "PCM_24"),
        ("WAV", "FLOAT"),
        ("FLAC", "PCM_16"),
        ("FLAC", "PCM_24"),
        ("OGG", "VORBIS"),
        ("MP3", "MPEG_LAYER_III"),
    }
    assert {info.samplerate for info in infos} == {16000, 22050, 32000, 44100, 48000}
    assert {info.channels for info in infos} == {1, 2}
    for path, info in zip(files, infos, strict=True):
        # One window of MusicNN (2.976 s at 16 kHz), never two (5.968 s).
        assert 3.1 < info.frames / info.samplerate < 3.7
        sound, _ = soundfile.read(path)
        assert np.sqrt(np.mean(sound**2)) > 0.02, path
        # Lossy formats may overshoot the 0.9 of the original a little.
        assert np.abs(sound).max() < 1.0, path


def test_track_ids_of_the_log_are_the_files(world: Workspace) -> None:
    ids = set(scan(world.root / "audio"))
    log = pd.read_csv(world.root / "plays.tsv", sep="\t")
    assert len(ids) == 16 * 3
    assert set(log["track_id"]) <= ids
    assert "ambient/001" in ids


def test_the_log_is_in_the_form_of_music4all_onion(world: Workspace) -> None:
    text = (world.root / "plays.tsv").read_text(encoding="utf-8")
    lines = text.splitlines()
    assert lines[0] == "user_id\ttrack_id\ttimestamp"
    assert all(line.count("\t") == 2 for line in lines)
    log = pd.read_csv(world.root / "plays.tsv", sep="\t")
    stamps = pd.to_datetime(log["timestamp"], format="%Y-%m-%d %H:%M:%S")
    assert stamps.min() >= pd.Timestamp("2019-02-20")
    assert stamps.max() < pd.Timestamp("2020-03-20")
    assert sorted(log["user_id"].unique()) == list(range(1, 21))


def test_the_same_seed_makes_the_same_world_and_another_another(tmp_path: Path) -> None:
    first, again, other = (Workspace(tmp_path / name) for name in ("first", "again", "other"))
    _small().materialise(first, seed=1)
    _small().materialise(again, seed=1)
    _small(seed=2).materialise(other, seed=1)
    assert (first.root / "plays.tsv").read_bytes() == (again.root / "plays.tsv").read_bytes()
    assert _samples(first) == _samples(again)
    assert (first.root / "plays.tsv").read_bytes() != (other.root / "plays.tsv").read_bytes()
    assert not set(_samples(first).values()) & set(_samples(other).values())


def test_a_finished_world_is_not_made_again(world: Workspace) -> None:
    before = _state(world)
    _small(tracks_per_style=3).materialise(world, seed=3)
    assert _state(world) == before


def test_an_interrupted_world_is_continued(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole, broken = Workspace(tmp_path / "whole"), Workspace(tmp_path / "broken")
    _small().materialise(whole, seed=1)
    _small().materialise(broken, seed=1)
    files = _audio(broken)
    for path in files[5:]:
        path.unlink()
    (broken.root / "plays.tsv").unlink()
    leftover = files[0].with_name(f".tmp-1-{files[0].name}")
    leftover.write_bytes(b"half a file")
    kept = {path: path.stat().st_mtime_ns for path in files[:5]}
    with caplog.at_level(logging.INFO):
        _small().materialise(broken, seed=1)
    assert f"{len(files) - 5} clips" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in files[:5]} == kept
    assert not leftover.exists()
    assert _samples(broken) == _samples(whole)
    assert (broken.root / "plays.tsv").read_bytes() == (whole.root / "plays.tsv").read_bytes()


def test_a_file_that_fails_to_be_written_leaves_nothing_half_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(tmp_path / "world")
    write = soundfile.write
    done: list[Path] = []

    def failing(path: Path, *args: Any, **kwargs: Any) -> None:
        if len(done) == 3:
            path.write_bytes(b"half")
            raise OSError("disk full")
        done.append(path)
        write(path, *args, **kwargs)

    monkeypatch.setattr(soundfile, "write", failing)
    with pytest.raises(OSError, match="disk full"):
        _small().materialise(workspace, seed=1)
    monkeypatch.undo()
    assert all(soundfile.info(path).frames > 0 for path in _audio(workspace))
    assert not (workspace.root / "plays.tsv").exists()
    _small().materialise(workspace, seed=1)
    assert len(_audio(workspace)) == 16


def test_a_run_with_another_seed_keeps_the_world(world: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    before = _state(world)
    with caplog.at_level(logging.INFO):
        _small(tracks_per_style=3).materialise(world, seed=4)
    assert _state(world) == before
    assert "has seed 3; seed=4" in caplog.text


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"seed": 4}, "data.seed=3, not 4"),
        ({"listeners": 21}, "data.listeners=20, not 21"),
        ({"tracks_per_style": 8}, "=3, not 8"),
    ],
)
def test_another_world_in_the_same_workspace_is_refused(
    world: Workspace, options: dict[str, Any], difference: str
) -> None:
    before = _state(world)
    with pytest.raises(MusicrecError, match=difference) as refusal:
        _small(**{"tracks_per_style": 3, **options}).materialise(world, seed=3)
    assert "paths.root" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert _state(world) == before


def test_own_data_is_not_touched(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    mine = workspace.root / "audio" / "song.mp3"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    _small().materialise(workspace, seed=0)
    assert _audio(workspace) == [mine]
    assert [path.name for path in tmp_path.iterdir()] == ["audio"]
    for ask in (_small().audio_path, _small().plays_paths):
        with pytest.raises(MusicrecError, match="data=custom"):
            ask(workspace)


@pytest.mark.parametrize("key", ["audio_dir", "plays"])
def test_own_files_are_asked_for_as_custom_data(tmp_path: Path, key: str) -> None:
    with pytest.raises(MusicrecError, match=f"data=custom data.{key}=/music"):
        _small(**{key: "/music"}).materialise(Workspace(tmp_path), seed=0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("key", ["listeners", "tracks_per_style"])
def test_an_empty_world_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(MusicrecError, match=f"data.{key}=0 is invalid; must be a whole number from 1"):
        _small(**{key: 0}).materialise(Workspace(tmp_path), seed=0)


def test_a_broken_identity_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "demo.json").write_text("{}")
    with pytest.raises(MusicrecError, match="demo.json"):
        _small().materialise(Workspace(tmp_path), seed=0)


def test_the_default_configuration_makes_more_than_800_tracks_and_about_a_thousand_listeners(compose: Any) -> None:
    source = make(compose().data, "data")
    assert isinstance(source, DemoSource)
    assert len(source._plan()) >= 800
    assert source.listeners >= 1000
    assert source.make_missing


def test_prepare_finds_train_val_and_test_in_it(world: Workspace) -> None:
    prepare(_small(tracks_per_style=3), world)
    frames = {name: pd.read_parquet(world.split(name)) for name in ("train", "val", "test")}
    assert frames["train"]["user_id"].nunique() == 20
    assert frames["val"]["user_id"].nunique() + frames["test"]["user_id"].nunique() >= 18
    held = pd.concat([frames["val"], frames["test"]])
    assert (held["timestamp"] >= pd.Timestamp("2020-02-20")).all()


def test_releases_change_nothing_else(tmp_path: Path) -> None:
    """A fifth of 48 further tracks: the same music, index and training data besides, and cold tracks for hot_cold."""
    splits = {}
    for new in (0.0, 0.2):
        workspace = Workspace(tmp_path / str(new))
        source = _small(tracks_per_style=3, listeners=60, new_tracks=new)
        source.materialise(workspace, seed=3)
        prepare(source, workspace)
        splits[new] = {name: pd.read_parquet(workspace.split(name)) for name in ("train", "val", "test")}
    for name, frame in splits[0.0].items():
        pd.testing.assert_frame_equal(frame, splits[0.2][name])
    ids = TrackIndex.load(workspace.track_index).ids
    assert len(ids) == 58 and ids[48:] == sorted(ids)[48:] and all(track.startswith("upcoming/") for track in ids[48:])
    prepare(_small(tracks_per_style=3, listeners=60, new_tracks=0.2, split="hot_cold"), workspace)
    cold = pd.read_parquet(workspace.split("cold_test"))
    assert cold.track_id.min() == 48 and 25 <= cold.user_id.nunique() <= 45
    assert len(pd.read_parquet(workspace.split("val"))) > 0
    with pytest.raises(MusicrecError, match="data.new_tracks=2 is invalid; must be a finite number from 0 to 1"):
        _small(new_tracks=2).materialise(Workspace(tmp_path / "none"), seed=0)
