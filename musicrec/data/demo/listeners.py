"""Listeners of the demo world and their log.

What they play is ruled by three things, each of which another kind of recommender can find:

- taste: a listener likes three styles, which the audio tells; lovers of one style tend to like a certain other one, and
  well-produced tracks are played more, which shows in the audio only once it is known what listeners do;
- scenes: every track belongs to a scene (a label, a radio show), independent of how it sounds. Each listener has a home
  scene. Only the log tells scenes;
- order: the scenes lie on a circle. While they listen, all listeners wander on to the next scene of it in the same
  direction, so the latest plays tell what is played next, and an unordered history does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

# First instant of the log, of its held-out last month, and its end: the dates of the study.
START = datetime(2019, 2, 20)
TEST = datetime(2020, 2, 20)
END = datetime(2020, 3, 20)

# Tracks new to the listener: in the year, and in the month after it. Fewer where the catalogue is small.
_YEAR_TRACKS = (30, 45)
_MONTH_TRACKS = (10, 20)
_SCENE_SIZE = 48  # tracks, about

# Why a track is played: it fits the taste (from anywhere), it is also of the home scene, or of where one has come to.
_FROM_ANYWHERE = 0.3
_FROM_HOME = 0.2
_STAY = 8.0  # plays until one wanders on to the next scene, on average
_LEAP = 0.1  # part of those moves that go to any scene instead

# Taste of the first, second and third style; every other one keeps a little.
_STYLE_TASTE = (0.36, 0.32, 0.26)
_OTHER_TASTE = 0.004

# Spread of the log of a track's popularity that production explains, and of the rest.
_PRODUCTION_APPEAL = 0.9
_OTHER_APPEAL = 0.6

_SESSION_TRACKS = 6  # new tracks, about
_REPEATS = 0.9  # later plays of a track that was played once, on average


@dataclass(frozen=True)
class Catalogue:
    """What listeners know of the tracks; all arrays are (tracks,).

    Attributes:
        styles: int64, number of the style.
        scenes: int64, number of the scene.
        appeal: float64, log of how often a track is played, all else equal.
    """

    styles: np.ndarray
    scenes: np.ndarray
    appeal: np.ndarray


def make_catalogue(styles: np.ndarray, production: np.ndarray, rng: np.random.Generator) -> Catalogue:
    """Returns the tracks with scenes spread evenly over every style and with appeal that grows with production.

    Args:
        styles: (tracks,) number of the style.
        production: (tracks,) quality of the recording, uniform in 0 … 1.
        rng: draws the rest.
    """
    count = max(3, round(len(styles) / _SCENE_SIZE))
    scenes = np.empty(len(styles), dtype=np.int64)
    for style in np.unique(styles):
        members = np.flatnonzero(styles == style)
        scenes[members] = rng.permutation((np.arange(len(members)) + rng.integers(count)) % count)
    appeal = _PRODUCTION_APPEAL * np.sqrt(12.0) * (production - 0.5) + _OTHER_APPEAL * rng.standard_normal(len(styles))
    return Catalogue(styles, scenes, appeal)


def listen(catalogue: Catalogue, listeners: int, rng: np.random.Generator) -> pd.DataFrame:
    """Returns the log, sorted by user and time: user_id from 1, track_id = position in the catalogue, timestamp.

    A listener's first plays of tracks follow taste, scene and order (see above), in sessions spread over the year and
    the month after it; tracks are also played again later.
    """
    import pandas as pd

    from musicrec.columns import TIMESTAMP, TRACK, USER

    most = len(catalogue.styles) // 2
    share = min(1.0, most / (_YEAR_TRACKS[1] + _MONTH_TRACKS[1]))
    in_year = np.maximum(1, share * rng.integers(*_YEAR_TRACKS, size=listeners, endpoint=True)).astype(np.int64)
    in_month = np.maximum(1, share * rng.integers(*_MONTH_TRACKS, size=listeners, endpoint=True)).astype(np.int64)
    walks = _walk(catalogue, listeners, int((in_year + in_month).max()), rng)
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
    stamps = np.datetime64(START, "s") + np.concatenate(seconds).astype("timedelta64[s]")
    log = pd.DataFrame({USER: np.concatenate(users), TRACK: np.concatenate(tracks), TIMESTAMP: stamps})
    return log.sort_values([USER, TIMESTAMP, TRACK], ignore_index=True)


def _walk(catalogue: Catalogue, listeners: int, steps: int, rng: np.random.Generator) -> np.ndarray:
    """Returns the tracks new to each listener in the order in which they are first played, (listeners, steps) int64.

    All listeners take each step together. Track i of weight w_i is drawn as the first to arrive of exponential arrival
    times with rates w, which has probability w_i / sum(w).
    """
    tracks = len(catalogue.styles)
    scenes = int(catalogue.scenes.max()) + 1
    everyone = np.arange(listeners)
    weights = _taste(catalogue, listeners, rng).astype(np.float32)
    home = rng.integers(scenes, size=listeners)
    place = rng.integers(scenes, size=listeners)
    walks = np.empty((listeners, steps), dtype=np.int64)
    for step in range(steps):
        moves = rng.random(listeners) < 1.0 / _STAY
        leaps = rng.random(listeners) < _LEAP
        place = np.where(moves, np.where(leaps, rng.integers(scenes, size=listeners), (place + 1) % scenes), place)
        why = rng.random(listeners)
        scene = np.where(why < _FROM_HOME, home, place)
        open_to = (scene[:, None] == catalogue.scenes) | (why > 1.0 - _FROM_ANYWHERE)[:, None]
        # A scene heard to its end leaves the whole catalogue.
        open_to |= ~np.any(open_to & (weights > 0), axis=1, keepdims=True)
        arrivals = rng.standard_exponential((listeners, tracks), dtype=np.float32)
        with np.errstate(divide="ignore", invalid="ignore"):
            arrivals /= np.where(open_to, weights, np.float32(0))
        walks[:, step] = np.argmin(arrivals, axis=1)
        # Only tracks that are new to the listener: what was heard has no weight any more.
        weights[everyone, walks[:, step]] = 0
    return walks


def _taste(catalogue: Catalogue, listeners: int, rng: np.random.Generator) -> np.ndarray:
    """Returns how much each listener likes each track, wherever it comes up, (listeners, tracks) > 0."""
    styles = int(catalogue.styles.max()) + 1
    everyone = np.arange(listeners)
    # Each style's companion: the styles in a random circle, every one followed by the next.
    circle = rng.permutation(styles)
    companion = np.empty(styles, dtype=np.int64)
    companion[circle] = np.roll(circle, -1)
    first = rng.integers(styles, size=listeners)
    taste = np.full((listeners, styles), _OTHER_TASTE)
    for share, liked in zip(_STYLE_TASTE, (first, companion[first], rng.integers(styles, size=listeners)), strict=True):
        taste[everyone, liked] += share
    liking: np.ndarray = taste[:, catalogue.styles] * np.exp(catalogue.appeal)
    return liking


def _session_times(tracks: int, start: int, end: int, rng: np.random.Generator) -> np.ndarray:
    """Returns increasing times of `tracks` plays in [start, end), in s: sessions at random, tracks minutes apart."""
    sessions = max(1, round(tracks / _SESSION_TRACKS))
    # Each session has its own part of the period and ends within it, so sessions keep their order.
    width = (end - start) // sessions
    lengths = np.diff(np.linspace(0, tracks, sessions + 1).round().astype(np.int64))
    times = []
    for session, length in enumerate(lengths):
        gaps = rng.integers(150, 330, size=length)
        latest = max(1, width - int(gaps.sum()))
        times.append(start + session * width + rng.integers(latest) + np.cumsum(gaps) - gaps[0])
    return np.concatenate(times)
