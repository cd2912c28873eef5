"""Listeners of the demo world and their log.

Three things decide what they play. Each of them can be found by another kind of recommender:

- Taste: a listener likes three styles, which can be heard in the audio. Fans of one style tend to like a certain second
  one, and well-produced tracks are played more; both need audio and the log together.
- Scenes: every track belongs to a scene (a label, a radio show), independent of its sound. Each listener has a home
  scene. Scenes show only in the log.
- Order: the scenes form a circle. While listening, all listeners move on to the next scene in the same direction. So
  the latest plays predict the next one, and an unordered history does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from musicrec.columns import TIMESTAMP, TRACK, USER

# First instant of the log and of its held-out last month, and its end: the dates of the 2024 study.
START = datetime(2019, 2, 20)
TEST = datetime(2020, 2, 20)
END = datetime(2020, 3, 20)

# Number of tracks new to the listener in the year and in the month after it (fewer in a small catalogue).
_YEAR_TRACKS = (30, 45)
_MONTH_TRACKS = (10, 20)
_SCENE_SIZE = 48  # approximate number of tracks

# Why a track is played: it fits the taste, and it may have to be from the home scene or from the current scene.
_FROM_ANYWHERE = 0.3
_FROM_HOME = 0.2
_STAY = 8.0  # mean number of plays before moving on to the next scene
_LEAP = 0.1  # share of those moves that go to a random scene instead

# Taste for the first, second and third style, and for each of the others.
_STYLE_TASTE = (0.36, 0.32, 0.26)
_OTHER_TASTE = 0.004

# Standard deviation of a track's log popularity that production explains, and of the rest.
_PRODUCTION_APPEAL = 0.9
_OTHER_APPEAL = 0.6

# Share of the listeners who play no release, and how many tracks the others play.
_NO_NEW_TRACKS = 0.4
_NEW_TRACKS = (2, 5)

_SESSION_TRACKS = 6  # approximate number of new tracks per session
_REPEATS = 0.9  # mean number of later plays of a track


@dataclass(frozen=True)
class Catalogue:
    """The tracks as listeners see them.

    Attributes:
        styles: (tracks,) int64 number of the style.
        scenes: (tracks,) int64 number of the scene.
        appeal: (tracks,) float64 log of how often a track is played, all else being equal.
    """

    styles: np.ndarray
    scenes: np.ndarray
    appeal: np.ndarray


@dataclass(frozen=True)
class Releases:
    """Tracks that come out in the last month, and the source of randomness of who plays them.

    Attributes:
        styles: (tracks,) int64 number of the style.
        appeal: (tracks,) float64 log of how often a track is played, all else being equal.
        rng: its own, so that all other plays are the same with and without releases.
    """

    styles: np.ndarray
    appeal: np.ndarray
    rng: np.random.Generator


def make_catalogue(styles: np.ndarray, production: np.ndarray, rng: np.random.Generator) -> Catalogue:
    """Returns the tracks, with scenes spread evenly over each style and appeal that grows with production.

    Args:
        styles: (tracks,) number of the style.
        production: (tracks,) quality of the recording, uniform in 0…1.
        rng: source of randomness.
    """
    count = max(3, round(len(styles) / _SCENE_SIZE))
    scenes = np.empty(len(styles), dtype=np.int64)
    for style in np.unique(styles):
        members = np.flatnonzero(styles == style)
        scenes[members] = rng.permutation((np.arange(len(members)) + rng.integers(count)) % count)
    return Catalogue(styles, scenes, _appeal(production, rng))


def make_releases(styles: np.ndarray, production: np.ndarray, rng: np.random.Generator) -> Releases:
    """Returns tracks of the last month; see `make_catalogue` for the arguments."""
    return Releases(styles, _appeal(production, rng), rng)


def _appeal(production: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    of_production: np.ndarray = _PRODUCTION_APPEAL * np.sqrt(12.0) * (production - 0.5)
    return of_production + _OTHER_APPEAL * rng.standard_normal(len(production))


def listen(
    catalogue: Catalogue, listeners: int, rng: np.random.Generator, releases: Releases | None = None
) -> pd.DataFrame:
    """Returns the plays, sorted by user and time: user_id (from 1), track_id (index in the catalogue), timestamp.

    First plays of tracks follow taste, scene and order (see above), in sessions spread over the year and the month
    after it. Tracks are played again later. A track of `releases` has the index after those of the catalogue; some
    listeners play a few of them in the last month, by taste alone.
    """
    most = len(catalogue.styles) // 2
    share = min(1.0, most / (_YEAR_TRACKS[1] + _MONTH_TRACKS[1]))
    in_year = np.maximum(1, share * rng.integers(*_YEAR_TRACKS, size=listeners, endpoint=True)).astype(np.int64)
    in_month = np.maximum(1, share * rng.integers(*_MONTH_TRACKS, size=listeners, endpoint=True)).astype(np.int64)
    taste = _style_taste(int(catalogue.styles.max()) + 1, listeners, rng)
    walks = _walk(catalogue, taste, int((in_year + in_month).max()), rng)
    year = int((TEST - START).total_seconds())
    whole = int((END - START).total_seconds())
    users, tracks, seconds = [], [], []
    for user in range(listeners):
        early = _session_times(in_year[user], 0, year, rng)
        late = _session_times(in_month[user], year, whole, rng)
        first = np.concatenate((early, late))
        walk = walks[user, : len(first)]
        again = rng.geometric(1.0 / (1.0 + _REPEATS), size=len(first)) - 1
        later = np.repeat(first, again) + rng.exponential(30 * 86400, size=again.sum()).astype(np.int64) + 3600
        kept = later < whole
        users.append(np.full(len(first) + int(kept.sum()), user + 1))
        tracks.append(np.concatenate((walk, np.repeat(walk, again)[kept])))
        seconds.append(np.concatenate((first, later[kept])))
    if releases is not None and len(releases.styles):
        for user, new in enumerate(_new_tracks(releases, taste)):
            users.append(np.full(len(new), user + 1))
            tracks.append(len(catalogue.styles) + new)
            seconds.append(np.sort(releases.rng.integers(year, whole, size=len(new))))
    stamps = np.datetime64(START, "s") + np.concatenate(seconds).astype("timedelta64[s]")
    plays = pd.DataFrame({USER: np.concatenate(users), TRACK: np.concatenate(tracks), TIMESTAMP: stamps})
    return plays.sort_values([USER, TIMESTAMP, TRACK], ignore_index=True)


def _new_tracks(releases: Releases, taste: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the releases that each listener plays, drawn by taste and appeal without replacement; often none."""
    for likes in taste:
        count = min(int(releases.rng.integers(*_NEW_TRACKS, endpoint=True)), len(releases.styles))
        if releases.rng.random() < _NO_NEW_TRACKS:
            count = 0
        rates = likes[releases.styles] * np.exp(releases.appeal)
        yield np.argsort(releases.rng.standard_exponential(len(rates)) / rates)[:count]


def _walk(catalogue: Catalogue, taste: np.ndarray, steps: int, rng: np.random.Generator) -> np.ndarray:
    """Returns (listeners, steps) int64, the tracks new to each listener in order of their first play.

    All listeners take each step together. The next track is the first arrival among exponential arrival times whose
    rates are the weights w, so track i has probability w_i / sum(w).
    """
    listeners, tracks = len(taste), len(catalogue.styles)
    scenes = int(catalogue.scenes.max()) + 1
    everyone = np.arange(listeners)
    weights = (taste[:, catalogue.styles] * np.exp(catalogue.appeal)).astype(np.float32)
    home = rng.integers(scenes, size=listeners)
    current = rng.integers(scenes, size=listeners)
    walks = np.empty((listeners, steps), dtype=np.int64)
    for step in range(steps):
        moves = rng.random(listeners) < 1.0 / _STAY
        leaps = rng.random(listeners) < _LEAP
        current = np.where(
            moves, np.where(leaps, rng.integers(scenes, size=listeners), (current + 1) % scenes), current
        )
        why = rng.random(listeners)
        scene = np.where(why < _FROM_HOME, home, current)
        open_to = (scene[:, None] == catalogue.scenes) | (why > 1.0 - _FROM_ANYWHERE)[:, None]
        # A listener who has played all of a scene may choose from the whole catalogue.
        open_to |= ~np.any(open_to & (weights > 0), axis=1, keepdims=True)
        arrivals = rng.standard_exponential((listeners, tracks), dtype=np.float32)
        with np.errstate(divide="ignore", invalid="ignore"):
            arrivals /= np.where(open_to, weights, np.float32(0))
        walks[:, step] = np.argmin(arrivals, axis=1)
        # Played tracks get no weight, so each track is new to the listener.
        weights[everyone, walks[:, step]] = 0
    return walks


def _style_taste(styles: int, listeners: int, rng: np.random.Generator) -> np.ndarray:
    """Returns (listeners, styles) > 0, how much each listener likes the tracks of each style."""
    everyone = np.arange(listeners)
    # The companion of each style is the next one in a random circle of all styles.
    circle = rng.permutation(styles)
    companion = np.empty(styles, dtype=np.int64)
    companion[circle] = np.roll(circle, -1)
    first = rng.integers(styles, size=listeners)
    taste = np.full((listeners, styles), _OTHER_TASTE)
    for share, liked in zip(_STYLE_TASTE, (first, companion[first], rng.integers(styles, size=listeners)), strict=True):
        taste[everyone, liked] += share
    return taste


def _session_times(tracks: int, start: int, end: int, rng: np.random.Generator) -> np.ndarray:
    """Returns (tracks,) increasing times of plays in [start, end), in s: random sessions with plays minutes apart."""
    sessions = max(1, round(tracks / _SESSION_TRACKS))
    # Each session lies within its own part of the period, so sessions keep their order.
    width = (end - start) // sessions
    lengths = np.diff(np.linspace(0, tracks, sessions + 1).round().astype(np.int64))
    times = []
    for session, length in enumerate(lengths):
        gaps = rng.integers(150, 330, size=length)
        latest = max(1, width - int(gaps.sum()))
        times.append(start + session * width + rng.integers(latest) + np.cumsum(gaps) - gaps[0])
    return np.concatenate(times)
