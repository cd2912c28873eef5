"""DemoSource: synthetic music and listeners, so that everything can be run without real data."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import soundfile
from annotated_types import Ge, Le

from musicrec.columns import TIMESTAMP, TRACK
from musicrec.data.demo.listeners import listen, make_catalogue, make_releases
from musicrec.data.demo.music import STYLES, compose, render
from musicrec.data.filters import Filters
from musicrec.data.log.formats import LogSettings
from musicrec.data.source import DataSource, SideFiles
from musicrec.data.splits.settings import SplitSettings
from musicrec.errors import MusicrecError, first_line
from musicrec.files import atomic_path, write_json
from musicrec.system import usable_cpus
from musicrec.values import FileName, Fraction, Memory, Seed
from musicrec.workspace import Workspace

log = logging.getLogger(__name__)

# Raise it when the same settings and seed give other music or another log.
_VERSION = 2

# Extension, container and sample format of the files, and sample rate (Hz) and channels, each used in turn. The lengths
# of the two lists are coprime, so every file type occurs at every rate. Formats that are cheap to
# write occur more often.
_WAV, _FLAC = ("wav", "WAV", "PCM_16"), ("flac", "FLAC", "PCM_16")
_FILE_TYPES = (
    *(_WAV, _FLAC, ("mp3", "MP3", "MPEG_LAYER_III"), _WAV, _FLAC, ("flac", "FLAC", "PCM_24"), _WAV, _FLAC),
    *(_WAV, ("ogg", "OGG", "VORBIS"), _FLAC, ("wav", "WAV", "PCM_24"), _WAV, _FLAC, ("wav", "WAV", "FLOAT"), _FLAC),
)
_RATES = (
    *((16000, 1), (22050, 1), (44100, 2), (16000, 1), (32000, 1), (22050, 2)),
    *((16000, 1), (48000, 1), (22050, 1), (32000, 2), (16000, 2)),
)

# Long enough for one 3-second window of MusicNN and too short for two, which keeps extraction fast.
_SECONDS = (3.2, 3.6)

# Keys of the random streams of a world.
_PRODUCTION, _TRACK, _CATALOGUE, _LISTENERS, _RELEASES = range(5)

# Folder of the tracks that come out in the last month. It sorts after all styles, so that the other tracks
# have the same idx, and therefore the same results, with and without it.
_NEW = "upcoming"


@dataclass(frozen=True)
class _Track:
    """An audio file of the demo world."""

    number: int
    track_id: str
    style: int
    file_type: tuple[str, str, str]
    sample_rate: int
    channels: int

    @property
    def file_name(self) -> str:
        """Returns the path below the audio folder."""
        return f"{self.track_id}.{self.file_type[0]}"


class DemoSource(DataSource):
    """Music and log of the demo world, made in the workspace by the first step that needs them.

    Seed and settings determine every file. So an interrupted run is resumed, and existing files are not made again. A
    workspace holds one world, recorded in demo.json.
    """

    def __init__(
        self,
        name: FileName = "demo",
        seed: Seed | None = None,
        tracks_per_style: Annotated[int, Ge(1), Le(100_000)] = 54,
        listeners: Annotated[int, Ge(1), Le(100_000_000)] = 1000,
        new_tracks: Fraction = 0.1,
        *,
        log: LogSettings = LogSettings("table"),
        splits: SplitSettings = SplitSettings(start="2019-02-20", test="2020-02-20"),
        filters: Filters = Filters(),
        audio_dir: str | Path | None = None,
        plays: str | Path | Sequence[str | Path] | None = None,
        side_files: SideFiles = SideFiles(),
        make_missing: bool = True,
        memory_limit: Memory = "4GB",
    ):
        """Stores the settings.

        Args:
            name: names the workspace.
            seed: seed of the world. None: the seed of the run that makes the world. Later runs with any seed use that
                world, so that a sweep over seeds compares recommenders on the same data.
            tracks_per_style: number of tracks in each of the sixteen styles.
            listeners: number of users in the log.
            new_tracks: tracks that come out in the last month, as a fraction of the others; nobody plays them before,
                so they are the cold tracks of `split=hot_cold`. All other splits are the same with and without them.
            log: how the log is read.
            splits: how it is split; the dates are those of the world.
            filters: which plays are split.
            audio_dir: None, because the music is made.
            plays: None, because the log is made.
            side_files: what else is known of tracks and users.
            make_missing: whether train.py may run the earlier stages itself.
            memory_limit: memory of prepare.py.

        Raises:
            MusicrecError: for audio or a log of one's own, or a world without tracks or listeners.
        """
        super().__init__(
            name,
            audio_dir,
            plays,
            log=log,
            splits=splits,
            filters=filters,
            side_files=side_files,
            make_missing=make_missing,
            memory_limit=memory_limit,
        )
        self.seed = seed
        self.tracks_per_style = tracks_per_style
        self.listeners = listeners
        self.new_tracks = new_tracks
        self._refuse_own_data()

    def materialise(self, workspace: Workspace, seed: int) -> None:
        """Makes the files of the world that do not exist yet.

        A workspace with music, a log or a track index but no demo.json belongs to another data source; then nothing is
        made.

        Raises:
            MusicrecError: if the workspace holds a world with another seed or other settings.
        """
        if self._is_foreign(workspace):
            return
        world_seed = self._claim(workspace, seed)
        tracks = self._plan()
        missing = [track for track in tracks if not (self._audio(workspace) / track.file_name).is_file()]
        without_log = not self._plays(workspace).is_file()
        if not missing and not without_log:
            return

        began = time.perf_counter()
        what = f"{len(missing)} clips of music" + (f", {self.listeners} listeners" if without_log else "")
        log.info("making the demo world in %s: %s (seed %d)", workspace.root, what, world_seed)
        _delete_leftovers(self._audio(workspace))
        production = np.random.default_rng([world_seed, _PRODUCTION]).random(len(tracks))
        self._write_audio(workspace, missing, production, world_seed)
        if without_log:
            self._write_plays(workspace, tracks, production, world_seed)
        log.info("made the demo world (%.1f s)", time.perf_counter() - began)

    def audio_path(self, workspace: Workspace) -> Path:
        """Returns the folder of the music."""
        self._check(workspace)
        return self._audio(workspace)

    def has_audio(self, workspace: Workspace) -> bool:
        """Returns True."""
        return True

    def plays_paths(self, workspace: Workspace) -> list[Path]:
        """Returns the listening log."""
        self._check(workspace)
        return [self._plays(workspace)]

    def _audio(self, workspace: Workspace) -> Path:
        return workspace.root / "audio"

    def _plays(self, workspace: Workspace) -> Path:
        return workspace.root / "plays.tsv"

    def _identity(self, workspace: Workspace) -> Path:
        return workspace.root / "demo.json"

    def _refuse_own_data(self) -> None:
        for key, value in (("audio_dir", self.audio_dir), ("plays", self.plays and self.plays[0])):
            if value is not None:
                raise MusicrecError(
                    f"data=demo makes its own music and log, so data.{key}={value} is invalid; "
                    f"for your own data use data=custom data.{key}={value}"
                )

    def _is_foreign(self, workspace: Workspace) -> bool:
        """Returns whether the workspace holds data of another source."""
        others = (self._audio(workspace), self._plays(workspace), workspace.track_index)
        return not self._identity(workspace).is_file() and any(path.exists() for path in others)

    def _check(self, workspace: Workspace) -> None:
        if self._is_foreign(workspace):
            raise MusicrecError(
                f"{workspace.root} holds other data than the demo world (there is no demo.json); name its source "
                "(data=custom …) or use another workspace for the demo world: paths.root=FOLDER"
            )

    def _settings(self, seed: int) -> dict[str, Any]:
        """Returns the settings that determine every byte of the world, by configuration key."""
        sizes = {"tracks_per_style": self.tracks_per_style, "listeners": self.listeners, "new_tracks": self.new_tracks}
        return {"seed": seed, **sizes}

    def _claim(self, workspace: Workspace, seed: int) -> int:
        """Returns the seed of the world in the workspace; if there is none yet, records this seed and the settings."""
        path = self._identity(workspace)
        if not path.is_file():
            world_seed = seed if self.seed is None else self.seed
            write_json(path, {"version": _VERSION, "settings": self._settings(world_seed)})
            return world_seed
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            version, settings = found["version"], dict(found["settings"])
            world_seed = int(settings["seed"])
        except (ValueError, KeyError, TypeError) as error:
            raise MusicrecError(
                f"{path} is damaged ({first_line(error)}): delete {workspace.root} and start again, or use another "
                "workspace: paths.root=FOLDER"
            ) from None
        remedy = f"use another workspace (paths.root=FOLDER), or delete {workspace.root} to make it again"
        if version != _VERSION:
            raise MusicrecError(
                f"{path} is from another version of musicrec (world {version}, now {_VERSION}); {remedy}"
            )
        wanted = self._settings(world_seed if self.seed is None else self.seed)
        different = [
            f"data.{key}={settings.get(key)}, not {value}"
            for key, value in wanted.items()
            if settings.get(key) != value
        ]
        if different:
            raise MusicrecError(f"{workspace.root} holds a demo world with {'; '.join(different)}; {remedy}")
        if self.seed is None and seed != world_seed:
            log.info("the demo world in %s has seed %d; seed=%d is for training", workspace.root, world_seed, seed)
        return world_seed

    def _plan(self) -> list[_Track]:
        """Returns all tracks in the order of their numbers, those of the last month at the end."""
        tracks = []
        old = len(STYLES) * self.tracks_per_style
        for number in range(old + round(self.new_tracks * old)):
            sample_rate, channels = _RATES[number % len(_RATES)]
            if number < old:
                style, index = divmod(number, self.tracks_per_style)
                track_id = f"{STYLES[style].name}/{index + 1:03d}"
            else:
                index, style = divmod(number - old, len(STYLES))
                track_id = f"{_NEW}/{STYLES[style].name}-{index + 1:02d}"
            file_type = _FILE_TYPES[number % len(_FILE_TYPES)]
            tracks.append(_Track(number, track_id, style, file_type, sample_rate, channels))
        return tracks

    def _write_audio(self, workspace: Workspace, tracks: list[_Track], production: np.ndarray, seed: int) -> None:

        def write(track: _Track) -> None:
            rng = np.random.default_rng([seed, _TRACK, track.number])
            piece = compose(STYLES[track.style], float(production[track.number]), float(rng.uniform(*_SECONDS)), rng)
            samples = render(piece, track.sample_rate, track.channels)
            _, container, subtype = track.file_type
            with atomic_path(self._audio(workspace) / track.file_name, durable=False) as path:
                soundfile.write(path, samples, track.sample_rate, format=container, subtype=subtype)

        # Threads suffice, since NumPy and libsndfile release the interpreter lock most of the time.
        with ThreadPoolExecutor(max_workers=usable_cpus()) as pool:
            for _ in pool.map(write, tracks):
                pass

    def _write_plays(self, workspace: Workspace, tracks: list[_Track], production: np.ndarray, seed: int) -> None:

        styles = np.array([track.style for track in tracks])
        old = len(STYLES) * self.tracks_per_style
        catalogue = make_catalogue(styles[:old], production[:old], np.random.default_rng([seed, _CATALOGUE]))
        releases = make_releases(styles[old:], production[old:], np.random.default_rng([seed, _RELEASES]))
        plays = listen(catalogue, self.listeners, np.random.default_rng([seed, _LISTENERS]), releases)
        plays[TRACK] = np.array([track.track_id for track in tracks], dtype=object)[plays[TRACK].to_numpy()]
        plays[TIMESTAMP] = plays[TIMESTAMP].dt.strftime("%Y-%m-%d %H:%M:%S")
        with atomic_path(self._plays(workspace)) as path:
            plays.to_csv(path, sep="\t", index=False, lineterminator="\n")


def _delete_leftovers(folder: Path) -> None:
    """Deletes the temporary files of a killed run; a workspace is used by one stage at a time."""
    for path in folder.glob("*/.tmp-*"):
        path.unlink(missing_ok=True)
