"""Short pieces of synthetic music in sixteen styles, for the demo world.

A style sets instruments, scale, chords, drums and the range of tempos. Each piece has its own key, tempo, chord
progression, melody, balance of the parts and recording quality.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from musicrec.data.demo.instruments import INSTRUMENTS, drum

# Semitones above the root.
SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "harmonic_minor": (0, 2, 3, 5, 7, 8, 11),
    "hirajoshi": (0, 2, 3, 7, 8),
    "pelog": (0, 1, 3, 7, 8),
}

# Steps of the scale above a chord's root.
_TRIAD = (0, 2, 4)
_SEVENTH = (0, 2, 4, 6)
_POWER = (0, 4, 7)
_FIFTH = (0, 4)

# Drum patterns: the 16 steps of a bar ("x" a stroke, "o" a soft stroke, "." none).
_DRUMS: dict[str, dict[str, str]] = {
    "none": {},
    "four": {"kick": "x...x...x...x...", "clap": "....x.......x...", "hat": "..x...x...x...x."},
    "techno": {"kick": "x...x...x...x...", "open_hat": "..x...x...x...x.", "rim": "...x..x....x..x."},
    "rock": {"kick": "x.....x.x.......", "snare": "....x.......x...", "hat": "x.x.x.x.x.x.x.x."},
    "one_drop": {"kick": "........x.......", "rim": "........x......o", "hat": "x..ox..ox..ox..o"},
    "chip": {"kick": "x..x....x..x....", "snare": "....x.......x.x.", "hat": "x.x.x.x.x.x.x.x."},
    "jazz": {"brush": "x...x..xx...x..x", "kick": "o.......o......."},
    "bossa": {"shaker": "xoxoxoxoxoxoxoxo", "rim": "x..x..x...x..x..", "kick": "o..oo..oo..oo..o"},
    "boom_bap": {"kick": "x......x..x.....", "snare": "....x.......x...", "hat": "x.x.x.x.x.x.x.xo"},
    "break": {"kick": "x.x.......x.....", "snare": "....x..o.o..x..o", "hat": "xoxoxoxoxoxoxoxo"},
    "hand": {"tom": "x.....o...x.....", "rim": "....o.......o.o."},
}


@dataclass(frozen=True)
class Style:
    """A musical style. Patterns have 16 steps per bar; `root` is the MIDI note around which the key is chosen."""

    name: str
    tempo: tuple[float, float]  # beats per minute
    scale: str
    progressions: tuple[tuple[int, ...], ...]  # degrees of the scale, one chord each
    chord_beats: float
    chord: tuple[int, ...]
    drums: str
    comp: str  # instrument of the chords; "" = no part
    comp_pattern: str
    lead: str
    lead_density: float  # notes per half beat, 0…1
    bass: str
    bass_pattern: str
    root: int = 57
    lead_octave: int = 1
    arpeggio: bool = False  # the chord's notes one after the other
    swing: float = 0.0  # delay of every second eighth, in eighths
    hold: float = 1.0  # length of a chord note as a fraction of the time to the next one
    echo: float = 0.1
    levels: tuple[float, float, float, float] = (0.5, 0.6, 0.7, 0.8)  # chords, lead, bass, drums


STYLES: tuple[Style, ...] = (
    Style("synth_pop", (110, 128), "major", ((0, 4, 5, 3), (5, 3, 0, 4), (0, 5, 3, 4)), 2, _TRIAD, "four",
          "saw", "x...x...x...x...", "square", 0.75, "saw", "x.x.x.x.x.x.x.x.", hold=0.7),
    Style("techno", (126, 140), "phrygian", ((0, 0), (0, 1), (0, 6)), 4, _FIFTH, "techno",
          "organ", "...x..x....x..x.", "", 0.0, "fm_bass", "..x...x...x...x.", root=52, hold=0.3, echo=0.35),
    Style("ambient", (56, 72), "lydian", ((0, 1), (0, 4), (3, 0)), 2, _SEVENTH, "none",
          "pad", "x.......x.......", "bell", 0.25, "", "", root=55, lead_octave=2, echo=0.5),
    Style("folk", (92, 112), "major", ((0, 3, 0, 4), (0, 4, 5, 3), (0, 3, 4, 0)), 2, _TRIAD, "none",
          "steel", "x.x.x.x.x.x.x.x.", "flute", 0.5, "", "", arpeggio=True, hold=2.5, root=52),
    Style("rock", (124, 152), "mixolydian", ((0, 6, 3, 0), (0, 3, 4, 3), (0, 2, 3, 4)), 2, _POWER, "rock",
          "power", "x.x.x.x.x.x.x.x.", "power", 0.35, "saw", "x.x.x.x.x.x.x.x.", root=43, lead_octave=2, hold=0.95),
    Style("dub", (68, 80), "minor", ((0, 3), (0, 6), (0, 4)), 2, _TRIAD, "one_drop",
          "organ", "..x...x...x...x.", "", 0.0, "sub", "x..x..x...x..x..", hold=0.35, echo=0.6,
          levels=(0.6, 0.5, 1.0, 0.7)),
    Style("chiptune", (138, 165), "major", ((0, 5, 3, 4), (5, 4, 3, 4), (0, 2, 3, 4)), 2, _TRIAD, "chip",
          "square", "xxxxxxxxxxxxxxxx", "square", 0.9, "triangle", "x.x.x.x.x.x.x.x.", root=60, arpeggio=True, hold=0.9,
          echo=0.0, levels=(0.35, 0.6, 0.8, 0.6)),
    Style("piano_ballad", (60, 76), "major", ((0, 4, 5, 3), (5, 3, 0, 4), (3, 0, 4, 5)), 1, _TRIAD, "none",
          "piano", "x.x.x.x.x.x.x.x.", "piano", 0.5, "piano", "x...x...x...x...", root=55, arpeggio=True,
          hold=3.0, echo=0.2),
    Style("jazz", (136, 172), "dorian", ((1, 4, 0, 0), (0, 3, 0, 3), (1, 4, 0, 5)), 2, _SEVENTH, "jazz",
          "electric_piano", "x.....x...x.....", "electric_piano", 0.6, "upright", "x...x...x...x...", swing=0.33,
          hold=0.6),
    Style("baroque", (96, 116), "harmonic_minor", ((0, 3, 4, 0), (0, 5, 3, 4), (0, 4, 0, 4)), 1, _TRIAD, "none",
          "harpsichord", "xxxxxxxxxxxxxxxx", "harpsichord", 0.8, "harpsichord", "x...x...x...x...", root=57,
          arpeggio=True, hold=2.0),
    Style("bossa", (116, 136), "major", ((0, 5, 1, 4), (0, 1, 4, 0), (2, 5, 1, 4)), 2, _SEVENTH, "bossa",
          "nylon", "x..x..x...x..x..", "flute", 0.45, "upright", "x..xx..xx..xx..x", hold=0.9),
    Style("hip_hop", (80, 96), "minor", ((0, 5), (0, 3), (5, 4)), 2, _SEVENTH, "boom_bap",
          "electric_piano", "x.....x...x.....", "", 0.0, "sub", "x......x..x.....", hold=0.9, echo=0.05,
          levels=(0.5, 0.5, 0.9, 1.0)),
    Style("drum_and_bass", (166, 178), "minor", ((0, 0, 5, 5), (0, 0, 3, 3), (0, 0, 6, 6)), 4, _SEVENTH, "break",
          "pad", "x.......x.......", "", 0.0, "reese", "x.....x...x.....", root=53, echo=0.2,
          levels=(0.35, 0.5, 0.8, 1.0)),
    Style("strings", (70, 92), "minor", ((0, 5, 2, 6), (0, 3, 4, 0), (0, 6, 5, 4)), 2, _TRIAD, "none",
          "strings", "x.......x.......", "strings", 0.5, "strings", "x.......x.......", root=55, echo=0.35),
    Style("koto", (84, 108), "hirajoshi", ((0, 0), (0, 3), (0, 2)), 2, _FIFTH, "hand",
          "koto", "x.....x.........", "koto", 0.8, "", "", root=57, hold=3.0, echo=0.25),
    Style("gamelan", (100, 130), "pelog", ((0, 0), (0, 2), (0, 3)), 4, _FIFTH, "none",
          "gong", "x.......x.......", "bell", 0.95, "gong", "x...............", root=50,
          hold=2.0, echo=0.3),
)  # fmt: skip


@dataclass(frozen=True)
class Piece:
    """A piece of music, drawn by `compose` and turned into samples by `render`."""

    style: Style
    seconds: float
    key: int  # semitones from the style's root
    tempo: float  # beats per minute
    progression: tuple[int, ...]
    bright: float  # 0 (dull) to 1 (bright playing)
    production: float  # 0 (home recording) to 1 (studio)
    loudness: float  # peak of the file
    balance: tuple[float, float, float, float]  # chords, lead, bass, drums
    seed: int


def compose(style: Style, production: float, seconds: float, rng: np.random.Generator) -> Piece:
    """Returns a new piece in `style`."""
    levels = [level * rng.uniform(0.7, 1.3) for level in style.levels]
    return Piece(
        style=style,
        seconds=seconds,
        key=int(rng.integers(-5, 7)),
        tempo=float(rng.uniform(*style.tempo)),
        progression=style.progressions[rng.integers(len(style.progressions))],
        bright=float(rng.uniform(0.1, 0.9)),
        production=production,
        loudness=float(rng.uniform(0.45, 0.9)),
        balance=(levels[0], levels[1], levels[2], levels[3]),
        seed=int(rng.integers(2**32)),
    )


class _Mix:
    """Adds notes at their times to a stereo or mono buffer."""

    def __init__(self, samples: int, channels: int, sample_rate: int):
        self.sample_rate = sample_rate
        self.buffer = np.zeros((channels, samples), dtype=np.float32)

    def add(self, note: np.ndarray, seconds: float, gain: float, pan: float) -> None:
        """Adds `note` at `seconds`; `pan` is from -1 (left) to 1 (right)."""
        start = int(seconds * self.sample_rate)
        room = self.buffer.shape[1] - start
        if room <= 0:
            return
        note = note[:room]
        if len(self.buffer) == 1:
            self.buffer[0, start : start + len(note)] += gain * note
            return
        angle = (pan + 1.0) * np.pi / 4.0
        self.buffer[0, start : start + len(note)] += (gain * np.sqrt(2.0) * np.cos(angle)) * note
        self.buffer[1, start : start + len(note)] += (gain * np.sqrt(2.0) * np.sin(angle)) * note


def render(piece: Piece, sample_rate: int, channels: int) -> np.ndarray:
    """Returns the sound of `piece`, (samples, channels) float32, with the peak piece.loudness < 1.

    It is made at the file's sample rate, so no resampling is needed. The same piece at two rates has the same notes but
    different noise.
    """
    rng = np.random.default_rng(piece.seed)
    mix = _Mix(int(piece.seconds * sample_rate), channels, sample_rate)
    _play_chords(mix, piece, rng)
    _play_bass(mix, piece, rng)
    _play_lead(mix, piece, rng)
    _play_drums(mix, piece, rng)
    return _master(mix.buffer, piece, sample_rate, rng)


def _frequency(piece: Piece, step: int, octave: int) -> float:
    """Returns the frequency in Hz of a step of the piece's scale (any integer; one octave = all steps of the scale)."""
    scale = SCALES[piece.style.scale]
    octaves, degree = divmod(step, len(scale))
    note = piece.style.root + piece.key + scale[degree] + 12 * (octaves + octave)
    return 440.0 * 2.0 ** ((note - 69) / 12.0)


def _onset(piece: Piece, step: int) -> float:
    """Returns the time in s of a sixteenth, the second eighth of each beat delayed by the swing."""
    late = piece.style.swing / 2.0 if step % 4 >= 2 else 0.0
    return (step / 4.0 + late) * 60.0 / piece.tempo


def _steps(piece: Piece) -> int:
    """Returns how many sixteenths start within the piece."""
    return int(piece.seconds * piece.tempo / 60.0 * 4.0)


def _chord_root(piece: Piece, step: int) -> int:
    """Returns the degree of the chord that sounds at a sixteenth."""
    return piece.progression[int(step / 4.0 / piece.style.chord_beats) % len(piece.progression)]


def _strokes(pattern: str, steps: int) -> list[tuple[int, int]]:
    """Returns (sixteenth, sixteenths to the next) of each note of a repeated pattern within `steps` sixteenths."""
    strokes = [step for step in range(steps + len(pattern)) if pattern[step % len(pattern)] != "."]
    return [(step, after - step) for step, after in pairwise(strokes) if step < steps]


def _play_chords(mix: _Mix, piece: Piece, rng: np.random.Generator) -> None:
    style = piece.style
    play = INSTRUMENTS[style.comp]
    beat = 60.0 / piece.tempo
    order = rng.permutation(len(style.chord)) if style.arpeggio else np.arange(len(style.chord))
    rising = bool(rng.random() < 0.5)
    made: dict[tuple[int, float], np.ndarray] = {}
    for number, (step, span) in enumerate(_strokes(style.comp_pattern, _steps(piece))):
        length = span / 4.0 * beat * style.hold
        root = _chord_root(piece, step)
        if style.arpeggio:
            index = number if rising else -number
            members = [style.chord[order[index % len(order)]] + (len(SCALES[style.scale]) if number % 8 >= 4 else 0)]
        else:
            members = list(style.chord)
        for index, member in enumerate(members):
            note = (root + member, length)
            if note not in made:
                made[note] = play(_frequency(piece, root + member, 0), length, mix.sample_rate, piece.bright, rng)
            gain = piece.balance[0] / len(members) ** 0.5 * (1.0 if step % 4 == 0 else 0.8)
            mix.add(made[note], _onset(piece, step) + 0.006 * index, gain, 0.4 * (index % 3 - 1))


def _play_bass(mix: _Mix, piece: Piece, rng: np.random.Generator) -> None:
    style = piece.style
    if not style.bass:
        return
    play = INSTRUMENTS[style.bass]
    made: dict[tuple[int, int], np.ndarray] = {}
    for number, (step, span) in enumerate(_strokes(style.bass_pattern, _steps(piece))):
        # A walking bass moves through the chord. Others stay on the root and sometimes jump to the fifth.
        walk = (0, 2, 4, 2)[number % 4] if style.drums == "jazz" else 4 * int(rng.random() < 0.12)
        note = (_chord_root(piece, step) + walk, span)
        if note not in made:
            length = span / 4.0 * 60.0 / piece.tempo * 0.95
            octave = -2 if style.root + piece.key > 52 else -1
            made[note] = play(_frequency(piece, note[0], octave), length, mix.sample_rate, piece.bright, rng)
        mix.add(made[note], _onset(piece, step), piece.balance[2], 0.0)


def _play_lead(mix: _Mix, piece: Piece, rng: np.random.Generator) -> None:
    """Adds a motif of one bar, repeated over the changing chords with varied last notes."""
    style = piece.style
    if not style.lead:
        return
    play = INSTRUMENTS[style.lead]
    grid = 2 if style.lead_density < 0.7 else 1
    chances = [style.lead_density * (1.0 if step % 4 == 0 else 0.7) for step in range(0, 16, grid)]
    onsets = [grid * index for index, chance in enumerate(chances) if rng.random() < chance] or [0]
    pitches = np.cumsum(rng.choice([-2, -1, -1, 0, 1, 1, 2], size=len(onsets))) + rng.choice(style.chord)
    pitches = np.clip(pitches, -3, len(SCALES[style.scale]) + 2)
    made: dict[tuple[int, int], np.ndarray] = {}
    total = _steps(piece)
    for bar in range(-(-total // 16)):
        for number, onset in enumerate(onsets):
            step = 16 * bar + onset
            if step >= total:
                break
            span = min(8, (onsets[number + 1] if number + 1 < len(onsets) else 16) - onset)
            pitch = int(pitches[number]) + (int(rng.integers(-1, 2)) if bar and number >= len(onsets) - 2 else 0)
            pitch += _chord_root(piece, step)
            # Over chord roots high in the scale the melody drops an octave to keep its register.
            if pitch > len(SCALES[style.scale]) + 3:
                pitch -= len(SCALES[style.scale])
            if (pitch, span) not in made:
                length = span / 4.0 * 60.0 / piece.tempo * (0.92 if style.hold <= 1.0 else min(style.hold, 2.0))
                frequency = _frequency(piece, pitch, style.lead_octave)
                made[pitch, span] = play(frequency, length, mix.sample_rate, piece.bright, rng)
            mix.add(made[pitch, span], _onset(piece, step), piece.balance[1] * rng.uniform(0.8, 1.0), 0.2)


def _play_drums(mix: _Mix, piece: Piece, rng: np.random.Generator) -> None:
    pans = {"hat": 0.3, "open_hat": 0.3, "shaker": -0.4, "rim": -0.3, "tom": -0.2, "brush": 0.2}
    for name, pattern in _DRUMS[piece.style.drums].items():
        stroke = drum(name, mix.sample_rate, rng)
        for step, _ in _strokes(pattern, _steps(piece)):
            soft = 0.4 if pattern[step % 16] == "o" else 1.0
            mix.add(stroke, _onset(piece, step), piece.balance[3] * soft * rng.uniform(0.85, 1.0), pans.get(name, 0.0))


def _master(buffer: np.ndarray, piece: Piece, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Returns the finished recording with echo, recording quality, fades and peak level applied."""
    # The import takes longer than all others of this module, which every command on the demo world imports.
    from scipy.signal import lfilter  # noqa: PLC0415

    samples = buffer.shape[1]
    delay = int(0.75 * 60.0 / piece.tempo * sample_rate)
    for repeat in (1, 2):
        if piece.style.echo and repeat * delay < samples:
            late = repeat * delay
            buffer[:, late:] += (0.6 * piece.style.echo**repeat) * buffer[:, : samples - late].copy()
    if piece.production < 1.0:
        # A home recording is dull and hisses: a one-pole low-pass from 1.2 kHz (0) to 9 kHz (1), and noise 30 dB below.
        pole = np.exp(-2.0 * np.pi * min(1200.0 * 7.5**piece.production, 0.45 * sample_rate) / sample_rate)
        buffer = lfilter([1.0 - pole], [1.0, -pole], buffer, axis=1).astype(np.float32)
        hiss = 0.03 * (1.0 - piece.production) * float(np.abs(buffer).max())
        buffer += hiss * rng.standard_normal(buffer.shape, dtype=np.float32)
    rise, fall = int(0.004 * sample_rate), int(0.06 * sample_rate)
    buffer[:, :rise] *= np.linspace(0.0, 1.0, rise, dtype=np.float32)
    buffer[:, samples - fall :] *= np.linspace(1.0, 0.0, fall, dtype=np.float32)
    buffer *= piece.loudness / max(float(np.abs(buffer).max()), 1e-6)
    return np.ascontiguousarray(buffer.T)
